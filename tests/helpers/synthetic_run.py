"""A made-up finished run, written with the project's own writers: input for the report's tests."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from stages import compare, report
from stages.core.base.artifacts import read_table, write_json, write_table
from stages.core.base.config import complete
from stages.core.evaluation.stream_metrics import continual_report

ARTEFACTS = {
    "--profiles": "profile",
    "--allocations": "allocation",
    "--routers": "router",
    "--transfers": "transfer",
    "--experts": "expert",
    "--routes": "routes",
    "--rows": "test_rows",
    "--predictions": "predictions",
}
SLOTS = ("qkv", "o")
SHARES = {"min": 0, "p01": 1, "p05": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90}
SHARES |= {"p95": 95, "p99": 99, "max": 100}


def summary(losses: np.ndarray) -> dict:
    """The distribution entry of a router artefact."""
    named = {name: float(np.percentile(losses, share)) for name, share in SHARES.items()}
    return named | {"mean": float(losses.mean()), "std": float(losses.std())}


class SyntheticRun:
    """Files of ``methods`` x ``seeds`` on ``tasks`` below ``root``; ``make()`` reports on them.

    Methods named ``dmole*`` have routers; ``static`` methods have none.
    """

    def __init__(self, root, tasks, methods=("dmole", "seq_ft"), seeds=(0,), blocks=(3, 4), n=20):
        self.root, self.tasks, self.n = Path(root), list(tasks), n
        self.methods, self.seeds, self.blocks = list(methods), list(seeds), blocks
        self.files: dict[str, list] = {}
        self.config = complete(
            {
                "stream": "made_up",
                "manifests": "manifests",
                "tasks": ["any"],
                "seeds": self.seeds,
                "methods": self.methods,
                "preset": "paper",
                "backbone": {"path": "backbones/tiny"},
                "subset": {"min_samples": 16},
                "routing": {"second": "parent"},
                "variants": {"dmole_alone": {"method": "dmole", "set": {"routing.second": "none"}}},
            },
            "test",
        )
        self.config["tasks"] = self.tasks  # unchecked, so that tests can use hostile names

    def path(self, flag: str, relative: str) -> Path:
        """A file below the root, remembered under its flag."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files.setdefault(flag, []).append(path)
        return path

    def sheet(self, *leave_out: str) -> Path:
        """Write the run sheet, without the artefacts of the flags named; its path."""
        runs = []
        for seed in self.seeds:
            for method in self.methods:
                found: dict[str, dict[str, str]] = {}
                for flag, artefact in ARTEFACTS.items():
                    for path in () if flag in leave_out else self.files.get(flag, ()):
                        place, task = path.relative_to(self.root).parts[:-2], path.name
                        task = task if path.is_dir() else path.name.rpartition(".")[0]
                        if "/".join(place) in ("", f"seed{seed}", f"seed{seed}/{method}"):
                            file = str(path.relative_to(self.root))
                            found.setdefault(artefact, {})[task] = file
                named = {"name": method, "method": method, "seed": seed, "tasks": self.tasks}
                measures = {n: f"seed{seed}/{method}/{n}.json" for n in ("general", "robust")}
                runs.append({**named, "artefacts": found, "measures": measures})
        content = {"stream": "made_up", "root": ".", "tasks": self.tasks, "config": self.config}
        path = self.root / "runs.json"
        write_json("runs", path, {**content, "runs": runs, "provenance": {}})
        return path

    def make(self, *leave_out: str, **outputs: Path) -> None:
        """Compare and report, without the artefacts of the flags named."""
        scores, metrics = self.root / "scores.parquet", self.root / "metrics.json"
        shared = ["--runs", str(self.sheet(*leave_out))]
        shared += ["--scores", str(scores), "--metrics", str(metrics)]
        comparison = str(self.root / "comparison.json")
        out = outputs.get("out", self.root / "report.html")
        text = str(self.root / "comparison.md")
        samples = str(self.root / "sample_scores.parquet")
        compare.main([*shared, "--samples", samples, "--out", comparison, "--out-text", text])
        pictures = ["--out-figures", str(out.with_name("figures"))]
        apart = str(self.separability(*leave_out))
        shared += ["--comparison", comparison, "--separability", apart]
        report.main([*shared, "--out", str(out), *pictures])

    def separability(self, *leave_out: str) -> Path:
        """Write made-up shares, without features where there are no routers; their path."""
        shares = {task: 1 - 0.05 * i for i, task in enumerate(self.tasks)}
        by_half = dict.fromkeys(("image", "text", "both"), shares)
        seeds = () if "--routers" in leave_out or "dmole" not in self.methods else self.seeds
        features = [
            {"scope": f"seed{seed}", "seed": seed, "runs": ["dmole"]}
            | {"prototype": by_half, "neighbour": by_half}
            for seed in seeds
        ]
        pairs = {task: dict.fromkeys(self.tasks, 0.25) for task in self.tasks}
        content = {"tasks": self.tasks, "features": features, "prompts": pairs, "images": pairs}
        path = self.root / "separability.json"
        write_json("separability", path, {**content, "provenance": {}})
        return path

    def write(self):
        """All artefacts; returns self."""
        self._scores()
        for seed in self.seeds:
            random = np.random.default_rng(seed)
            for i, task in enumerate(self.tasks):
                self._slots(random, seed, i, task)
                self._router(random, seed, i, task)
            for method in self.methods:
                for i, task in enumerate(self.tasks):
                    self._expert(seed, method, task)
                    if method.startswith("dmole"):
                        self._routes(random, seed, method, i, task)
            self._benchmarks(random, seed)
        self._answers()
        return self

    def _answers(self):
        """Rows with an image each, and what D-MoLE answered to them."""
        found = []
        for i, task in enumerate(self.tasks):
            rows = [self._row(f"{task}{k}", k) for k in range(self.n)]
            write_table("data", self.path("--rows", f"data/{task}.parquet"), rows, task=task)
            for seed in self.seeds if "dmole" in self.methods else ():
                routes = read_table("routes", self.root / f"seed{seed}/dmole/routes/{task}.parquet")
                asked = {}
                for row in routes.to_pylist():
                    right = row["experts"] == [task]
                    own = {key: row[key] for key in ("sample_id", "experts")}
                    asked[row["sample_id"], *row["experts"]] = own | {"text": f"<b>{right}</b>"}
                    place = {"run": "dmole", "seed": seed, "step": row["step"], "task": task}
                    found.append(own | place | {"score": 100.0 * right, "parsed": right or i > 0})
                path = self.path("--predictions", f"seed{seed}/dmole/predictions/{task}.parquet")
                write_table("predictions", path, list(asked.values()), task=task)
        write_table("sample_scores", self.root / "sample_scores.parquet", found)

    def _row(self, name: str, k: int) -> dict:
        picture = BytesIO()
        Image.new("RGB", (320, 240), (k // 2 * 9 % 256, 80, 160)).save(picture, "PNG")
        row = {"bytes": picture.getvalue(), "path": None, "orientation": None}
        turns = [{"question": f"Is <i>{name}</i> so?", "answer": "yes"}]
        blank = dict.fromkeys(("choices", "box", "width", "height"))
        return blank | {"sample_id": name, "images": [row], "turns": turns, "references": ["yes"]}

    def score(self, method: str, seed: int, step: int, i: int) -> float:
        """A plausible score, the same whenever it is asked for."""
        random = np.random.default_rng([seed, step, i, *method.encode()])
        top = 40 + 50 * ((7 * i) % 5) / 4
        loss = (0.02 if method.startswith("dmole") else 0.13) * (step - 1 - i)
        return float((0.25 if step <= i else 1 - loss) * top + random.normal(0, 1.5))

    def _scores(self):
        rows = [
            {
                "method": method,
                "seed": seed,
                "step": step,
                "task": task,
                "metric": ("accuracy", "cider", "iou50")[i % 3],
                "value": (value := self.score(method, seed, step, i)),
                "n": self.n,
                "n_unparsed": (step + i) % 4 if i % 3 else 0,
                "low": value - 4,
                "high": value + 4,
            }
            for method in self.methods
            for seed in self.seeds
            for step in range(len(self.tasks) + 1)
            for i, task in enumerate(self.tasks)
            if method != "individual" or step == i + 1
        ]
        self.rows = rows
        path = self.path("--scores", "scores.parquet")
        write_table("scores", path, rows, provenance={"versions": {"torch": "2.0"}})
        self._metrics()

    def _slots(self, random, seed, i, task):
        rows = []
        for module, blocks, level in zip(("vision", "llm"), self.blocks, (0.6, 1.0), strict=True):
            peak = (i * 0.37 % 1) * blocks
            for block in range(blocks):
                for slot in SLOTS:
                    shape = 0.15 + np.exp(-(((block - peak) / (0.3 * blocks)) ** 2))
                    score = level * (1 if slot == "qkv" else 0.7) * shape
                    score *= random.uniform(0.75, 1.25)
                    rows.append({"tower": module, "block": block, "slot": slot, "score": score})
        fields = {"parameters": 100, "n_samples": 16, "mean_loss": 1.5 + i}
        profile = [{**r, "standard_error": 0.05 * r["score"], **fields} for r in rows]
        path = self.path("--profiles", f"seed{seed}/profiles/{task}.parquet")
        write_table("profile", path, profile, task=task)
        self._allocation(seed, task, rows)

    def _allocation(self, seed, task, rows):
        norms = {
            m: sum(r["score"] ** 2 for r in rows if r["tower"] == m) ** 0.5
            for m in ("vision", "llm")
        }
        total = len(rows) // 2
        vision = round(total * norms["vision"] / sum(norms.values()))
        budgets, slots = {"vision": vision, "llm": total - vision}, []
        for module in norms:
            mine = [r for r in rows if r["tower"] == module]
            order = sorted(mine, key=lambda r: -r["score"])
            for row in mine:
                rank = order.index(row) + 1
                chosen = {"order": rank, "allocated": rank <= budgets[module]}
                slots.append({**row, **chosen, "trainable_parameters": 100})
        content = {
            "task": task,
            "strategy": "gradient",
            "ratio": 0.5,
            "total_slots": len(rows),
            "budget": total,
            "towers": {
                m: {
                    "score": norms[m],
                    "ratio": norms[m] / sum(norms.values()),
                    "slots": len(rows),
                    "budget": budgets[m],
                }
                for m in norms
            },
            "slots": slots,
            "expert": {"rank": 8, "alpha": 16},
            "trainable_parameters": 100 * total,
            "switches": {
                "tower_score": "l2",
                "modality": "curriculum",
                "vision_floor": 0.0,
                "include_bias": False,
                "loss": "sample_mean",
            },
            "provenance": {},
        }
        write_json(
            "allocation", self.path("--allocations", f"seed{seed}/allocations/{task}.json"), content
        )

    def _router(self, random, seed, i, task):
        inside = random.lognormal(-11.5 + 0.2 * (i % 3), 0.25, 64)
        outside = inside * random.uniform(2.5, 5, 64)
        value = float(np.quantile(outside, 0.99))
        content = {
            "task": task,
            "n": 64,
            "kind": "autoencoder",
            "numbers": 246_848,  # 2 x 960 x 128 weights, 960 + 128 biases
            "dim": 960,
            "hidden": 128,
            "output": "identity",
            "threshold": 1.1 * value,
            "calibration": {
                "method": "cross_fit",
                "folds": 5,
                "quantile": 0.99,
                "factor": 1.1,
                "quantile_value": value,
            },
            "losses": {"in_fold": summary(inside), "out_of_fold": summary(outside)},
            "steps": 1600,
            "provenance": {},
        }
        write_json("router", self.path("--routers", f"seed{seed}/routers/{task}.json"), content)
        losses = {name: float(random.uniform(1e-4, 4e-4)) for name in self.tasks[:i]}
        content = {
            "task": task,
            "step": i + 1,
            "parent": min(losses, key=losses.get) if losses else None,
            "losses": losses,
            "require_threshold": False,
            "thresholds": None,
            "provenance": {},
        }
        write_json(
            "transfer", self.path("--transfers", f"seed{seed}/transfers/{task}.json"), content
        )

    def _expert(self, seed, method, task):
        path = self.path("--experts", f"seed{seed}/{method}/experts/{task}/training.json")
        self.files["--experts"][-1] = path.parent
        count = 1000 if method == "dmole" else 1200
        counts = {"trainable_parameters": count, "stored_parameters": count + 1}
        random = np.random.default_rng([seed, *f"{method}{task}".encode()])
        falling = np.exp(-np.arange(40) / 12) + 0.2 + random.uniform(0, 0.1, 40)
        curves = {
            "loss": [[10 * k + 10, round(float(v), 4)] for k, v in enumerate(falling)],
            "gradient_norm": [[10 * k + 10, round(float(2 * v), 4)] for k, v in enumerate(falling)],
        }
        path.write_text(json.dumps({"task": task, "rows": 9} | curves | counts))

    def _routes(self, random, seed, method, i, task):
        rows = []
        for sample in range(self.n):
            for step in range(len(self.tasks) + 1):
                row = {"sample_id": f"{task}{sample}", "step": step, "experts": []}
                if not step:
                    rows.append({**row, "best_task": None, "ratio": None, "n_under": None})
                    continue
                seen = step > i
                ratio = float(random.lognormal(-0.9 if seen else 1.6, 0.35))
                wrong = random.random() < 0.05
                best = self.tasks[int(random.integers(step))] if wrong or not seen else task
                row["experts"] = [best] if ratio <= 1 else []
                rows.append({**row, "best_task": best, "ratio": ratio, "n_under": int(ratio <= 1)})
        path = self.path("--routes", f"seed{seed}/{method}/routes/{task}.parquet")
        write_table("routes", path, rows, task=task, method=method)

    def _benchmarks(self, random, seed):
        times = {"train_expert": 190, "route_samples": 75, "profile_gradients": 22}
        for rule, seconds in times.items():
            scope = f"seed{seed}" if rule == "profile_gradients" else f"seed{seed}/dmole"
            for task in self.tasks:
                path = self.path("--benchmarks", f"benchmarks/{rule}/{scope}/{task}.tsv")
                spent = seconds * random.uniform(0.8, 1.2)
                path.write_text(f"s\th:m:s\tmax_rss\n{spent:.4f}\t0:00:01\t{1500 + spent:.2f}\n")

    def _metrics(self):
        report = continual_report(self.rows, self.tasks)
        write_json("metrics", self.path("--metrics", "metrics.json"), {**report, "provenance": {}})

"""Align the pocket backbone's towers on composed pictures from the alignment pool.

Reads   an unaligned backbone folder, the pool (objects, maps, words, digits .parquet; fonts/)
Writes  <out>/delta.safetensors (bfloat16, what stages.pocket.assemble_backbone merges) and
        <out>/checkpoint/ (float32 weights, optimiser, progress), both every few minutes

    python -m stages.pocket.align_backbone --backbone results/backbones/pocket-unaligned \\
        --pool results/pocket_backbone/pool --out results/pocket_backbone --minutes 70

Stop it at any time: the same command goes on from the checkpoint, and more minutes train longer.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.core.base import cli
from stages.core.base.errors import InputError

WORDS_SHARE = 0.25  # of the time: the vision tower alone
WORDS_BATCH, TURNS_BATCH = 16, 5
LENGTH = 160  # tokens of a packed sequence
# By phase and part of the name. The projector starts with small weights (0.01 and 0.03): a step
# of Adam beyond a hundredth of that is noise, and the language model then never reads it.
LEARNING_RATES = {
    "words": {"vision_tower": 4e-4, "multi_modal_projector": 2e-4, "head": 1e-3, "": 0.0},
    "turns": {"vision_tower": 1e-4, "multi_modal_projector": 4e-5, "head": 1e-3, "": 7e-4},
}
WARM_UP = 0.02
CHECKPOINT_SECONDS = 240
LOG_STEPS = 25


@dataclass
class Progress:
    """Where a run stands; ``seconds`` counts training only, over all its parts."""

    phase: str = "words"
    step: int = 0
    scene: int = 0
    seconds: float = 0.0


def align_backbone(backbone: Path, pool_folder: Path, out: Path, minutes: float, seed: int) -> None:
    """Train for ``minutes`` in all, resuming from ``out`` if there is a checkpoint.

    The learning rate follows a cosine over the planned time of each phase.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    from stages.pocket import alignment
    from stages.pocket.pool import read_pool

    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = json.loads((backbone / "preprocessor_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    model = AutoModelForImageTextToText.from_pretrained(
        backbone,
        dtype=torch.bfloat16,
        attn_implementation="sdpa" if device == "cuda" else "eager",  # a quarter faster on CPUs
    )
    model = alignment.prepare(model).to(device).train()
    pool = read_pool(pool_folder, "train")
    progress = Progress()
    trainer = Trainer(model, tokenizer, pool, settings, out, seed, device, progress, minutes)
    trainer.resume()
    trainer.words()
    trainer.turns()


class Trainer:
    """The two phases over one endless row of scenes, with checkpoints and a log on stdout."""

    def __init__(self, model, tokenizer, pool, settings, out, seed, device, progress, minutes):
        import torch

        from stages.pocket.alignment import trainable
        from stages.pocket.assemble_backbone import image_tokens

        self.model, self.tokenizer, self.pool, self.settings = model, tokenizer, pool, settings
        self.out, self.seed, self.device, self.progress = out, seed, device, progress
        self.image_tokens = image_tokens(settings["size"]["height"])
        self.weights = trainable(model)
        groups = [{"params": [w], "name": name, "lr": 0.0} for name, w in self.weights.items()]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
        self.ends = {"words": 60 * minutes * WORDS_SHARE, "turns": 60 * minutes}
        self.saved = time.monotonic()

    def words(self) -> None:
        """Phase one: image tokens point at words. Skipped when its time is over."""
        import torch

        from stages.pocket.alignment import WordsHead

        if self.progress.phase != "words":
            return
        embeddings = self.model.get_input_embeddings().weight.detach()
        head = self._trained_along(WordsHead(embeddings, self._vocabulary()))
        log = Log()
        for images, cells in self._batches("words", WORDS_BATCH):
            if not self._schedule("words"):
                break
            start = time.monotonic()
            with torch.autocast(self.device, torch.bfloat16):
                features = self.model.model.get_image_features(pixel_values=images).pooler_output
            losses = head.loss(features, cells)
            sum(losses.values()).backward()
            self._update(start, WORDS_BATCH)
            log.add({name: [value.item(), 1] for name, value in losses.items()})
            self._report(log, self.optimizer)
        del self.optimizer.param_groups[-1]
        self.progress.phase, self.progress.step = "turns", 0
        self.save()

    def turns(self) -> None:
        """Phase two: packed question/answer turns through the whole model."""
        import torch

        from stages.pocket.alignment import turns_loss

        log = Log()
        width = self.model.get_input_embeddings().weight.shape[1]
        head = self._trained_along(
            torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, 4))
        )
        for images, batch in self._batches("turns", TURNS_BATCH):
            if not self._schedule("turns"):
                break
            start = time.monotonic()
            with torch.autocast(self.device, torch.bfloat16):
                loss, families = turns_loss(self.model, images, batch, head)
            loss.backward()
            self._update(start, TURNS_BATCH)
            log.add(families | {"all": [loss.item(), 1]})
            self._report(log, self.optimizer)
        self.save()

    def _trained_along(self, head):
        """A phase's head, which learns with the model. It is in no checkpoint: a resumed run starts
        with a fresh one."""
        head = head.to(self.device)
        group = {"params": list(head.parameters()), "name": "head", "lr": 0.0}
        self.optimizer.add_param_group(group)
        return head

    def _vocabulary(self) -> list[int]:
        """Token ids that cells may be asked to point at."""
        from stages.pocket.alignment import NOTHING
        from stages.pocket.scenes import PALETTE

        texts = {NOTHING, *(f" {colour}" for colour in PALETTE), *"0123456789"}
        for thing in self.pool.things:
            texts |= {f" {text}" for text in (thing.name, thing.kind, *thing.tags[:4]) if text}
        texts |= {letter for word in self.pool.words for letter in word + word.upper()}
        return sorted({i for text in texts for i in self.tokenizer(text).input_ids})

    def _batches(self, phase: str, size: int) -> Iterator[tuple]:
        """Endless (images, labels), made in a process of its own, from scene ``progress.scene``."""
        from torch.utils.data import DataLoader

        from stages.pocket.feeding import Scenes

        scenes = Scenes(
            self.pool, self.tokenizer, self.settings, phase, self.seed, self.progress.scene, LENGTH
        )
        loader = DataLoader(
            scenes, batch_size=size, num_workers=1, prefetch_factor=4, collate_fn=scenes.collate
        )
        for images, labels in loader:
            yield images.to(self.device), labels

    def _schedule(self, phase: str) -> bool:
        """Set the learning rates for the time spent; False when the phase's time is over."""
        begin = 0.0 if phase == "words" else self.ends["words"]
        done = (self.progress.seconds - begin) / (self.ends[phase] - begin)
        factor = min(done / WARM_UP + 0.01, 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
        for group in self.optimizer.param_groups:
            rates = LEARNING_RATES[phase]
            group["lr"] = factor * next(r for part, r in rates.items() if part in group["name"])
        return done < 1.0

    def _update(self, start: float, scenes: int) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.scene += scenes
        self.progress.seconds += time.monotonic() - start
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self.save()

    def _report(self, log: "Log", optimizer) -> None:
        if self.progress.step % LOG_STEPS == 0:
            rate = optimizer.param_groups[0]["lr"]
            print(json.dumps(asdict(self.progress) | {"lr": rate} | log.means()), flush=True)

    def save(self) -> None:
        """Write the checkpoint and the delta; each file is replaced as a whole."""
        import torch
        from safetensors.torch import save_file

        from stages.pocket.delta import FILE, extract_delta

        folder = self.out / "checkpoint"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight.{n}": w.detach() for n, w in self.weights.items()}
        for name, weight in self.weights.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                tensors[f"{key}.{name}"] = value
        tensors = {k: v.to("cpu").contiguous() for k, v in tensors.items()}
        metadata = {"progress": json.dumps(asdict(self.progress))}
        delta = extract_delta(self.model, torch.bfloat16)
        for target, content in ((folder / "state.safetensors", tensors), (self.out / FILE, delta)):
            partial = target.with_suffix(".partial")
            save_file(content, partial, metadata=metadata)
            partial.replace(target)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Load the checkpoint if there is one.

        Raises:
            InputError: a checkpoint with parameters that are not trained here.
        """
        from safetensors import safe_open

        path = self.out / "checkpoint" / "state.safetensors"
        if not path.is_file():
            return
        with safe_open(path, "pt") as stored:
            self.progress = Progress(**json.loads(stored.metadata()["progress"]))
            for key in stored.keys():  # noqa: SIM118 (a safetensors handle is no dict)
                kind, name = key.split(".", 1)
                if name not in self.weights:
                    raise InputError(f"{path}: {name!r} is not trained here; move the file away.")
                weight = self.weights[name]
                value = stored.get_tensor(key)
                if kind == "weight":
                    weight.data.copy_(value)
                else:
                    place = "cpu" if kind == "step" else self.device
                    self.optimizer.state[weight][kind] = value.to(place)


class Log:
    """Running means by name since the last report."""

    def __init__(self) -> None:
        self.totals: dict[str, list[float]] = {}

    def add(self, sums: dict[str, list[float]]) -> None:
        """Add {name: (sum, count)}."""
        for name, (total, count) in sums.items():
            entry = self.totals.setdefault(name, [0.0, 0])
            entry[0] += total
            entry[1] += count

    def means(self) -> dict[str, float]:
        """The means by name; starts anew."""
        means = {name: round(t / n, 3) for name, (t, n) in sorted(self.totals.items())}
        self.totals = {}
        return means


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--backbone", type=Path, required=True, help="the unaligned backbone")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the alignment pool")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and delta")
    parser.add_argument(
        "--minutes", type=float, default=70, help="training time, all runs together"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of scenes and initial weights")
    args = parser.parse_args(argv)
    align_backbone(args.backbone, args.pool, args.out, args.minutes, args.seed)


if __name__ == "__main__":
    cli.run(main)

"""The GPU stages' own code on rows that are made up, measured step by step."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.core.costs.flops import Learning, Sample, SlotRanks
    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel

TASK = "made_up"
QUESTION = "Provide a one-sentence caption for the provided image."
ANSWER = "A brown dog runs over a meadow with a stick."
NEW_TOKENS = 10
SIZE = (672, 448)


def made_up_row(number: int) -> dict[str, Any]:
    """A row of the data artefact with a noisy image."""
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise(SIZE, 64).convert("RGB").save(stream, "JPEG")
    return {
        "sample_id": f"s{number}",
        "images": [{"bytes": stream.getvalue(), "path": None}],
        "turns": [{"question": QUESTION, "answer": ANSWER}],
        "references": [ANSWER],
        "choices": None,
        "box": None,
        "width": SIZE[0],
        "height": SIZE[1],
    }


class Bench:
    """A backbone and what was measured on it; each method adds an entry to ``meter.done``.

    An entry has ``seconds``, ``cpu_seconds``, ``peak_bytes``; of a step that computes also
    ``tokens``, ``flops`` and ``planned_bytes``, the peak by the formulas of ``core.costs.memory``.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], work: Path, *, batch: int, steps: int
    ) -> None:
        """Load the backbone.

        Args:
            settings: a completed config.
            work: folder for rows and checkpoints.
            batch: samples of a forward pass.
            steps: training steps; the first is left out of the time if there are more.
        """
        from stages.core.backbone.architecture import describe
        from stages.core.backbone.load import load_backbone, pick_device
        from stages.core.base.meter import Steps

        self.settings, self.work, self.batch = settings, work, batch
        self.meter = Steps(pick_device())
        with self.meter.step("load"):
            self.backbone: Backbone = load_backbone(folder, settings["backbone"])
        self.arch = describe(self.backbone.model, self.backbone.prompter.images, folder.name)
        self.rows = [made_up_row(number) for number in range(batch * steps)]
        self.sample = self._sample()
        self.learner: ExpertModel | None = None

    def _sample(self) -> Sample:
        """The size of a training row."""
        from stages.core.backbone.prompts import IGNORE
        from stages.core.costs.flops import Sample

        prompter = self.backbone.prompter
        ids, labels = prompter.training_ids(self.rows[0])
        tiles = ids.count(prompter.images.config.image_token_id) / self.arch.tile_tokens
        return Sample(tiles, len(ids), len(labels) - labels.count(IGNORE))

    def fill(self) -> None:
        """Take the largest batch of training that fits the GPU without checkpointing."""
        from stages.core.costs import fitting
        from stages.core.costs.flops import Learning

        there, most = fitting.room("auto", self.backbone.device), fitting.MOST
        auto = {"batch_size": most, "micro_batch_size": "auto", "activation_checkpointing": False}
        learning, dropout = Learning(trained=self.ranks()), self.settings["expert"]["dropout"]
        found = fitting.step_of(
            self.arch, self.sample, learning, auto, processes=1, there=there, dropout=dropout
        )
        steps = len(self.rows) // self.batch
        self.batch = found.size
        self.rows = [made_up_row(number) for number in range(self.batch * steps)]

    def _note(self, tokens: float, flops: float, planned: float) -> None:
        self.meter.done[-1] |= {"tokens": tokens, "flops": flops, "planned_bytes": planned}

    def _both_ways(self, learning: Learning) -> float:
        from stages.core.costs.flops import backward, forward, total

        ahead, back = (way(self.arch, self.sample, learning) for way in (forward, backward))
        return total(ahead) + total(back)

    def profile(self, folds: int) -> None:
        """A profile of so many batches."""
        from stages.core.costs import memory
        from stages.core.costs.flops import Learning
        from stages.core.dmole.gradients import profile_gradients

        rows = self.rows[: self.batch] * folds
        with self.meter.step("profile_gradients"):
            settings = self.settings["profile"] | {"batch_size": self.batch}
            profile_gradients(self.backbone, rows, **settings)
        at_once = min(self.batch, -(-len(rows) // 8))  # a fold is an eighth
        planned = memory.profile(self.arch, self.sample, at_once, checkpointing=False)
        flops = len(rows) * self._both_ways(Learning(dense=True))
        self._note(len(rows) * self.sample.tokens, flops, planned.total)

    def features(self) -> None:
        """Features of one batch."""
        from stages.core.backbone.features import extract_features
        from stages.core.costs import flops, memory

        rows = self.rows[: self.batch]
        with self.meter.step("extract_features"):
            extract_features(self.backbone, rows, style="max", normalize=True, batch_size=len(rows))
        images = self.backbone.prompter.images
        tokens = len(self.backbone.prompter.plain_ids(QUESTION))
        planned = memory.features(self.arch, images.thumbnail_tiles, tokens, len(rows))
        operations = flops.total(flops.features(self.arch, images.thumbnail_tiles, tokens))
        self._note(len(rows) * tokens, len(rows) * operations, planned.total)

    def job(self) -> Job:
        """Training of D-MoLE's expert, on evenly spread slots."""
        from stages.core.costs.estimate import assumed_allocation
        from stages.core.experts.job import Job

        slots = self.backbone.slots
        allocation = assumed_allocation(self.settings, slots)
        return Job(TASK, [TASK], self.settings, slots, allocation, None)

    def ranks(self) -> SlotRanks:
        """Rank of every slot of that expert."""
        from stages.methods import registry as methods

        return methods.load("dmole").ranks(self.job())

    def train(self, name: str, checkpointing: bool) -> None:
        """Training steps, read from Parquet as the workflow does; keeps the model."""
        from datasets import Dataset

        from stages.core.base import artifacts
        from stages.core.training.phases import Phases
        from stages.methods import registry as methods

        self.drop()
        work = self.work / str(len(self.meter.done))
        work.mkdir()
        artifacts.write_table("data", work / "rows.parquet", self.rows, task={"name": TASK})
        data = Dataset.from_parquet(str(work / "rows.parquet"), cache_dir=str(work / "cache"))
        sizes = {"batch_size": self.batch, "micro_batch_size": self.batch, "epochs": 1}
        sizes |= {"checkpoint_steps": 1000, "activation_checkpointing": checkpointing}
        training, method = self.settings["training"] | sizes, methods.load("dmole")
        run = Phases(self.backbone.prompter, training, TASK, 0, work / "checkpoints", {})
        self.learner, stamps = method.prepare(self.backbone, self.job(), {}), []

        def timed(model: Any, loss: Any, rows: Any) -> Any:
            def stamped(batch: dict[str, Any]) -> Any:
                stamps.append(self.meter.now())
                return loss(batch)

            return run(model, stamped, rows)

        with self.meter.step(name) as entry:
            method.fit(self.learner, self.job(), data, timed)
            stamps.append(self.meter.now())
            entry["seconds"] = each(stamps)
        self._note_training(checkpointing)

    def _note_training(self, checkpointing: bool) -> None:
        from stages.core.costs import memory
        from stages.core.costs.flops import Learning

        learning, dropout = Learning(trained=self.ranks()), self.settings["expert"]["dropout"]
        planned = memory.training(
            self.arch,
            self.sample,
            learning,
            self.batch,
            dropout=dropout,
            checkpointing=checkpointing,
        )
        flops = self.batch * self._both_ways(learning)
        self._note(self.batch * self.sample.tokens, flops, planned.total)

    def plain_loop(
        self, name: str, steps: int, ready: Callable[[Any], Any] = lambda model: model
    ) -> None:
        """The same expert and rows in a bare loop over transformers and PEFT, batches ready.

        Args:
            ready: what the loop does to the model first, e.g. ``torch.compile``.
        """
        import torch
        from peft import LoraConfig, get_peft_model

        self.drop()
        ranks, rows = self.ranks(), self.rows[: self.batch]
        names = [n for slot in self.backbone.slots if slot.key in ranks for n in slot.linears]
        usual, scale = self.settings["expert"]["rank"], self.settings["expert"]["alpha"]
        dropout = self.settings["expert"]["dropout"]
        lora = LoraConfig(r=usual, lora_alpha=scale, lora_dropout=dropout, target_modules=names)
        model = get_peft_model(self.backbone.model, lora).train()
        called = ready(model)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(learning, lr=1e-4)
        prompter, device = self.backbone.prompter, self.backbone.device
        batch = self.backbone.to_device(
            prompter.collate(list(map(prompter.training_example, rows)))
        )
        del batch["sample_id"]
        with self.meter.step(name) as entry:
            stamps = [self.meter.now()]
            for _ in range(steps):
                with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                    called(**batch, use_cache=False).loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                stamps.append(self.meter.now())
            entry["seconds"] = each(stamps)
        model.unload()
        self.backbone.model.requires_grad_(False).eval()
        self._note_training(False)
        del self.meter.done[-1]["planned_bytes"]  # it keeps all logits, which no formula says

    def generate(self) -> None:
        """Answers of a fixed length to one batch, with the trained expert."""
        from stages.core.backbone.decoding import generate
        from stages.core.costs import flops, memory

        prompter, rows, ranks = self.backbone.prompter, self.rows[: self.batch], self.ranks()
        examples = [prompter.generation_example(row) for row in rows]
        batch = self.backbone.to_device(prompter.collate(examples, side="left"))
        limits = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        step = self.meter.step(f"generate, {NEW_TOKENS} tokens")
        with step, self.learner.using([TASK]) as model:
            generate(model.eval(), prompter, batch, limits)
        prompt = flops.Sample(self.sample.tiles, len(examples[0]["input_ids"]), 1)
        learning = flops.Learning(frozen=ranks)
        operations = flops.total(flops.forward(self.arch, prompt, learning))
        operations += flops.total(flops.decoding(self.arch, prompt.tokens, NEW_TOKENS, learning))
        planned = memory.prediction(self.arch, prompt, learning, len(rows), NEW_TOKENS)
        tokens = len(rows) * (prompt.tokens + NEW_TOKENS)
        self._note(tokens, len(rows) * operations, planned.total)

    def drop(self) -> None:
        """Take the expert off the backbone."""
        if self.learner is not None:
            self.learner.drop(TASK)
            self.backbone.model.requires_grad_(False).eval()
            self.learner = None


def each(stamps: Sequence[float]) -> float:
    """Seconds between stamps, the first interval left out if there are more."""
    first = 1 if len(stamps) > 2 else 0
    return (stamps[-1] - stamps[first]) / (len(stamps) - 1 - first)

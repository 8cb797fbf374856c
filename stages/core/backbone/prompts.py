"""Samples to token ids: chat template, image tokens, labels, padding.

A turn's text is rendered by the tokenizer's chat template and tokenised piece by piece (prompt,
answer, next prompt, ...), so that the ids of a training sequence start with exactly the ids that
generation starts from. Only the template's and our own marks are control tokens: where a user's
text spells one, it is broken in two and stays text.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stages.core.backbone import breaks
from stages.core.backbone.breaks import BREAK
from stages.core.base.errors import InputError
from stages.core.data.images import open_rgb
from stages.core.data.markers import PLACE, without_places

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from stages.core.backbone.families.base import Family

IGNORE = -100  # label of a position without loss


class Prompter:
    """Turns rows of the data artefact into model inputs for one backbone."""

    def __init__(
        self,
        tokenizer: Any,
        images: Family,
        context: int | None = None,
        max_length: int | None = None,
    ) -> None:
        """For samples of at most ``context`` tokens, training rows cut to ``max_length``; None:
        any."""
        self.tokenizer = tokenizer
        self.images = images
        self.context, self.max_length = context, max_length
        self._control = breaks.control_tokens(tokenizer, images)

    # --- text ---

    def _messages(self, turns: list[dict[str, str]], tile_counts: list[int]) -> list[dict]:
        questions = self._with_images([turn["question"] for turn in turns], tile_counts)
        messages = []
        for question, turn in zip(questions, turns, strict=True):
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": self._broken(turn["answer"])})
        return messages

    def _with_images(self, questions: list[str], tile_counts: list[int]) -> list[str]:
        """Questions with the text that stands for each image at its place; in front without places.

        Raises:
            InputError: another number of places than of images.
        """
        marks = [self.images.marks(count) for count in tile_counts]
        questions = [self._broken(question) for question in questions]
        places = sum(question.count(PLACE) for question in questions)
        if places == 0:
            front = "".join(mark + self.images.gap for mark in marks)
            return [front + questions[0], *questions[1:]]
        if places != len(marks):
            raise InputError(f"a row's text has places for {places} images, the row {len(marks)}.")
        following = iter(marks)
        return [re.sub(PLACE, lambda _: next(following), question) for question in questions]

    def _render(self, messages: list[dict], prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=prompt
        )

    def _broken(self, text: str) -> str:
        return breaks.broken(text, self._control)

    def _ids(self, text: str) -> list[int]:
        first, *others = text.split(BREAK)
        ids = self.tokenizer(first, add_special_tokens=False)["input_ids"]
        for piece in others:
            mark = self._control.search(piece)  # behind a control token all is as ever
            end = mark.start() if mark else len(piece)
            ids += self._within.encode(piece[:end], add_special_tokens=False).ids
            ids += self.tokenizer(piece[end:], add_special_tokens=False)["input_ids"]
        return ids

    @cached_property
    def _within(self) -> Tokenizer:
        """Encodes what follows a break."""
        return breaks.without_prefix(self.tokenizer)

    def plain_ids(self, text: str) -> list[int]:
        """Ids of a question's words alone, as the tokenizer encodes plain text; nothing in it is a
        control token."""
        broken = self._broken(without_places(text))
        if BREAK in broken:
            return self.tokenizer("")["input_ids"] + self._ids(broken)
        return self.tokenizer(broken)["input_ids"]

    def chat_ids(self, question: str) -> list[int]:
        """Ids of a question in the chat template's frame of a user turn, up to the turn's end;
        without what the template puts before the first turn."""
        earlier = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        asked = {"role": "user", "content": self._broken(without_places(question))}
        turn = self._render([*earlier, asked], prompt=False)
        return self._ids(turn.removeprefix(self._render(earlier, prompt=False)).rstrip())

    def quoted_ids(self, before: str, text: str, after: str) -> list[int]:
        """Ids of a question's words between two texts of ours; nothing in it is a control token."""
        ends = self.tokenizer(before)["input_ids"], self.tokenizer(after, add_special_tokens=False)
        return [*ends[0], *self._ids(self._broken(without_places(text))), *ends[1]["input_ids"]]

    def conversation(
        self, turns: list[dict[str, str]], tile_counts: list[int]
    ) -> tuple[list[int], list[int]]:
        """Ids and labels of a whole conversation; only answers and their end token are labelled.

        Raises:
            InputError: a chat template whose rendering of a prefix is not a prefix.
        """
        return self._encoded(self._messages(turns, tile_counts))

    def _encoded(self, messages: list[dict]) -> tuple[list[int], list[int]]:
        ids, labels, done = [], [], ""
        for index in range(0, len(messages), 2):
            prompt = self._render(messages[: index + 1], prompt=True)
            full = self._render(messages[: index + 2], prompt=False)
            if not (prompt.startswith(done) and full.startswith(prompt)):
                raise InputError("the tokenizer's chat template is not incremental.")
            asked, answered = self._ids(prompt[len(done) :]), self._ids(full[len(prompt) :])
            ids += asked + answered
            labels += [IGNORE] * len(asked) + self._answer_labels(answered)
            done = full
        return ids, labels

    def _answer_labels(self, answered: list[int]) -> list[int]:
        """Labels up to the end-of-turn token; the template's white space after it has none."""
        ends = [i for i, token in enumerate(answered) if token == self.tokenizer.eos_token_id]
        last = ends[-1] + 1 if ends else len(answered)
        return answered[:last] + [IGNORE] * (len(answered) - last)

    def prompt(self, turns: list[dict[str, str]], tile_counts: list[int]) -> list[int]:
        """Ids of everything before the last answer: what generation starts from."""
        *earlier, question, _ = self._messages(turns, tile_counts)
        ids, _ = self._encoded(earlier)
        done = self._render(earlier, prompt=False) if earlier else ""
        return ids + self._ids(self._render([*earlier, question], prompt=True)[len(done) :])

    # --- images ---

    def tile_counts(self, row: dict[str, Any]) -> list[int]:
        """Tiles of each image of a row; the size of a single image is in the row."""
        if len(row["images"]) == 1 and row["width"]:
            sizes = [(row["width"], row["height"])]
        else:
            sizes = [open_rgb(image).size for image in row["images"]]
        return self.images.tile_counts(sizes)

    def pixel_values(self, row: dict[str, Any]) -> Any:
        """A row's images as its family takes them (tiles: uint8 ``(tiles, 3, tile, tile)``);
        None without image."""
        images = [open_rgb(image) for image in row["images"]]
        return self.images.pixels(images) if images else None

    def thumbnail(self, row: dict[str, Any]) -> Tensor | None:
        """The first image as one square, uint8 ``(1, 3, side, side)``; None without image."""
        return self.images.thumbnail(open_rgb(row["images"][0])) if row["images"] else None

    # --- rows and batches ---

    def training_ids(self, row: dict[str, Any]) -> tuple[list[int], list[int]]:
        """Ids and labels of a training row, cut at their end to ``max_length``.

        Raises:
            InputError: more than the backbone takes, or nothing of an answer is left.
        """
        ids, labels = self.conversation(row["turns"], self.tile_counts(row))
        ids, labels = ids[: self.max_length], labels[: self.max_length]
        if all(label == IGNORE for label in labels):
            raise InputError(
                f"sample {row['sample_id']!r}: backbone.max_length {self.max_length} leaves no "
                "token of its answer; raise it, or shorten the row."
            )
        self._check_length(row, len(ids))
        return ids, labels

    def _check_length(self, row: dict[str, Any], count: int) -> None:
        if self.context is not None and count > self.context:
            raise InputError(
                f"sample {row['sample_id']!r}: {count} tokens with its images and answer, but the "
                f"backbone takes {self.context}. Shorten the row, or lower backbone.max_tiles; "
                "backbone.max_length cuts training rows."
            )

    def training_example(self, row: dict[str, Any]) -> dict[str, Any]:
        """Ids, labels and pixels of a training row, as :meth:`training_ids`."""
        ids, labels = self.training_ids(row)
        return {
            "sample_id": row["sample_id"],
            "input_ids": ids,
            "labels": labels,
            "pixel_values": self.pixel_values(row),
        }

    def generation_example(self, row: dict[str, Any], ahead: int = 0) -> dict[str, Any]:
        """Prompt ids and pixels of a test row; an answer has ``ahead`` tokens at most.

        Raises:
            InputError: they are more than the backbone takes.
        """
        ids = self.prompt(row["turns"], self.tile_counts(row))
        self._check_length(row, len(ids) + ahead)
        return {
            "sample_id": row["sample_id"],
            "input_ids": ids,
            "pixel_values": self.pixel_values(row),
        }

    def collate(self, examples: list[dict[str, Any]], side: str = "right") -> dict[str, Any]:
        """Pad examples into one batch: ids and labels ``(B, T)``, the images as model inputs."""
        import torch

        longest = max(len(example["input_ids"]) for example in examples)

        def padded(rows: list[list[int]], value: int) -> Tensor:
            fills = [[value] * (longest - len(row)) for row in rows]
            pairs = zip(rows, fills, strict=True)
            return torch.tensor([r + f if side == "right" else f + r for r, f in pairs])

        ids = [example["input_ids"] for example in examples]
        batch: dict[str, Any] = {
            "sample_id": [example["sample_id"] for example in examples],
            "input_ids": padded(ids, self.tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in ids], 0),
        }
        if "labels" in examples[0]:
            batch["labels"] = padded([example["labels"] for example in examples], IGNORE)
        pixels = [e["pixel_values"] for e in examples if e["pixel_values"] is not None]
        if pixels:
            batch |= self.images.batch(pixels, batch["input_ids"])
        return batch

"""Training of the pocket backbone's projector and LoRA updates, in two phases.

*Words*: the vision tower and projector alone. Each image token is to point at the (frozen) text
embeddings of what its cell of the picture shows, and to tell that thing's box through a linear
head that is thrown away. It is cheap (no language model) and leaves visual tokens that read like
words.

*Turns*: the whole model on packed question/answer turns.
"""

from dataclasses import dataclass

import numpy
import torch
from torch import nn
from torch.nn import functional

from stages.pocket.packing import Packed, attention_mask
from stages.pocket.pictures import Box
from stages.pocket.scenes import Scene

VISION_RANK, LANGUAGE_RANK = 64, 16
PROJECTOR = "multi_modal_projector"
LEAST_COVER = 0.15  # of a cell or of the item: below it the item is not the cell's content
NOTHING = " background"


class LowRankLinear(nn.Module):
    """A frozen linear layer plus a trained low-rank update, ``w + lora_B @ lora_A``.

    The update is kept in float32 and used in the frozen weight's dtype; adding it inside one
    matrix product saves the memory passes that dominate on a CPU.
    """

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = frozen.weight, frozen.bias
        self.lora_A = nn.Parameter(torch.empty(rank, frozen.in_features))
        self.lora_B = nn.Parameter(torch.zeros(frozen.out_features, rank))
        nn.init.normal_(self.lora_A, std=frozen.in_features**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        dtype = self.weight.dtype
        rows = x.reshape(-1, x.shape[-1])
        frozen = functional.linear(rows, self.weight, self.bias)
        low = rows @ self.lora_A.to(dtype).T  # (rows, rank)
        return torch.addmm(frozen, low, self.lora_B.to(dtype).T).view(*x.shape[:-1], -1)


def prepare(model: nn.Module) -> nn.Module:
    """Freeze a model in bfloat16; give its blocks low-rank updates; train the projector whole."""
    model.to(torch.bfloat16).requires_grad_(False)
    towers = (
        (model.model.vision_tower.encoder, VISION_RANK),
        (model.model.language_model.layers, LANGUAGE_RANK),
    )
    for tower, rank in towers:
        for module in list(tower.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, LowRankLinear(child, rank))
    model.get_submodule(f"model.{PROJECTOR}").float().requires_grad_(True)
    return model


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that alignment changes, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def pixels(images: list, mean: list[float], std: list[float]) -> torch.Tensor:
    """(B, 3, H, W) float32 normalised pixels of equally large RGB pictures."""
    stacked = numpy.stack([numpy.asarray(image) for image in images])  # (B, H, W, 3)
    scaled = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    shape = (1, 3, 1, 1)
    return (scaled - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


@dataclass
class Cells:
    """What the cells of one picture show: for each of n cells (row by row) token shares and box.

    ``tokens`` holds (cell, token id, share) with shares adding to 1 per cell; ``boxes`` is (n, 4),
    NaN where a cell shows nothing.
    """

    tokens: list[tuple[int, int, float]]
    boxes: numpy.ndarray


class CellLabeller:
    """Says which words each cell of a scene should point at."""

    def __init__(self, tokenizer, grid: int) -> None:
        self.tokenizer, self.grid = tokenizer, grid
        self.known: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer(text).input_ids
        return self.known[text]

    def _words(self, item) -> list[tuple[str, float]]:
        tags = item.tags[:4]
        named = [(item.name, 5.0), (item.kind, 3.0), (item.colour, 1.0)]
        return [(f" {t}", w) for t, w in [*named, *((tag, 1 / len(tags)) for tag in tags)] if t]

    def _pieces(self, scene: Scene) -> list[tuple[tuple, list[tuple[str, float]]]]:
        """(box, weighted texts) of everything that is drawn."""
        if scene.family == "text":
            pieces = []
            for item in scene.items:
                x1, y1, x2, y2 = item.box
                width = (x2 - x1) / len(item.name)
                for i, letter in enumerate(item.name):
                    box = (x1 + i * width, y1, x1 + (i + 1) * width, y2)
                    pieces.append((box, [(letter, 1.0)]))
            return pieces
        if scene.family == "numbers":
            return [(item.box, [(item.name, 1.0)]) for item in scene.items]
        if scene.family == "maps":
            return [(item.box, [(f" {item.colour}", 1.0)]) for item in scene.items]
        return [(item.box, self._words(item)) for item in scene.items]

    def label(self, scene: Scene) -> Cells:
        """The cells of one scene."""
        grid, pieces = self.grid, self._pieces(scene)
        boxes = numpy.full((grid * grid, 4), numpy.nan, dtype=numpy.float32)
        tokens = []
        for cell in range(grid * grid):
            y, x = divmod(cell, grid)
            found = []
            for box, words in pieces:
                width = min(box[2], (x + 1) / grid) - max(box[0], x / grid)
                height = min(box[3], (y + 1) / grid) - max(box[1], y / grid)
                size = max(min((box[2] - box[0]) * (box[3] - box[1]), grid**-2), 1e-6)
                cover = max(width, 0) * max(height, 0) / size
                if cover > LEAST_COVER:
                    found.append((cover, box, words))
            tokens += self._shares(cell, found)
            if found and scene.family in ("objects", "maps"):
                boxes[cell] = max(found, key=lambda f: f[0])[1]
        return Cells(tokens, boxes)

    def _shares(self, cell: int, found: list) -> list[tuple[int, int, float]]:
        parts = [
            (token, cover * weight / len(self._ids(text)))
            for cover, _, words in found
            for text, weight in words
            for token in self._ids(text)
        ] or [(self._ids(NOTHING)[0], 1.0)]
        total = sum(share for _, share in parts)
        return [(cell, token, share / total) for token, share in parts]


class WordsHead(nn.Module):
    """Compares image tokens with word embeddings, and reads a box off them.

    The scores are plain dot products with the centred embeddings, and the features are held to
    the embeddings' length: what comes out are tokens of the size and place of words.
    """

    def __init__(self, embeddings: torch.Tensor, vocabulary: list[int]) -> None:
        super().__init__()
        embeddings = embeddings.float()
        self.length = embeddings.norm(dim=-1).mean().item()
        self.register_buffer("words", embeddings[vocabulary] - embeddings.mean(0))
        index = torch.full((len(embeddings),), -1, dtype=torch.long)
        index[vocabulary] = torch.arange(len(vocabulary))
        self.register_buffer("index", index)
        self.box = nn.Linear(embeddings.shape[1], 4)

    def loss(self, features: torch.Tensor, cells: list[Cells]) -> dict[str, torch.Tensor]:
        """Mean losses; ``features`` is (B, n, width) of the projector."""
        features = features.float()
        logs = (features @ self.words.T).log_softmax(-1)  # (B, n, words)
        entries = [(b, *entry) for b, cell in enumerate(cells) for entry in cell.tokens]
        b, n, token, share = (torch.tensor(column) for column in zip(*entries, strict=True))
        device = features.device
        b, n, column = b.to(device), n.to(device), self.index[token.to(device)]
        known = column >= 0
        share = share.float().to(device) * known
        words = -(logs[b, n, column.clamp(min=0)] * share).sum() / share.sum()
        boxes = torch.from_numpy(numpy.stack([cell.boxes for cell in cells])).to(device)
        there = ~boxes[..., 0].isnan()
        box = (self.box(features).sigmoid()[there] - boxes[there]).abs().mean()
        length = (features.norm(dim=-1) / self.length - 1).square().mean()
        common = features.mean((0, 1)).norm() / self.length
        return {"words": words, "box": 4 * box, "length": length, "common": 0.3 * common}


@dataclass
class Batch:
    """Padded packed sequences: ids, positions (B, L), mask (B, 1, L, L), weights (B, L)."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    turns: list[list[str]]
    segments: torch.Tensor
    boxes: list[tuple[int, int, Box]]  # (sequence, token, relative box)


def collate(packed: list[Packed]) -> Batch:
    """Pad sequences to the longest; padding is a segment of its own and carries no weight."""
    length = max(len(item.ids) for item in packed)

    def padded(name: str, value: float) -> torch.Tensor:
        arrays = [getattr(item, name) for item in packed]
        pad = [numpy.pad(a, (0, length - len(a)), constant_values=value) for a in arrays]
        return torch.from_numpy(numpy.stack(pad))

    segments = padded("segments", -1)
    mask = numpy.stack([attention_mask(row) for row in segments.numpy()])
    return Batch(
        padded("ids", 0),
        padded("positions", 0),
        torch.from_numpy(mask)[:, None],
        padded("weights", 0),
        [list(item.families) for item in packed],
        segments,
        [(i, at, box) for i, item in enumerate(packed) for at, box in item.boxes],
    )


def turns_loss(
    model: nn.Module, images: torch.Tensor, batch: Batch, head: nn.Module | None = None
) -> tuple:
    """(weighted mean cross entropy, {family: (summed loss per token, tokens)}) of a batch.

    Only positions that carry weight go through the output layer. With a ``head`` (width -> 4)
    its mean error in reading boxes is added, 4 times: from the token before the answer, after
    two thirds of the language model, so that the digits that follow can look it up there.
    """
    device, dtype = images.device, model.get_input_embeddings().weight.dtype
    # added to the scores: a boolean mask means that to one attention implementation only
    closed = torch.zeros(batch.mask.shape, dtype=dtype).masked_fill(
        ~batch.mask, torch.finfo(dtype).min
    )
    hidden = model.model(
        input_ids=batch.ids.to(device),
        pixel_values=images,
        attention_mask=closed.to(device),
        position_ids=batch.positions.to(device),
        use_cache=False,
        output_hidden_states=head is not None,
    )
    states, hidden = hidden.hidden_states, hidden.last_hidden_state
    row, column = batch.weights.nonzero(as_tuple=True)
    logits = model.lm_head(hidden[row.to(device), (column - 1).to(device)]).float()
    losses = functional.cross_entropy(logits, batch.ids[row, column].to(device), reduction="none")
    weights = batch.weights[row, column].to(device)
    families: dict[str, list[float]] = {}
    segments = batch.segments[row, column].tolist()
    for r, segment, value in zip(row.tolist(), segments, losses.tolist(), strict=True):
        total = families.setdefault(batch.turns[r][segment - 1], [0.0, 0])
        total[0] += value
        total[1] += 1
    loss = (losses * weights).sum() / weights.sum()
    if head is not None and batch.boxes:
        row, column, boxes = zip(*batch.boxes, strict=True)
        asked = states[2 * len(states) // 3][list(row), list(column)].float()
        error = (head(asked).sigmoid() - torch.tensor(boxes, device=device)).abs().mean()
        loss = loss + 4 * error
        families["box_head"] = [len(boxes) * error.item(), len(boxes)]
    return loss, families

"""Bytes that a GPU would hold at its fullest, counted without one.

Numbers live on the meta device and have a shape only; whole numbers and truth values (token ids,
masks) are real, so that code which looks at them runs as always. Every storage of numbers is
entered when an operation makes it and struck out when Python forgets it. Attention is that of the
fused CUDA kernels; under :class:`Cuda` with ``autocast`` precision follows torch's CUDA rules.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
HALF = torch.bfloat16


def real(tensor: Any) -> bool:
    """Whether it is a tensor of whole numbers or truth values."""
    return isinstance(tensor, Tensor) and not tensor.is_floating_point()


class Ledger(TorchDispatchMode):
    """Bytes that live now, and at most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._entered: set[int] = set()

    def enter(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if tensor.is_meta and storage._cdata not in self._entered:
                self._entered.add(storage._cdata)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        self._entered.discard(key)
        self.live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation where its inputs are, and enter what it makes."""
        kwargs = kwargs or {}
        others = tree_leaves((args, kwargs))
        given = [x for x in others if isinstance(x, Tensor)]
        if not any(x.is_meta for x in given):
            out = func(*args, **kwargs)
            if any(real(x) and x.is_meta for x in tree_leaves(out)):
                given_args, given_kwargs = tree_map(_here, (args, kwargs))
                out = func(*given_args, **given_kwargs)
        elif func is aten._local_scalar_dense.default:
            return 1.0
        elif any(isinstance(x, torch.device) and x.type == "cpu" for x in others):
            args, kwargs = tree_map(_meta, (args, kwargs))
            return func(*args, **kwargs)  # in the host's memory: not entered
        else:
            if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
                args = (args[0], _places(args[1]), *args[2:])
            out = func(*tree_map(_shape, args), **tree_map(_shape, kwargs))
            if func is aten.eq.Scalar:
                out = torch.zeros(out.shape, dtype=torch.bool)
            out = tree_map(lambda x: _ones(x) if real(x) and x.is_meta else x, out)
        self.enter(x for x in tree_leaves(out) if isinstance(x, Tensor))
        return out


def _meta(value: Any) -> Any:
    return torch.device("meta") if isinstance(value, torch.device) else value


def _here(value: Any) -> Any:
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _shape(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) and not value.is_meta else value


def _ones(tensor: Tensor) -> Tensor:
    return torch.ones(tensor.shape, dtype=tensor.dtype)


def _places(indices: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Indices with every mask as the positions that it holds."""
    found: list[Tensor | None] = []
    for index in indices:
        masks = index is not None and index.dtype == torch.bool
        found += index.nonzero(as_tuple=True) if masks else [index]
    return found


class Cuda(TorchFunctionMode):
    """Functions as they are on a CUDA device: fused attention, and the precision of autocast."""

    LOW = (F.linear, F.conv2d, torch.conv2d, F.conv3d, torch.conv3d, torch.matmul, torch.bmm,
           Tensor.matmul, Tensor.__matmul__)  # fmt: skip
    HIGH = (F.layer_norm, F.cross_entropy, Tensor.pow, torch.pow, torch.rsqrt, F.softmax)

    def __init__(self, autocast: bool = False) -> None:
        super().__init__()
        self.autocast, self._cast = autocast, {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Cast the inputs and call the function."""
        kwargs = kwargs or {}
        if func in (Tensor.backward, torch.autograd.backward):
            with self:  # blocks are computed again within
                return _engine_run_backward(
                    (args[0],), (torch.ones_like(args[0]),), False, False, (),
                    allow_unreachable=True, accumulate_grad=True,
                )  # fmt: skip
        if func is torch.tensor:
            made = func(*args, **kwargs | {"device": "cpu"})
            return made if real(made) else made.to(kwargs.get("device"))
        if self.autocast and func in (*self.LOW, F.scaled_dot_product_attention):
            args, kwargs = tree_map(self._half, (args, kwargs))
        elif self.autocast and func in self.HIGH:
            args, kwargs = tree_map(_single, (args, kwargs))
        if func is F.scaled_dot_product_attention:
            return fused_attention(*args, **kwargs)
        if func is F.dropout:
            return fused_dropout(*args, **kwargs)
        return func(*args, **kwargs)

    def _half(self, value: Any) -> Any:
        """In bfloat16; weights that learn are cast once per pass."""
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(HALF)
        if id(value) not in self._cast:
            self._cast[id(value)] = value.to(HALF)
        return self._cast[id(value)]


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == HALF else value


class _Dropout(torch.autograd.Function):
    """Keeps a mask of one byte per number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(torch.empty(x.shape, dtype=torch.float8_e4m3fn, device="meta"))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return torch.empty_like(grad)


def fused_dropout(
    x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """The CUDA kernel; the general one keeps a mask in the precision of its input."""
    return _Dropout.apply(x) if training and p else x


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The flash kernel, or with a mask the memory-efficient one, which takes it as numbers."""
    if attn_mask is None:
        found = aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal)
        return found[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.empty(attn_mask.shape, dtype=query.dtype, device="meta")
    bias = attn_mask.expand(*query.shape[:3], key.shape[2])
    found = aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, dropout_p)
    return found[0]

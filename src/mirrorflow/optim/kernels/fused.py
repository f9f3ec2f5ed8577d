"""Calls the kernels on lists of tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mirrorflow.maps import (
    Cosh,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    MirrorMap,
    Power,
    Quadratic,
)
from mirrorflow.maps.numerics import typed_fraction
from mirrorflow.optim.kernels.build import library
from mirrorflow.optim.sharded import is_sharded, local

__all__ = ["Options", "fused_step", "has_kernel", "is_dense", "known", "laid_out_as", "misfit"]

_POWERS = {1.5: 1, 2.0: 0, 3.0: 2, 4.0: 3}
_PLAIN = {Tensor, torch.nn.Parameter}
_NAMES = {torch.float32: "mirror_step_float32", torch.float64: "mirror_step_float64"}


class Options(ctypes.Structure):
    """What a step needs to know; the fields are those of `Options` in mirror.cpp, in order."""

    _fields_ = (
        *((name, ctypes.c_double) for name in (
            "lr", "shrink", "momentum", "gain", "sign", "beta1", "beta2", "eps", "root_correction"
        )),
        ("nesterov", ctypes.c_int64),
        ("first", ctypes.c_int64),
    )  # fmt: skip

    @classmethod
    def of(cls, group: dict[str, Any], rate: float, **more: float) -> Options:
        """What every optimizer's group says, and `more`."""
        options = {
            "lr": rate,
            "shrink": 1 - rate * group["weight_decay"],
            "sign": -1 if group["maximize"] else 1,
        }
        return cls(**{**options, **more})


def _kind(mirror_map: MirrorMap) -> tuple[int, float] | None:
    match mirror_map:
        case Quadratic():
            return 0, 0.0
        case Power(p):
            return (_POWERS[p], p) if p in _POWERS else (8, float(typed_fraction(p) - 1))
        case HyperbolicEntropy(beta):
            return 4, beta
        case Logarithmic(beta):
            return 5, beta
        case Cosh(scale):
            return 6, scale
        case Exponential():
            return 7, 0.0
    return None


def known(mirror_map: MirrorMap) -> bool:
    """True if there is a kernel for this map, whether or not it is built."""
    return _kind(mirror_map) is not None


def has_kernel(mirror_map: MirrorMap) -> bool:
    """True if there is a kernel for this map, and it could be had."""
    return known(mirror_map) and library() is not None


def misfit(x: Tensor, g: Tensor) -> str | None:
    """Why no kernel can step these tensors, as the end of a sentence; None if one can."""
    x, g = _mine(x), _mine(g)
    if not (x.is_cpu and g.is_cpu):
        return f"is on {x.device}, its gradient on {g.device}"
    if not {type(x), type(g)} <= _PLAIN:
        return f"is a {type(x).__name__}, its gradient a {type(g).__name__}"
    if x.dtype not in _NAMES or g.dtype is not x.dtype:
        return f"has the dtype {x.dtype}, its gradient {g.dtype}"
    if not is_dense(x):
        return f"has the strides {x.stride()}, with gaps or overlaps"
    return None


def is_dense(x: Tensor) -> bool:
    """True if the entries fill one piece of memory, in whatever order."""
    if x.is_contiguous():
        return True
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    return x.permute(order).is_contiguous()


def laid_out_as(x: Tensor, like: Tensor) -> Tensor:
    """x, or a copy of it whose entries lie in memory as those of `like`, a dense tensor."""
    if x.stride() == like.stride():
        return x
    return torch.empty_like(like, dtype=x.dtype).copy_(x)


def _mine(x: Tensor) -> Tensor:
    """The entries of a sharded tensor that lie in this process."""
    return local(x) if is_sharded(x) else x


def fused_step(
    mirror_map: MirrorMap,
    x: Sequence[Tensor],
    g: Sequence[Tensor],
    options: Sequence[Options],
    first: Sequence[Tensor] | None = None,
    second: Sequence[Tensor] | None = None,
) -> None:
    """One step of all tensors, in place: `rules.mirror_step` with its direction, fused.

    Args:
        mirror_map: one for which `has_kernel` is true.
        x: parameters, all of one dtype, no `misfit`.
        g: gradients, laid out as the parameters; so are the moments.
        options: one per parameter.
        first: momentum, or Adam's first moment (then with second).
        second: Adam's second moment.
    """
    kind = _kind(mirror_map)
    kernels = library()
    assert kind is not None
    assert kernels is not None
    getattr(kernels, _NAMES[x[0].dtype])(
        ctypes.c_int64(kind[0]),
        ctypes.c_double(kind[1]),
        ctypes.c_int64(len(x)),
        (ctypes.c_int64 * len(x))(*[_mine(t).numel() for t in x]),
        _pointers(x),
        _pointers(g),
        None if first is None else _pointers(first),
        None if second is None else _pointers(second),
        (Options * len(x))(*options),
        ctypes.c_int64(torch.get_num_threads()),
    )


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*[_mine(t).data_ptr() for t in tensors])

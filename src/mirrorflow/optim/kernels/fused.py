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

__all__ = ["Options", "fits", "fused_step", "has_kernel", "supports"]

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


def has_kernel(mirror_map: MirrorMap) -> bool:
    """True if there is a kernel for this map, and a compiler built it."""
    return _kind(mirror_map) is not None and library() is not None


def fits(x: Tensor, g: Tensor) -> bool:
    """True if a kernel can step these tensors."""
    return (
        x.dtype in _NAMES
        and g.dtype is x.dtype
        and type(g) in _PLAIN
        and type(x) in _PLAIN
        and x.is_cpu
        and g.is_cpu
        and x.is_contiguous()
        and g.is_contiguous()
    )


def supports(mirror_map: MirrorMap, x: Tensor, g: Tensor) -> bool:
    """True if there is a kernel for this map and these tensors."""
    return has_kernel(mirror_map) and fits(x, g)


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
        mirror_map: one for which `supports` is true.
        x: parameters, all of one dtype.
        g: gradients.
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
        (ctypes.c_int64 * len(x))(*[t.numel() for t in x]),
        _pointers(x),
        _pointers(g),
        None if first is None else _pointers(first),
        None if second is None else _pointers(second),
        (Options * len(x))(*options),
        ctypes.c_int64(torch.get_num_threads()),
    )


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])

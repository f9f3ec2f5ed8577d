"""Calls the kernels on lists of tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mirrorflow.maps import (
    Cosh,
    DoubleExponential,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    MirrorMap,
    Mixed,
    Power,
    Quadratic,
    Scaled,
)
from mirrorflow.maps.numerics import typed_fraction
from mirrorflow.optim.kernels.build import library
from mirrorflow.optim.sharded import is_sharded, local

__all__ = [
    "Options",
    "fused_sizes",
    "fused_step",
    "fused_trial",
    "has_kernel",
    "is_dense",
    "known",
    "laid_out_as",
    "misfit",
]

_POWERS = {1.5: 1, 2.0: 0, 3.0: 2, 4.0: 3}
_PLAIN = {Tensor, torch.nn.Parameter}
_NAMES = {torch.float32: "float32", torch.float64: "float64"}
# Weights with which no product leaves the floats before the answer does.
_SCALES = (1e-6, 1e6)


class Options(ctypes.Structure):
    """What a step needs to know; the fields are those of `Options` in mirror.cpp, in order."""

    _fields_ = (
        *((name, ctypes.c_double) for name in (
            "lr", "shrink", "dual_decay", "momentum", "gain", "sign", "beta1", "beta2", "eps",
            "root_correction",
        )),
        ("nesterov", ctypes.c_int64),
        ("first", ctypes.c_int64),
    )  # fmt: skip

    @classmethod
    def of(cls, group: dict[str, Any], rate: float, **more: float) -> Options:
        """What every optimizer's group says, and `more`."""
        amount = rate * group["weight_decay"]
        primal = group["decay"] == "primal"
        options = {
            "lr": rate,
            "shrink": 1 - amount if primal else 1,
            "dual_decay": 0 if primal else amount,
            "sign": -1 if group["maximize"] else 1,
        }
        return cls(**{**options, **more})


class _Kernel(NamedTuple):
    """A map's number in mirror.cpp, its parameters there, and the weight before it."""

    number: int
    parameters: tuple[float, ...]
    weight: float = 1.0


def _kernel(mirror_map: MirrorMap) -> _Kernel | None:
    match mirror_map:
        case Quadratic():
            return _Kernel(0, ())
        case Power(p):
            return _Kernel(_POWERS.get(p, 8), (float(typed_fraction(p) - 1),))
        case HyperbolicEntropy(beta):
            return _Kernel(4, (beta,))
        case Logarithmic(beta):
            return _Kernel(5, (beta,))
        case Cosh(scale):
            return _Kernel(6, (scale,))
        case Exponential():
            return _Kernel(7, ())
        case DoubleExponential():
            return _Kernel(9, ())
        case Mixed(p, a, b) if _mixes(p, a, b):
            return _Kernel(10, (float(typed_fraction(p) - 1), a, b))
        case Scaled(inner, weight) if _SCALES[0] <= weight <= _SCALES[1]:
            kernel = _kernel(inner)
            return None if kernel is None else kernel._replace(weight=kernel.weight * weight)
    return None


def _mixes(p: float, a: float, b: float) -> bool:
    """Whether the kernel reaches the digits and the range of floats with these parameters."""
    return 1.2 <= p <= 9 and all(_SCALES[0] <= weight <= _SCALES[1] for weight in (a, b))


def known(mirror_map: MirrorMap) -> bool:
    """True if there is a kernel for this map, whether or not it is built."""
    return _kernel(mirror_map) is not None


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
    _call(
        "step",
        mirror_map,
        x,
        g,
        None if first is None else _pointers(first),
        None if second is None else _pointers(second),
        (Options * len(x))(*[_weighted(o, mirror_map) for o in options]),
        ctypes.c_int64(torch.get_num_threads()),
    )


def fused_sizes(
    mirror_map: MirrorMap, x: Sequence[Tensor], d: Sequence[Tensor]
) -> tuple[float, float]:
    """`⟨d, d⟩` and `⟨∇R(x), x⟩` over all tensors; arguments as in `fused_step`."""
    squares, energy = _measure(mirror_map, x, d, None, Options(shrink=1))
    return squares, energy * _required(mirror_map).weight


def fused_trial(
    mirror_map: MirrorMap,
    x: Sequence[Tensor],
    d: Sequence[Tensor],
    to: Sequence[Tensor],
    options: Options,
) -> float:
    """A step of size `options.lr` from x into `to`, and `⟨d, change⟩` without that of the decay."""
    return _measure(mirror_map, x, d, _pointers(to), _weighted(options, mirror_map))[0]


def _measure(
    mirror_map: MirrorMap,
    x: Sequence[Tensor],
    d: Sequence[Tensor],
    to: ctypes.Array[ctypes.c_void_p] | None,
    options: Options,
) -> tuple[float, float]:
    sums = (ctypes.c_double * 2)()
    threads = ctypes.c_int64(torch.get_num_threads())
    _call("measure", mirror_map, x, d, to, ctypes.byref(options), threads, sums)
    return sums[0], sums[1]


def _call(
    what: str, mirror_map: MirrorMap, x: Sequence[Tensor], second: Sequence[Tensor], *more: Any
) -> None:
    kernel, kernels = _required(mirror_map), library()
    assert kernels is not None
    getattr(kernels, f"mirror_{what}_{_NAMES[x[0].dtype]}")(
        ctypes.c_int64(kernel.number),
        (ctypes.c_double * 3)(*kernel.parameters),
        ctypes.c_int64(len(x)),
        (ctypes.c_int64 * len(x))(*[_mine(t).numel() for t in x]),
        _pointers(x),
        _pointers(second),
        *more,
    )


def _required(mirror_map: MirrorMap) -> _Kernel:
    kernel = _kernel(mirror_map)
    assert kernel is not None  # `has_kernel` has looked
    return kernel


def _weighted(options: Options, mirror_map: MirrorMap) -> Options:
    """A step of `w R` by delta is one of R by delta/w."""
    weight = _required(mirror_map).weight
    if weight == 1:
        return options
    changed = Options.from_buffer_copy(options)
    changed.lr = options.lr / weight
    return changed


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*[_mine(t).data_ptr() for t in tensors])

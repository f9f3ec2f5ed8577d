"""What maps and horizons take: tensors of real floats, numbers and scales."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import as_number, as_tensor, shown

__all__ = [
    "as_real",
    "as_scale",
    "require_finite",
    "require_floating",
    "require_pair",
    "require_same",
]


def require_floating(value: Tensor, name: str) -> Tensor:
    """The tensor of real floats; a NumPy array of floats becomes one.

    Raises:
        TypeError: not a tensor, or integers, booleans, complex or sparse entries.
    """
    if isinstance(value, np.ndarray):
        value = as_tensor(value, name)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; "
            f"wrap it with torch.as_tensor({name}, dtype=torch.float64)"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name} has dtype {value.dtype}; a mirror map acts on real floating-point tensors "
            "(float16, bfloat16, float32, float64). Convert it, for example with "
            f"{name}.to(torch.float64)"
        )
    if value.layout is not torch.strided:
        raise TypeError(f"{name} is sparse ({value.layout}); pass {name}.to_dense()")
    return value


def require_pair(x: Tensor, other: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """x and a second tensor that goes with it, entry by entry or one for all.

    Raises:
        TypeError: see `require_floating`.
        ValueError: shapes that do not fit.
    """
    x, other = require_floating(x, "x"), require_floating(other, name)
    if x.shape != other.shape and not _fits(x, other):
        raise ValueError(
            f"{name} has shape {tuple(other.shape)}, x has {tuple(x.shape)}; make them equal"
        )
    return x, other


def require_finite(value: Tensor, name: str) -> Tensor:
    """The tensor of finite floats.

    Raises:
        TypeError: see `require_floating`.
        ValueError: NaN or infinity.
    """
    value = require_floating(value, name)
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinity; pass finite numbers")
    return value


def require_same(x: Tensor, g: Tensor, rtol: float) -> tuple[Tensor, Tensor, float]:
    """A point, a vector of its shape and a relative tolerance in [0, 1).

    Raises:
        TypeError: see `require_floating`; rtol is not a number.
        ValueError: shapes that differ, or rtol outside.
    """
    x, g = require_floating(x, "x"), require_floating(g, "g")
    if g.shape != x.shape:
        raise ValueError(f"g has shape {tuple(g.shape)}, x has {tuple(x.shape)}; make them equal")
    return x, g, as_number(rtol, "rtol", least=0, below=1)


def _fits(x: Tensor, other: Tensor) -> bool:
    ends = zip(reversed(other.shape), reversed(x.shape), strict=False)
    return other.ndim <= x.ndim and all(n in (1, m) for n, m in ends)


def as_scale(value: float, name: str) -> float:
    """A scale parameter in (0, ∞), as a float.

    Raises:
        TypeError: not a number, booleans included.
        ValueError: outside.
    """
    number = as_real(value, name)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} = {shown(value)} is not a scale; choose 0 < {name} < inf")
    return number


def as_real(value: float, name: str) -> float:
    """A number as a float, ±∞ and NaN too, for a caller that says what is allowed.

    Raises:
        TypeError: not a number, booleans included.
    """
    try:
        return as_number(value, name, infinite=True)
    except ValueError:
        return math.nan

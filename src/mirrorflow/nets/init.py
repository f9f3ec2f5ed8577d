"""Initial weights."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import as_integer, shown

__all__ = ["as_classes", "as_generator", "as_size", "as_sizes", "empty_weight", "normal_"]

_MOST = 2**31 - 1


def as_size(value: Any, name: str) -> int:
    """A number of units, channels or pixels, as an int.

    Raises:
        TypeError: not an integer.
        ValueError: below 1, or beyond 2³¹ − 1.
    """
    return as_integer(value, name, least=1, most=_MOST)


def as_sizes(value: Any, name: str) -> tuple[int, ...]:
    """Several sizes, as a tuple of ints.

    Raises:
        TypeError: not a sequence, or an entry that is not an integer.
        ValueError: an entry out of range.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray | Tensor):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass a tuple of ints"
        )
    if isinstance(value, np.ndarray | Tensor) and value.ndim != 1:
        raise TypeError(f"{name} = {shown(value)} is not a row of sizes; pass a tuple of ints")
    return tuple(as_size(size, f"{name}[{i}]") for i, size in enumerate(value))


def as_classes(value: Any) -> int | None:
    """The number of classes, None for a binary net.

    Raises:
        TypeError: neither an integer nor None.
        ValueError: fewer than two.
    """
    return None if value is None else as_integer(value, "classes", least=2, most=_MOST)


def as_generator(value: Any) -> torch.Generator | None:
    """A generator on the CPU, where initial weights are drawn, or None.

    Raises:
        TypeError: something else.
        ValueError: a generator on another device.
    """
    if value is None:
        return None
    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"generator = {shown(value)} is a {type(value).__name__}; pass a torch.Generator "
            "(torch.Generator().manual_seed(0)) or None"
        )
    if value.device.type != "cpu":
        raise ValueError(
            f"generator is on {value.device}; initial weights are drawn on the CPU, so pass "
            "torch.Generator()"
        )
    return value


def empty_weight(shape: tuple[int, ...], name: str) -> Tensor:
    """An uninitialised weight tensor.

    Raises:
        ValueError: `name` asks for one that the machine's memory does not hold.
    """
    numbers = math.prod(shape)
    # The draw in float64, its multiple, and the weight.
    if 24 * numbers > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ValueError(
            f"{name} makes a weight of shape {shape}, {numbers:.3g} numbers, which do not fit in "
            "memory; choose smaller sizes"
        )
    return torch.empty(shape)


def normal_(out: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    """Fill `out` with `N(0, std²)` drawn in float64, so that every dtype starts alike."""
    draw = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return out.copy_(std * draw)

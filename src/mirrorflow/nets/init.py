"""Initial weights."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_size", "normal_"]


def check_size(value: int, name: str, *, least: int = 1) -> None:
    """Refuse a size that is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} = {value!r} is no size; pass an int >= {least}")
    if value < least:
        raise ValueError(f"{name} = {value} is too small; pass an int >= {least}")


def normal_(out: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    """Fill `out` with `N(0, std²)` drawn in float64, so that every dtype starts alike."""
    draw = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return out.copy_(std * draw)

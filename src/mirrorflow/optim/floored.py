"""A mirror map whose curvature near zero is floored: what a step needs where a map is flat at zero.

Where `r''` is small an entry answers to any step in u with a jump: at p = 10, `θ = u^{1/9}` moves
by 0.2 for `Δu = 1e-6`. An explicit step makes such entries flip from sign to sign. The flow holds
them where their gradient vanishes, and so does a step whose `r''` is at least `s·h` for a step s
and a curvature h of the log loss: near zero it is then gradient descent with the step `1/h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from mirrorflow.maps import SeparableMap
from mirrorflow.optim.sharded import is_sharded

__all__ = ["Floored", "can_floor", "find_knee"]

# Knees that are looked at: 16 an octave, down to 2⁻⁴⁰ of the largest entry.
_OCTAVES, _PER_OCTAVE = 40, 16


@dataclass(frozen=True)
class Floored:
    """`r'' ← max(r'', slope)`: `slope·x` up to the knee, `r'` and a constant beyond it.

    Args:
        base: the map; its `r''` is at most `slope` up to the knee.
        knee: the size of an entry where the floor ends, > 0.
        slope: the floor of `r''`, > 0.
    """

    base: SeparableMap
    knee: float
    slope: float

    separable: ClassVar[bool] = True

    @cached_property
    def _gained(self) -> float:
        """What the dual of an entry beyond the knee is larger by."""
        edge = torch.tensor(self.knee, dtype=torch.float64)
        return self.slope * self.knee - float(self.base.to_dual(edge))

    def to_dual(self, x: Tensor) -> Tensor:
        """The dual of the floored potential, the shape of x."""
        beyond = self.base.to_dual(x) + self._gained * x.sign()
        return torch.where(x.abs() <= self.knee, self.slope * x, beyond)

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """As `MirrorMap.step`; an entry that stays beyond the knee moves as in `base`."""
        v = self.to_dual(x) - delta
        inside = v.abs() <= self.slope * self.knee
        arrived = self.base.to_primal(v - self._gained * v.sign())
        stays = (x.abs() > self.knee) & (x * v > 0)
        arrived = torch.where(stays, self.base.step(x, delta), arrived)
        flat = torch.where(x.abs() <= self.knee, x - delta / self.slope, v / self.slope)
        return torch.where(delta == 0, x, torch.where(inside, flat, arrived))


def can_floor(mirror_map: Any, x: Tensor) -> bool:
    """True for entrywise maps of an index above 2, of which `r''` rises from zero on."""
    if not isinstance(mirror_map, SeparableMap) or is_sharded(x):
        return False
    return mirror_map.even and mirror_map.index > 2


def find_knee(mirror_map: SeparableMap, slope: float, largest: float) -> float:
    """The largest size t up to `largest` with `r'' ≤ slope` on (0, t]; 0 if there is none."""
    exponents = torch.arange(-_OCTAVES * _PER_OCTAVE, 1, dtype=torch.float64) / _PER_OCTAVE
    sizes = largest * torch.exp2(exponents)
    below = int((mirror_map.hessian(sizes) <= slope).to(torch.int64).cumprod(0).sum())
    return float(sizes[below - 1]) if below else 0.0

"""Steps of all parameters on trial: where they would lead, and the inner products of the change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mirrorflow.optim.kernels import (
    Options,
    fused_sizes,
    fused_trial,
    has_kernel,
    laid_out_as,
    misfit,
)
from mirrorflow.optim.paths import dual_blocked, moved_blocked
from mirrorflow.optim.sharded import inner, is_sharded
from mirrorflow.optim.update import Update

__all__ = ["Trials"]


class Trials:
    """The moves of a list of updates by one scalar step; by kernels where they are wanted.

    Args:
        updates: parameters with their directions.
    """

    def __init__(self, updates: Sequence[Update]) -> None:
        self.updates = updates
        self.directions = [u.full_direction() for u in updates]
        self._plain: list[int] = []
        self._batches: dict[tuple[int, torch.dtype], list[int]] = {}
        for k, (u, d) in enumerate(zip(updates, self.directions, strict=True)):
            if _fits(u, d):
                self.directions[k] = laid_out_as(d, u.x)
                self._batches.setdefault((id(u.group), u.x.dtype), []).append(k)
            else:
                self._plain.append(k)

    def sizes(self) -> tuple[float, float]:
        """`⟨d, d⟩` and `⟨u, x⟩` over all parameters."""
        squares = energy = 0.0
        for group, x, directions, _ in self._fused():
            square, product = fused_sizes(group["mirror_map"], x, directions)
            squares, energy = squares + square, energy + product
        for k in self._plain:
            update, d = self.updates[k], self.directions[k]
            squares += inner(d, d)
            energy += inner(dual_blocked(update), update.x)
        return squares, energy

    def move(self, s: float) -> tuple[list[Tensor], float]:
        """The new values after a step of size s, and `⟨d, −Δθ⟩` without that of weight decay."""
        moved = [u.x for u in self.updates]
        change = 0.0
        for group, x, directions, places in self._fused():
            to = [torch.empty_like(t) for t in x]
            options = Options.of(group, s, sign=1)
            change += fused_trial(group["mirror_map"], x, directions, to, options)
            for k, value in zip(places, to, strict=True):
                moved[k] = value
        for k in self._plain:
            update = self.updates[k]
            moved[k] = moved_blocked(update, s)
            change += inner(self.directions[k], update.start(s) - moved[k])
        return moved, change

    def _fused(self) -> Iterator[tuple[dict[str, Any], list[Tensor], list[Tensor], list[int]]]:
        """Group, parameters, directions and places of what one call of a kernel takes."""
        for places in self._batches.values():
            x = [self.updates[k].x.detach() for k in places]
            yield self.updates[places[0]].group, x, [self.directions[k] for k in places], places


def _fits(update: Update, direction: Tensor) -> bool:
    return (
        update.kernels
        and not is_sharded(update.x)
        and misfit(update.x, direction) is None
        and has_kernel(update.group["mirror_map"])
    )

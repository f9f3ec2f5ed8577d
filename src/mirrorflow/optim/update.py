"""One parameter on its way through a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirrorflow.optim import rules
from mirrorflow.optim.sharded import is_sharded, local, sharded_like, whole

__all__ = ["Update"]


@dataclass(slots=True)
class Update:
    """Value `x` (float32 for half precision), direction `d/denominator/correction`, options.

    Args:
        parameter: the parameter as the user sees it.
        x: what is updated, the parameter itself or its float32 master; any shape.
        direction: the gradient at first, then the numerator of the direction, the shape of x.
        group: the options.
        denominator: Adam's, the shape of x, or None for 1.
        correction: a number that divides the step (Adam's `1 − β₁ᵗ`).
        kernels: whether kernels are to step it, if they can.
    """

    parameter: Tensor
    x: Tensor
    direction: Tensor
    group: dict[str, Any]
    denominator: Tensor | None = None
    correction: float | Tensor = 1.0
    kernels: bool = False

    def moved(self, lr: float | Tensor) -> Tensor:
        """The new value after a step of size lr; nothing is changed in place.

        A sharded parameter is stepped shard by shard if the map acts entry by entry, else it is
        gathered, stepped whole in every process, and sharded again.
        """
        if not is_sharded(self.x):
            return self._moved(self.x, self.direction, self.denominator, lr)
        separable = self.group["mirror_map"].separable
        part = local if separable else whole
        denominator = None if self.denominator is None else part(self.denominator)
        moved = self._moved(part(self.x), part(self.direction), denominator, lr)
        return sharded_like(moved, self.x, of_whole=not separable)

    def _moved(
        self, x: Tensor, direction: Tensor, denominator: Tensor | None, lr: float | Tensor
    ) -> Tensor:
        return rules.mirror_step(
            self.group["mirror_map"],
            x,
            direction,
            lr,
            weight_decay=self.group["weight_decay"],
            decay=self.group["decay"],
            denominator=denominator,
            correction=self.correction,
        )

    def full_direction(self) -> Tensor:
        """`d`, written out."""
        if self.denominator is None:
            return self.direction
        return self.direction / self.denominator / self.correction

    def start(self, lr: float) -> Tensor:
        """x after weight decay alone."""
        if not lr * self.group["weight_decay"]:
            return self.x
        still = torch.zeros_like(self.direction)
        return replace(self, direction=still, denominator=None).moved(lr)

    def dual(self) -> Tensor:
        """`u = ∇R(x)`."""
        to_dual = self.group["mirror_map"].to_dual
        if not is_sharded(self.x):
            dual: Tensor = to_dual(self.x)
            return dual
        separable = self.group["mirror_map"].separable
        u = to_dual((local if separable else whole)(self.x))
        return sharded_like(u, self.x, of_whole=not separable)

    def write(self, value: Tensor) -> None:
        """Store the new value, in x and in the parameter."""
        self.x.copy_(value)
        if self.x is not self.parameter:
            self.parameter.copy_(self.x)

"""One parameter on its way through a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mirrorflow.optim import rules

__all__ = ["Update"]


@dataclass
class Update:
    """Value `x` (float32 for half precision), direction `d/denominator/correction`, options.

    Args:
        parameter: the parameter as the user sees it.
        x: what is updated, the parameter itself or its float32 master; any shape.
        direction: the gradient at first, then the numerator of the direction, the shape of x.
        group: the options.
        denominator: Adam's, the shape of x, or None for 1.
        correction: a number that divides the step (Adam's `1 − β₁ᵗ`).
    """

    parameter: Tensor
    x: Tensor
    direction: Tensor
    group: dict[str, Any]
    denominator: Tensor | None = None
    correction: float = 1.0

    def moved(self, lr: float | Tensor) -> Tensor:
        """The new value after a step of size lr; nothing is changed in place."""
        return rules.mirror_step(
            self.group["mirror_map"],
            self.x,
            self.direction,
            lr,
            weight_decay=self.group["weight_decay"],
            decay=self.group["decay"],
            denominator=self.denominator,
            correction=self.correction,
        )

    def full_direction(self) -> Tensor:
        """`d`, written out."""
        if self.denominator is None:
            return self.direction
        return self.direction / self.denominator / self.correction

    def start(self, lr: float) -> Tensor:
        """x after weight decay alone."""
        amount = lr * self.group["weight_decay"]
        if not amount:
            return self.x
        return rules.shrink(self.group["mirror_map"], self.x, amount, self.group["decay"])

    def write(self, value: Tensor) -> None:
        """Store the new value, in x and in the parameter."""
        self.x.copy_(value)
        if self.x is not self.parameter:
            self.parameter.copy_(self.x)

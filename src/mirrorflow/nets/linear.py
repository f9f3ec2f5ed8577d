"""The linear model, the homogeneous net of degree one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mirrorflow.nets.base import HomogeneousNet, flatten_input
from mirrorflow.nets.init import check_size, normal_

__all__ = ["Linear"]


class Linear(HomogeneousNet):
    """`f(w; x) = ⟨w, x⟩`, degree `L = 1`.

    Args:
        d: number of input features.
        classes: None for a binary net with `weight` of shape (d,), else C classes and (C, d).
        bias: append the constant input 1; its weight is the last entry of `weight`.
        generator: source of the initial weights, `N(0, 1/d)`; None takes torch's global one.

    Raises:
        ValueError: d < 1 or classes < 2.
    """

    def __init__(
        self,
        d: int,
        classes: int | None = None,
        *,
        bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_size(d, "d")
        if classes is not None:
            check_size(classes, "classes", least=2)
        self.d, self.bias = d, bias
        width = d + bias
        shape = (width,) if classes is None else (classes, width)
        self.weight = nn.Parameter(normal_(torch.empty(shape), width**-0.5, generator))

    @property
    def layer_degrees(self) -> dict[str, float]:
        """`{"weight": 1}`."""
        return {"weight": 1.0}

    @property
    def binary(self) -> bool:
        """True without `classes`."""
        return self.weight.ndim == 1

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) to (n,), or (n, C)."""
        return flatten_input(x, self.d, bias=self.bias) @ self.weight.t()

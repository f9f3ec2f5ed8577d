"""What deep linear nets with one vector a layer share: their predictor is a product of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from mirrorflow.checks import as_number
from mirrorflow.nets.base import HomogeneousNet, flatten_input
from mirrorflow.nets.init import as_generator, as_size, empty_weight, normal_

__all__ = ["LinearProduct"]


class LinearProduct(HomogeneousNet):
    """`f(w; x) = ⟨β(w_1, …, w_L), x⟩` with β linear in each of the L vectors `w_l` (d,)."""

    narrow: ClassVar[bool]
    """Whether initial weights are `N(0, 1/d)`, else `N(0, 1)`, times `init_scale²`."""

    def __init__(
        self,
        d: int,
        depth: int = 2,
        *,
        init_scale: float = 1.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.d, self.depth = as_size(d, "d"), as_size(depth, "depth")
        std, generator = as_number(init_scale, "init_scale", above=0), as_generator(generator)
        empty_weight((self.depth, self.d), "d (or depth)")
        if self.narrow:
            std = std * self.d**-0.5
        self.weights = nn.ParameterList(
            nn.Parameter(normal_(torch.empty(self.d), std, generator)) for _ in range(self.depth)
        )

    @property
    def layer_degrees(self) -> dict[str, float]:
        """1 for every vector."""
        return {f"weights.{i}": 1.0 for i in range(self.depth)}

    @property
    def binary(self) -> bool:
        """True."""
        return True

    @property
    @abstractmethod
    def predictor(self) -> Tensor:
        """β (d,): the weights of the linear model that the net computes."""

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) to (n,)."""
        out: Tensor = flatten_input(x, self.weights[0], bias=False) @ self.predictor
        return out

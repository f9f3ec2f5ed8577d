"""The diagonal linear net: the smallest net whose depth changes what training prefers."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from mirrorflow.checks import as_number
from mirrorflow.nets.base import HomogeneousNet, Junction, flatten_input
from mirrorflow.nets.init import as_generator, as_size, empty_weight, normal_

__all__ = ["Diagonal"]


class Diagonal(HomogeneousNet):
    """`f(w; x) = ⟨w_1 ⊙ … ⊙ w_L, x⟩`, degree L: linear in x, a product in the weights.

    Take it to watch depth choose the norm: gradient flow on a classification loss tends to the
    ℓ_{2/L} problem of the predictor `w_1 ⊙ … ⊙ w_L` (ℓ1 at depth 2), and the square loss at depth 2
    is mirror flow with hyperbolic entropy.

    Args:
        d: number of input features.
        depth: L ≥ 1, the number of factors.
        init_scale: factor on every initial weight.
        generator: source of the initial weights, `N(0, 1)`; None takes torch's global one.

    Raises:
        ValueError, TypeError: d or depth < 1, or another bad argument, by its name.

    Source: Woodworth et al., COLT 2020; Gunasekar, Lee, Soudry & Srebro, NeurIPS 2018.
    """

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
        scale, generator = as_number(init_scale, "init_scale", above=0), as_generator(generator)
        empty_weight((self.depth, self.d), "d (or depth)")
        self.weights = nn.ParameterList(
            nn.Parameter(normal_(torch.empty(self.d), scale, generator)) for _ in range(self.depth)
        )

    @property
    def layer_degrees(self) -> dict[str, float]:
        """1 for every factor."""
        return {f"weights.{i}": 1.0 for i in range(self.depth)}

    @property
    def junctions(self) -> tuple[Junction, ...]:
        """One between consecutive factors; its units are the features."""
        return tuple(
            Junction(f"weights.{i}", f"weights.{i + 1}", self.d) for i in range(self.depth - 1)
        )

    @property
    def binary(self) -> bool:
        """True."""
        return True

    @property
    def predictor(self) -> Tensor:
        """`w_1 ⊙ … ⊙ w_L`, (d,): the weights of the linear model that the net computes."""
        out: Tensor = self.weights[0]
        for weight in list(self.weights)[1:]:
            out = out * weight
        return out

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features after each factor but the last, (n, d) each."""
        h, out = flatten_input(x, self.weights[0], bias=False), []
        for weight in list(self.weights)[:-1]:
            h = h * weight
            out.append(h)
        return tuple(out)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) to (n,)."""
        out: Tensor = flatten_input(x, self.weights[0], bias=False) @ self.predictor
        return out

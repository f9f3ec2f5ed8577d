"""The diagonal linear net: the smallest net whose depth changes what training prefers."""

from __future__ import annotations

from torch import Tensor

from mirrorflow.nets.base import Junction, flatten_input
from mirrorflow.nets.linear_product import LinearProduct

__all__ = ["Diagonal"]


class Diagonal(LinearProduct):
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

    narrow = False

    @property
    def junctions(self) -> tuple[Junction, ...]:
        """One between consecutive factors; its units are the features."""
        return tuple(
            Junction(f"weights.{i}", f"weights.{i + 1}", self.d) for i in range(self.depth - 1)
        )

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

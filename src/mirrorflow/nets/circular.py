"""The linear net of circular convolutions, whose training prefers few frequencies."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from mirrorflow.checks import as_number
from mirrorflow.nets.base import HomogeneousNet, flatten_input
from mirrorflow.nets.init import as_generator, as_size, empty_weight, normal_

__all__ = ["Circular"]


class Circular(HomogeneousNet):
    """`h_l[k] = Σ_j w_l[j] h_{l−1}[k + j mod d]`, `f = ⟨w_L, h_{L−1}⟩`: degree L, linear in x.

    Its predictor is the circular convolution `w_1 * … * w_L`, a product in the Fourier domain. So
    gradient flow on a classification loss tends to the ℓ_{2/L} problem of its Fourier coefficients:
    at depth 2 few frequencies, where a net of full matrices has the ℓ2 solution.

    Args:
        d: number of input features, and of taps of every kernel.
        depth: L ≥ 1; the last layer is fully connected.
        init_scale: factor on every initial weight.
        generator: source of the initial weights, `N(0, 1/d)`; None takes torch's global one.

    Raises:
        ValueError, TypeError: d or depth < 1, or another bad argument, by its name.

    Source: Gunasekar, Lee, Soudry & Srebro, NeurIPS 2018.
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
        std = scale * self.d**-0.5
        self.weights = nn.ParameterList(
            nn.Parameter(normal_(torch.empty(self.d), std, generator)) for _ in range(self.depth)
        )

    @property
    def layer_degrees(self) -> dict[str, float]:
        """1 for every kernel."""
        return {f"weights.{i}": 1.0 for i in range(self.depth)}

    @property
    def binary(self) -> bool:
        """True."""
        return True

    @property
    def predictor(self) -> Tensor:
        """`w_1 * … * w_L`, (d,): the weights of the linear model that the net computes."""
        total = torch.fft.rfft(self.weights[0])
        for weight in list(self.weights)[1:]:
            total = total * torch.fft.rfft(weight)
        out: Tensor = torch.fft.irfft(total, n=self.d)
        return out

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features after each convolution, (n, 1, d) each: one channel."""
        h, out = flatten_input(x, self.weights[0], bias=False), []
        for weight in list(self.weights)[:-1]:
            # The correlation with the kernel: its spectrum is conjugated.
            spectrum = torch.fft.rfft(h) * torch.fft.rfft(weight).conj()
            h = torch.fft.irfft(spectrum, n=self.d)
            out.append(h[:, None])
        return tuple(out)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) to (n,)."""
        return flatten_input(x, self.weights[0], bias=False) @ self.predictor

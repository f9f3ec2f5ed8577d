"""The linear net of circular convolutions, whose training prefers few frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from mirrorflow.nets.base import flatten_input
from mirrorflow.nets.linear_product import LinearProduct

__all__ = ["Circular"]


class Circular(LinearProduct):
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

    narrow = True

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

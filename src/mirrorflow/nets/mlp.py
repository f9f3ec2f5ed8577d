"""Fully connected networks without biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_flag, as_number
from mirrorflow.nets.activation import (
    ACTIVATION_DEGREE,
    Activation,
    check_activation,
    hidden_layer,
)
from mirrorflow.nets.base import HomogeneousNet, Junction, flatten_input
from mirrorflow.nets.init import (
    as_classes,
    as_generator,
    as_size,
    as_sizes,
    empty_weight,
    normal_,
)

__all__ = ["MLP", "TwoLayer"]


class MLP(HomogeneousNet):
    """`f(θ; x) = W_D σ(W_{D−1} … σ(W_1 x))`, bias-free.

    With an activation of degree 1 the degree is `L = D`, each layer counting 1; with `relu2` the
    layer l counts `2^{D−l}`.

    Args:
        sizes: `(inputs, hidden…, outputs)`; one output makes a binary net that returns (n,).
        activation: "relu", "smooth_relu" (see `eps`), "relu2" or "linear".
        eps: the smoothing of "smooth_relu".
        bias: append the constant input 1 to x: its weights are the last column of the first
            layer. A bias in a deeper layer would break homogeneity.
        init_scale: factor on every initial weight; small values give feature learning.
        generator: source of the initial weights: `N(0, 2/fan_in)`, last layer `N(0, 1/fan_in)`.

    Raises:
        ValueError, TypeError: bad sizes, activation or eps.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation = "relu",
        *,
        eps: float = 1e-2,
        bias: bool = False,
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = as_sizes(sizes, "sizes")
        if len(sizes) < 2:
            raise ValueError(f"sizes = {sizes} has no layer; pass (inputs, hidden..., outputs)")
        activation, eps = check_activation(activation, eps)
        bias, generator = as_flag(bias, "bias"), as_generator(generator)
        init_scale = as_number(init_scale, "init_scale", above=0)
        self.sizes, self.activation, self.eps, self.bias = sizes, activation, eps, bias
        layers = []
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            width = fan_in + (bias and layer == 0)
            gain = 2.0 if layer < len(sizes) - 2 else 1.0
            weight = empty_weight((fan_out, width), "sizes")
            layers.append(
                nn.Parameter(normal_(weight, init_scale * (gain / width) ** 0.5, generator))
            )
        self.weights = nn.ParameterList(layers)

    @property
    def layer_degrees(self) -> dict[str, float]:
        """`k_l = s^{D−l}` with s the degree of the activation."""
        s, depth = ACTIVATION_DEGREE[self.activation], len(self.weights)
        return {f"weights.{i}": s ** (depth - 1 - i) for i in range(depth)}

    @property
    def binary(self) -> bool:
        """True with one output."""
        return self.sizes[-1] == 1

    @property
    def junctions(self) -> tuple[Junction, ...]:
        """One per hidden layer."""
        degree = ACTIVATION_DEGREE[self.activation]
        return tuple(
            Junction(f"weights.{i}", f"weights.{i + 1}", self.sizes[i + 1], degree=degree)
            for i in range(len(self.weights) - 1)
        )

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of every hidden layer, (n, m_l) each."""
        h, out = flatten_input(x, self.weights[0], bias=self.bias), []
        for weight in list(self.weights)[:-1]:
            h = hidden_layer(h, weight, self.activation, self.eps)
            out.append(h)
        return tuple(out)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, …) to (n,) for one output, else (n, C)."""
        h = flatten_input(x, self.weights[0], bias=self.bias)
        *hidden, last = self.weights
        for weight in hidden:
            h = hidden_layer(h, weight, self.activation, self.eps)
        out: Tensor = h @ last.T
        return out[:, 0] if self.binary else out


class TwoLayer(MLP):
    """`f(θ; x) = Σ_j a_j σ(w_j·x)`: one hidden layer of m units; `weights.0` (m, d), `weights.1`
    (1 or C, m). Degree 2, or 3 with "relu2".

    Args:
        d: number of input features.
        m: number of hidden units.
        activation: as in `MLP`.
        eps: as in `MLP`.
        classes: None for a binary net, else the number of classes.
        bias: as in `MLP`.
        init_scale: as in `MLP`.
        generator: as in `MLP`.
    """

    def __init__(
        self,
        d: int,
        m: int,
        activation: Activation = "relu",
        eps: float = 1e-2,
        *,
        classes: int | None = None,
        bias: bool = False,
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        d, m, classes = as_size(d, "d"), as_size(m, "m"), as_classes(classes)
        super().__init__(
            (d, m, classes or 1),
            activation,
            eps=eps,
            bias=bias,
            init_scale=init_scale,
            generator=generator,
        )

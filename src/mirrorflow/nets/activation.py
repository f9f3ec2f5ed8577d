"""Hidden layers that are homogeneous in their weights and in their input."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mirrorflow.checks import as_choice, as_number

__all__ = ["ACTIVATION_DEGREE", "Activation", "check_activation", "hidden_layer", "rounded_relu"]

Activation = Literal["relu", "smooth_relu", "relu2", "linear"]
ACTIVATION_DEGREE: dict[Activation, float] = {
    "relu": 1.0,
    "smooth_relu": 1.0,
    "relu2": 2.0,
    "linear": 1.0,
}


def check_activation(activation: Any, eps: Any) -> tuple[Activation, float]:
    """A known activation, and the smoothing as a float.

    Raises:
        TypeError: not text, or not a number.
        ValueError: an unknown activation, or a smoothing outside (0, 1].
    """
    name: Any = as_choice(activation, "activation", get_args(Activation))
    return name, as_number(eps, "eps", above=0, most=1)


def hidden_layer(x: Tensor, weight: Tensor, activation: Activation, eps: float) -> Tensor:
    """Features `h_j(x) = σ(w_j·x)` of shape (n, m), from x (n, d) and weight (m, d).

    - `relu`: `max(z, 0)`, `relu2`: `max(z, 0)²`, `linear`: `z`, with `z = w·x`;
    - `smooth_relu`: `(z + √(z² + ε²‖w‖²‖x‖²))/2`, exactly homogeneous of degree 1 in w and in x,
      within `ε‖w‖‖x‖/2` of `relu`.
    """
    z = x @ weight.T
    if activation == "relu":
        return torch.relu(z)
    if activation == "relu2":
        return torch.relu(z).square()
    if activation == "linear":
        return z
    scale = eps * eps * x.square().sum(1, keepdim=True) * weight.square().sum(1)
    return rounded_relu(z, scale)


def rounded_relu(z: Tensor, scale: Tensor) -> Tensor:
    """`(z + √(z² + scale))/2`, elementwise."""
    root = torch.sqrt(z.square() + scale)
    # For z < 0 the sum cancels: there (z + r)/2 = s/(2(r − z)).
    safe = torch.where(z < 0, root - z, torch.ones_like(z))
    return torch.where(z < 0, 0.5 * scale / safe, 0.5 * (z + root))

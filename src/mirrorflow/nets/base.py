"""What every homogeneous network declares: its degree, and which weights meet at which unit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["HomogeneousNet", "Junction", "check_input", "flatten_input"]


@dataclass(frozen=True)
class Junction:
    """Hidden units where one weight tensor comes in and another goes out.

    Dimension 0 of the parameter `incoming` indexes the `units`. In the parameter `outgoing` the
    last dimension does if it is a matrix or a vector (then `repeat` consecutive entries belong to
    one unit: the positions of a flattened channel), dimension 1 if it is a convolution kernel.
    `degree` is the homogeneity of the activation: `σ(cz) = c^degree σ(z)`.

    The balance equation: `Σ e(W_in[j, …])/degree − Σ e(W_out[…, j, …])` is conserved per unit j.
    """

    incoming: str
    outgoing: str
    units: int
    repeat: int = 1
    degree: float = 1.0


class HomogeneousNet(nn.Module, ABC):
    """A network `f(θ; x)` with `f(cθ; x) = c^L f(θ; x)` for `c > 0`.

    `forward` maps x of shape (n, …) to (n,) for a binary net, to (n, C) for C classes.
    """

    @property
    @abstractmethod
    def layer_degrees(self) -> dict[str, float]:
        """`k_l` by parameter name: `f` is homogeneous of degree `k_l` in that tensor alone."""

    @property
    def degree(self) -> float:
        """`L = Σ_l k_l`."""
        return float(sum(self.layer_degrees.values()))

    @property
    def junctions(self) -> tuple[Junction, ...]:
        """The hidden units, layer by layer, from the input on; empty for a linear net."""
        return ()

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002  the linear case
        """Post-activation features of every hidden layer: (n, units) or (n, channels, …) each."""
        return ()

    @property
    def binary(self) -> bool:
        """True if `forward` returns one number per point."""
        return False


def check_input(x: Tensor, weight: Tensor) -> None:
    """Refuse points that are no tensor of the weights' dtype.

    Raises:
        TypeError: x is not a real floating-point tensor, or of another dtype.
        ValueError: x has no dimension of points.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a floating-point tensor, got {got}; convert it with x.to(...)")
    if x.ndim == 0:
        raise ValueError(f"x = {float(x):g} has no dimension of points; pass x of shape (n, ...)")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"x is of {x.dtype}, the weights are of {weight.dtype}; convert one of them, with "
            "x.to(...) or net.to(...)"
        )


def flatten_input(x: Tensor, weight: Tensor, *, bias: bool) -> Tensor:
    """Points as the rows that the first weight (…, d) takes, with the constant input 1 if `bias`.

    Raises:
        ValueError: the points have another size.
        TypeError: see `check_input`.
    """
    check_input(x, weight)
    features = weight.shape[-1] - bias
    rows = x.flatten(1) if x.ndim > 1 else x[:, None]
    if rows.shape[1] != features:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: {rows.shape[1]} features a point, but the net takes "
            f"{features}; pass x of shape (n, {features})"
        )
    if bias:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    return rows

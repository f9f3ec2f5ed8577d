"""The flow of a linear model on one point, by quadrature: the truth for an integrator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from mirrorflow.arrays import Array, gauss_legendre
from mirrorflow.checks import as_number, as_points, shown
from mirrorflow.maps import SeparableMap

__all__ = ["one_point_flow"]

_NODES, _WEIGHTS = gauss_legendre(24)
_FINEST = 48  # resolves an integrand that falls on a scale of 1e-12 of log s


def one_point_flow(mirror_map: SeparableMap, x: Tensor, log_t: float) -> Tensor:
    """Weights at time `exp(log_t)` of `d∇R(w)/dt = e^{−⟨w, x⟩} x`, `w(0) = 0`.

    The dual stays on a ray, `∇R(w(t)) = s(t) x`, so that `t = ∫₀ˢ exp q(σ) dσ` with
    `q(σ) = ⟨x, ∇R*(σx)⟩`. Both are kept as logarithms: with `z = log s`,
    `log t = q(e^z) + z + log ∫₀^∞ exp(q(e^{z−η}) − q(e^z) − η) dη` is solved for z; s itself may
    be `exp(1e12)`.

    Args:
        mirror_map: a separable map with an even potential.
        x: the point with its label, `y x`, of shape (d,), not zero.
        log_t: natural logarithm of the time, finite.

    Returns:
        `w(t)`, (d,), float64.

    Raises:
        TypeError: the map is not separable.
        ValueError: x is not one point with a direction, or log_t is not finite.
    """
    if not isinstance(mirror_map, SeparableMap):
        raise TypeError(f"mirror_map = {shown(mirror_map)} is not separable; pass a separable map")
    x = as_points(x).detach().to(torch.float64)
    if x.ndim != 1 or float(x.abs().max()) == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}; pass one point of shape (d,), not zero")
    log_t = as_number(log_t, "log_t")
    active = x != 0
    log_x = x[active].abs().log()

    def weights(z: Array) -> Tensor:
        return mirror_map.log_to_primal(torch.from_numpy(z)[:, None] + log_x).exp()

    def q(z: Array) -> Array:
        total: Array = (weights(z) @ x[active].abs()).numpy()
        return total

    def excess(z: float) -> float:
        return float(q(np.array([z]))[0]) + z + _log_tail(q, z) - log_t

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 2
    while excess(high) < 0:
        low, high = high, high * 2
    z = float(brentq(excess, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=500))
    w = torch.zeros_like(x)
    w[active] = x[active].sign() * weights(np.array([z]))[0]
    return w


def _log_tail(q: Callable[[Array], Array], z: float) -> float:
    """`log ∫₀^∞ exp(q(e^{z−η}) − q(e^z) − η) dη`, on panels that grow with the distance."""
    # Panels of width 2^k; those below the scale of the integrand cost a row of nodes each.
    widths = 2.0 ** np.arange(-_FINEST, 8)
    starts = np.concatenate([[0.0], np.cumsum(widths)[:-1]])
    eta = starts[:, None] + widths[:, None] * _NODES
    exponent = q((z - eta).ravel()).reshape(eta.shape) - q(np.array([z])) - eta
    return float(np.log(widths @ (np.exp(exponent) @ _WEIGHTS)))

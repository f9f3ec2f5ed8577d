"""The flow of a linear model on one point, by quadrature: the truth for an integrator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from mirrorflow.maps import SeparableMap

__all__ = ["one_point_flow"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


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
        raise TypeError(
            f"mirror_map = {mirror_map!r} is not separable; the closed form is for separable maps"
        )
    if x.ndim != 1 or not bool(torch.isfinite(x).all()) or float(x.abs().max()) == 0:
        raise ValueError(f"x = {x.tolist()}; pass one finite point of shape (d,), not zero")
    if not math.isfinite(log_t):
        raise ValueError(f"log_t = {log_t}; pass a finite natural logarithm of the time")
    x = x.to(torch.float64)
    active = x != 0
    log_x = x[active].abs().log()

    def weights(z: float) -> Tensor:
        return mirror_map.log_to_primal(z + log_x).exp()

    def q(z: float) -> float:
        return float((x[active].abs() * weights(z)).sum())

    def excess(z: float) -> float:
        return q(z) + z + _log_tail(q, z) - log_t

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 2
    while excess(high) < 0:
        low, high = high, high * 2
    z = float(brentq(excess, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=500))
    w = torch.zeros_like(x)
    w[active] = x[active].sign() * weights(z)
    return w


def _log_tail(q: Callable[[float], float], z: float) -> float:
    """`log ∫₀^∞ exp(q(e^{z−η}) − q(e^z) − η) dη`, on panels that grow with the distance."""
    top = q(z)

    def exponent(eta: float) -> float:
        return q(z - eta) - top - eta

    width = 1.0
    while exponent(width) < -1 and width > 1e-300:
        width /= 2
    total, start = 0.0, 0.0
    while True:
        middle, half = start + width / 2, width / 2
        values = [math.exp(exponent(middle + half * node)) for node in _NODES]
        part = half * float(_WEIGHTS @ np.array(values))
        total, start, width = total + part, start + width, 2 * width
        if part < 1e-17 * total:
            return math.log(total)

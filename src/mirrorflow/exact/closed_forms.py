"""The limit direction on one point, and the flow of a diagonal linear net."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from mirrorflow.arrays import gauss_legendre
from mirrorflow.checks import as_number, as_points

__all__ = ["diagonal_linear_flow", "one_point_direction"]

_NODES, _WEIGHTS = gauss_legendre(20)


def one_point_direction(x: Tensor, order: float, *, y: float = 1.0) -> Tensor:
    """The limit direction at horizon ℓp: the max-margin weights of one point, `‖w‖₂ = 1`.

    `w_k ∝ sgn(x_k)|x_k|^{1/(p−1)}`; at ℓ1 the largest entry alone (shared if tied), at ℓ∞ all
    signs.

    Args:
        x: (d,) the point.
        order: p in [1, ∞].
        y: the label, ±1.

    Raises:
        ValueError: p < 1, x zero or no vector, or y not ±1.
    """
    z = _signed(x, y)
    order = as_number(order, "order", least=1.0, infinite=True)
    scaled = z.abs() / z.abs().max()
    if order == 1:
        w = (scaled == 1).to(z.dtype)
    elif math.isinf(order):
        w = (scaled > 0).to(z.dtype)
    else:
        w = scaled ** (1 / (order - 1))
    w = w * z.sign()
    unit: Tensor = w / w.norm()
    return unit


def diagonal_linear_flow(x: Tensor, y: float, alpha: float, time: float) -> Tensor:
    """Gradient flow on `a, b` of `w = a² − b²`, square loss `½(⟨w, x⟩ − y)²`, `a = b = α` at 0.

    The products `a_k b_k = α²` are conserved, so it is mirror flow with hyperbolic entropy:
    `w = 2α² sinh(c x)` with `dc/dt = 4 (y − ⟨w, x⟩)`. At `time = inf` the loss is 0.

    Args:
        x: (d,) the point.
        y: its target.
        alpha: the initial scale, positive.
        time: t in [0, ∞].

    Raises:
        ValueError: alpha not positive, time negative, x zero or no vector.
    """
    z = _signed(x, 1.0)
    y = as_number(y, "y", least=-1e100, most=1e100)
    alpha = as_number(alpha, "alpha", least=1e-100, most=1e100)
    time = as_number(time, "time", least=0.0, infinite=True)

    def weights(c: float) -> Tensor:
        w: Tensor = 2 * alpha**2 * torch.sinh(c * z)
        return w

    def residual(c: float) -> float:
        return float(y - weights(c) @ z)

    bound = math.copysign(1.0, y)
    while residual(bound) * math.copysign(1.0, y) > 0:
        bound *= 2
    end = float(brentq(residual, min(0.0, bound), max(0.0, bound), xtol=1e-300)) if y else 0.0
    if math.isinf(time) or end == 0:
        return weights(end)

    def elapsed(v: float) -> float:
        # With c = end (1 − e^{−v}) the integrand of ∫ dc/(4 residual) is smooth up to the end.
        edges = np.linspace(0.0, v, 33)
        half = np.diff(edges)[:, None] / 2
        points = (edges[:-1, None] + 2 * half * _NODES).reshape(-1)
        c = end * -np.expm1(-points)
        slack = end * np.exp(-points)
        values = np.array([slack[i] / residual_from(end, slack[i], c[i]) for i in range(len(c))])
        return float((2 * half * _WEIGHTS * values.reshape(32, -1)).sum()) / 4

    def residual_from(stop: float, slack: float, c: float) -> float:
        # sinh(stop·z) − sinh(c·z) without cancellation.
        gap: Tensor = 2 * torch.cosh((stop + c) / 2 * z) * torch.sinh(slack / 2 * z)
        return float(2 * alpha**2 * (gap @ z))

    high = 1.0
    while elapsed(high) < time and high < 700:
        high *= 2
    if high >= 700:
        return weights(end)
    v = float(brentq(lambda w: elapsed(w) - time, 0.0, high, xtol=1e-14))
    return weights(float(end * -math.expm1(-v)))


def _signed(x: Tensor, y: float) -> Tensor:
    point = as_points(x).detach().to("cpu", torch.float64)
    if point.ndim != 1 or not bool((point != 0).any()):
        raise ValueError(
            f"x has shape {tuple(point.shape)}; pass one point (d,), finite and not zero"
        )
    label = as_number(y, "y")
    if label not in (1.0, -1.0):
        raise ValueError(f"y = {label:g} is no label; pass +1 or -1")
    return label * point

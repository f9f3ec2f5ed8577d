"""Flows in closed form: one point, one dimension, and a diagonal linear net."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from mirrorflow.maps import MirrorMap, SeparableMap

__all__ = ["OnePoint", "diagonal_linear_flow", "one_point_direction", "one_point_flow"]

Array = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


@dataclass(frozen=True)
class OnePoint:
    """The flow at one time: weights, `q = y⟨w, x⟩`, and the path length s, `∇R(w) = s y x`."""

    weights: Tensor
    margin: float
    s: float


def one_point_flow(mirror_map: MirrorMap, x: Tensor, log_t: float, *, y: float = 1.0) -> OnePoint:
    """Mirror flow of the linear model on one point, exponential loss, `w(0) = 0`, at any time.

    The dual variable stays on a ray, `∇R(w(t)) = s(t) y x`, and `t = ∫₀ˢ exp(⟨yx, ∇R*(σyx)⟩) dσ`,
    integrated in the log domain: `log_t = 1e4` is as easy as 1. For the quadratic map with
    `x = 1` it is `w = log(1 + t)`; for cosh `e^{2w}/4 + w/2 − 1/4 = t`.

    Args:
        mirror_map: any map that acts on the weights as one vector.
        x: (d,) the point.
        log_t: natural logarithm of time.
        y: the label, ±1.

    Raises:
        ValueError: x is zero or no vector, y is not ±1, or the dual variable at that time is
            beyond the float range.
    """
    z = _signed(x, y)

    def phi(sigma: Array) -> Array:
        u = torch.from_numpy(np.atleast_1d(sigma))[:, None] * z
        if isinstance(mirror_map, SeparableMap):
            w = mirror_map.to_primal(u)
        else:
            w = torch.stack([mirror_map.to_primal(row) for row in u])
        out: Array = (w @ z).numpy()
        return out

    def log_time(s: float) -> float:
        top = float(phi(np.array([s]))[0])
        start = 0.0
        if top > 50:
            start = brentq(lambda v: float(phi(np.array([v]))[0]) - top + 50, 0.0, s, xtol=1e-300)
        edges = np.linspace(start, s, 17)
        half = np.diff(edges)[:, None] / 2
        sigma = edges[:-1, None] + half * (1 + _NODES)
        values = np.exp(phi(sigma.reshape(-1)).reshape(sigma.shape) - top)
        return top + math.log(float((half * _WEIGHTS * values).sum()))

    def late(log_s: float) -> float:
        return log_time(math.exp(log_s)) - log_t

    low, high = -1.0, 1.0
    while late(low) > 0:
        low *= 2
    while late(high) < 0:
        high = min(1.5 * high, 700.0)
        if high == 700.0 and late(high) < 0:
            raise ValueError(
                f"log_t = {log_t} is beyond what {mirror_map!r} allows: its dual variable leaves "
                "the float range; pass an earlier time"
            )
    s = math.exp(brentq(late, low, high, xtol=1e-15, rtol=1e-14))
    w = mirror_map.to_primal(s * z)
    return OnePoint(w, float(w @ z), s)


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
    if not order >= 1:
        raise ValueError(f"order = {order} is not the order of a norm; choose p in [1, inf]")
    scaled = z.abs() / z.abs().max()
    if order == 1:
        w = (scaled == 1).to(z.dtype)
    elif math.isinf(order):
        w = (scaled > 0).to(z.dtype)
    else:
        w = scaled ** (1 / (order - 1))
    w = w * z.sign()
    return w / w.norm()


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
    if not (alpha > 0 and time >= 0):
        raise ValueError(f"alpha = {alpha} must be positive and time = {time} not negative")

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
        points = (edges[:-1, None] + half * (1 + _NODES)).reshape(-1)
        c = end * -np.expm1(-points)
        slack = end * np.exp(-points)
        values = np.array([slack[i] / residual_from(end, slack[i], c[i]) for i in range(len(c))])
        return float((half * _WEIGHTS * values.reshape(32, -1)).sum()) / 4

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
    if x.ndim != 1 or not bool(torch.isfinite(x).all()) or not bool((x != 0).any()):
        raise ValueError(f"x has shape {tuple(x.shape)}; pass one point (d,), finite and not zero")
    if y not in (1.0, -1.0):
        raise ValueError(f"y = {y} is no label; pass +1 or -1")
    return y * x.detach().cpu().to(torch.float64)

"""Euclidean projections on the sets that subdifferentials of norms are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mirrorflow.maps.numerics import typed_fraction

__all__ = ["project_ball", "project_simplex"]


def project_simplex(v: Tensor) -> Tensor:
    """The nearest point of `{w ≥ 0, Σw = 1}` to v, shape (n,). (Held et al. 1974)."""
    ordered = v.sort(descending=True).values
    count = torch.arange(1, v.numel() + 1, dtype=v.dtype, device=v.device)
    excess = (ordered.cumsum(0) - 1) / count
    threshold = excess[int((ordered > excess).sum()) - 1]
    return (v - threshold).clamp(min=0)


def project_ball(g: Tensor, q: float) -> Tensor:
    """The nearest point to g with `‖w‖_q ≤ 1`, any shape, `1 ≤ q ≤ ∞`.

    Between the closed forms at q = 1, 2, ∞ the conditions `w + μ q w^{q−1} = |g|` are solved for
    w at fixed μ (the inverse of a mixed mirror map) and μ by bisection on a logarithmic scale.
    """
    if math.isinf(q):
        return g.clamp(-1, 1)
    size = g.abs()
    if q == 1:
        inside = size.sum() <= 1
        return g if inside else g.sign() * project_simplex(size.flatten()).view_as(g)
    if q == 2:
        norm: Tensor = torch.linalg.vector_norm(g)
        return g / norm.clamp(min=1)
    if (size**q).sum() <= 1:
        return g
    low, high = -80.0, 80.0
    for _ in range(70):
        middle = 0.5 * (low + high)
        if (_shrunk(size, q, math.exp(middle)) ** q).sum() > 1:
            low = middle
        else:
            high = middle
    return g.sign() * _shrunk(size, q, math.exp(0.5 * (low + high)))


def _shrunk(size: Tensor, q: float, mu: float) -> Tensor:
    from mirrorflow.maps.mixed import Mixed  # the cycle horizon → projection → mixed → horizon

    return Mixed(float(typed_fraction(q)), 1.0, mu * q).to_primal(size)

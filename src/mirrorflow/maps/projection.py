"""Euclidean projections on the sets that subdifferentials of norms are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mirrorflow.arrays import project_simplex as simplex_of_array
from mirrorflow.maps.numerics import log_root_of_sum

__all__ = ["project_ball", "project_simplex"]


def project_simplex(v: Tensor) -> Tensor:
    """The nearest point of `{w ≥ 0, Σw = 1}` to v, shape (n,); no gradient goes through it."""
    return torch.from_numpy(simplex_of_array(v.detach().cpu().numpy())).to(v)


def project_ball(g: Tensor, q: float) -> Tensor:
    """The nearest point to g with `‖w‖_q ≤ 1`, any shape, `1 ≤ q ≤ ∞`.

    Between the closed forms at q = 1, 2, ∞ the conditions `w + μ q w^{q−1} = |g|` are solved for
    w at fixed μ and μ by bisection on a logarithmic scale.
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
    """`w ≥ 0` with `w + μ q w^{q−1} = size`."""
    return torch.exp(log_root_of_sum(torch.log(size), 0.0, math.log(mu * q), q - 1))

"""Adaptive quadrature of scalar functions, entry by entry, through kinks and singular ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import gauss_legendre

__all__ = ["adaptive_integral"]

Integrand = Callable[[Tensor, Tensor], Tensor]


def adaptive_integral(
    f: Integrand,
    start: Tensor,
    end: Tensor,
    *,
    scale: Tensor | None = None,
    crowd: int | None = None,
    depth: int = 60,
) -> Tensor:
    """`∫_{a_k}^{b_k} f(t, k) dt` for every entry k, in float64.

    A panel whose 16-point Gauss–Legendre sum agrees with that of its halves to 4e-15 of the whole
    is done, the others are halved, all entries together. So a kink, or `|t|^{p−1}` at an end, costs
    one panel a level and no accuracy.

    Args:
        f: of points, shape (n, 16), and of the flat index of the entry they belong to, (n, 1).
        start: `a`, any shape.
        end: `b`, the shape of start.
        scale: the size of what the integral is a part of, the shape of start: an error of its last
            digit is none.
        crowd: at most so many panels for each entry remain to be halved. A kink leaves one; only
            the rounding errors of f leave more at every level, and no halving mends those.
        depth: at most so many halvings; what is left then is below `2^−depth` of the interval.

    Returns:
        A float64 tensor of the shape of start.
    """
    a, b = start.detach().double().flatten(), end.detach().double().flatten()
    owner = torch.arange(a.numel(), device=a.device)
    done = torch.zeros_like(a)
    least = torch.zeros_like(a) if scale is None else scale.detach().double().flatten()
    whole = _panel(f, a, b, owner)
    for _ in range(depth):
        middle = 0.5 * (a + b)
        left, right = _panel(f, a, middle, owner), _panel(f, middle, b, owner)
        total = done.index_add(0, owner, left + right)
        tight = (left + right - whole).abs() <= 4e-15 * torch.maximum(total.abs(), least)[owner]
        # NaN and infinity do not settle by halving.
        settled = tight | ~(left + right).isfinite() | (middle == a) | (middle == b)
        done = done.index_add(0, owner[settled], (left + right)[settled])
        rest = ~settled
        if not bool(rest.any()):
            return done.reshape(start.shape)
        if crowd is not None and int(rest.sum()) > crowd * done.numel():
            return done.index_add(0, owner[rest], (left + right)[rest]).reshape(start.shape)
        a, b = torch.cat([a[rest], middle[rest]]), torch.cat([middle[rest], b[rest]])
        whole, owner = torch.cat([left[rest], right[rest]]), owner[rest].repeat(2)
    return done.index_add(0, owner, whole).reshape(start.shape)


def _panel(f: Integrand, a: Tensor, b: Tensor, owner: Tensor) -> Tensor:
    nodes, weights = torch.tensor(np.stack(gauss_legendre(16)), dtype=a.dtype, device=a.device)
    length = b - a
    points = torch.addcmul(a[:, None], nodes, length[:, None])
    total: Tensor = (f(points, owner[:, None]) * weights).sum(1)
    return total * length

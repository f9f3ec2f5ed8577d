"""What NumPy code all over the house shares: norms, a projection, a quadrature rule."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "conjugate_order", "gauss_legendre", "lp_norm", "project_simplex"]

Array = NDArray[np.float64]


def conjugate_order(p: float) -> float:
    """`p* = p/(p − 1)`, with 1 and ∞ exchanged."""
    if p == 1.0:
        return math.inf
    return 1.0 if math.isinf(p) else p / (p - 1.0)


def lp_norm(x: Array, p: float) -> float:
    """`(Σ|x_k|^p)^{1/p}` without overflow; the maximum at `p = ∞`."""
    a = np.abs(x)
    top = float(a.max(initial=0.0))
    if top == 0.0 or math.isinf(p) or not math.isfinite(top) or a.size == 1:
        return top
    if p == 1.0:
        return float(a.sum())
    return float(top * ((a / top) ** p).sum() ** (1.0 / p))


def project_simplex(v: Array, total: float = 1.0) -> Array:
    """The nearest point of `{c ≥ 0, Σc = total}` to v (n,), by sorting (Held et al. 1974)."""
    ordered = np.sort(v)[::-1]
    excess = (np.cumsum(ordered) - total) / np.arange(1, len(v) + 1)
    last = np.flatnonzero(ordered > excess)[-1]
    projected: Array = np.maximum(v - excess[last], 0.0)
    return projected


@lru_cache(maxsize=8)
def gauss_legendre(count: int) -> tuple[Array, Array]:
    """Nodes and weights (count,) of quadrature on [0, 1], exact for degree `2 count − 1`."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = 0.5 * (1.0 + nodes), 0.5 * weights
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights

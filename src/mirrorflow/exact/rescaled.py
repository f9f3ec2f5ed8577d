"""The linear max margin where columns, rows or margins span many orders of magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.linalg import LinAlgError, lstsq
from scipy.optimize import linprog, nnls

from mirrorflow.arrays import Array
from mirrorflow.errors import MirrorFlowError
from mirrorflow.exact.polish import polish
from mirrorflow.exact.separability import exact_products
from mirrorflow.maps import Horizon, LpHorizon

__all__ = ["Bracket", "rescaled"]

Conic = Callable[[Array, Array, Array], tuple[Array, Array]]
_linprog: Any = linprog


class Bracket:
    """The best w and the best μ so far, and the margins `lower <= γ <= upper` that they prove."""

    def __init__(self, z: Array, shape: tuple[int, ...], horizon: Horizon) -> None:
        self.z, self.shape, self.horizon = z, shape, horizon
        self.columns = np.ascontiguousarray(z.T)
        self.weights, self.lower = np.zeros(z.shape[1]), -math.inf
        self.duals, self.upper = np.full(len(z), 1 / len(z)), math.inf

    def size(self, w: Array) -> float:
        """`Q(w)`."""
        return float(self.horizon.gauge(torch.from_numpy(w).reshape(self.shape)))

    def offer_weights(self, w: Array) -> None:
        """Keep w, scaled to `Q(w) = 1`, if its smallest margin is larger."""
        size = self.size(w) if np.isfinite(w).all() else 0.0
        if 0 < size < math.inf:
            w = w / size
            margin = float(_products(self.z, w).min())
            if margin > self.lower:
                self.weights, self.lower = w, margin

    def offer_duals(self, mu: Array) -> None:
        """Keep μ, scaled to `Σ μ = 1`, if `Q°(Σ μ_i z_i)` is smaller."""
        mu = np.maximum(mu, 0.0)
        total = mu.sum() if np.isfinite(mu).all() else 0.0
        if total > 0:
            mu = mu / total
            g = torch.from_numpy(_products(self.columns, mu)).reshape(self.shape)
            bound = float(self.horizon.dual_gauge(g)) / math.fsum(mu)
            if bound < self.upper:
                self.duals, self.upper = mu, bound

    @property
    def gap(self) -> float:
        """`(upper − lower)/upper`."""
        return (self.upper - self.lower) / self.upper if 0 < self.upper < math.inf else math.inf


def _products(z: Array, v: Array) -> Array:
    """`z v`, in plain doubles where rounding is far below every entry that matters."""
    plain: Array = z @ v
    rounding = (len(v) + 2) * np.finfo(np.float64).eps * (np.abs(z) @ np.abs(v))
    if rounding.max() <= 1e-10 * np.abs(plain).min():
        return plain
    return exact_products(z, v)


def rescaled(bracket: Bracket, conic: Conic, target: float) -> None:
    """Narrow the bracket, from weights that separate, until its relative gap is `target`.

    Every round measures each weight in units of the best w so far and margins in units of its γ,
    so that the programs see numbers of order one; ℓ1 and ℓ∞ are linear programs, for which the
    simplex method ends at a vertex up to rounding.
    """
    for propose in (_simplex, _active_set, _interior):
        for _ in range(3):
            before = bracket.gap
            for w, mu in propose(bracket, conic):
                bracket.offer_weights(w)
                bracket.offer_duals(mu)
            if bracket.gap <= target:
                return
            if not bracket.gap < 0.5 * before:
                break


def _scales(bracket: Bracket) -> Array:
    """Powers of two near the size of every weight."""
    peak = np.abs(bracket.z).max(0)
    reach = np.where(peak > 0, bracket.lower / np.where(peak > 0, peak, 1.0), 0.0)
    size = np.maximum(np.abs(bracket.weights), reach)
    size = np.maximum(size, 1e-12 * size.max())
    out: Array = np.exp2(np.round(np.log2(size)))
    return out


def _interior(bracket: Bracket, conic: Conic) -> Iterator[tuple[Array, Array]]:
    """The conic program in these units, then each side from the other."""
    scale = _scales(bracket)
    rows = np.abs(bracket.z * scale).max(1)
    try:
        v, mu = conic(bracket.z * scale / rows[:, None], scale, bracket.lower / rows)
    except MirrorFlowError:
        return
    w, mu = v * scale, mu / rows
    yield w, mu
    yield w, _duals_of(bracket)
    yield polish(bracket.z, bracket.shape, bracket.horizon, bracket.weights, bracket.duals)


def _duals_of(bracket: Bracket) -> Array:
    """`μ >= 0` on the smallest margins that comes nearest to a subgradient of Q at the best w."""
    w = torch.from_numpy(bracket.weights).reshape(bracket.shape)
    target = bracket.horizon.subgradient(w).reshape(-1).numpy()
    q = exact_products(bracket.z, bracket.weights)
    near = q <= bracket.lower * (1 + 1e-2)
    near |= bracket.duals > 1e-6 * bracket.duals.max()
    on = np.flatnonzero(near)
    rows = np.abs(bracket.z[on]).max(1)
    mu = np.zeros(len(q))
    try:
        mu[on] = nnls((bracket.z[on] / rows[:, None]).T, target)[0] / rows
    except RuntimeError:
        return bracket.duals
    return mu


def _simplex(bracket: Bracket, _: Conic) -> Iterator[tuple[Array, Array]]:
    """`min Q(w)`, `z w >= 1`, at ℓ1 and ℓ∞."""
    horizon = bracket.horizon
    if not isinstance(horizon, LpHorizon) or (horizon.p != 1 and not math.isinf(horizon.p)):
        return
    scale = _scales(bracket)
    a = bracket.z * scale / bracket.lower
    rows = np.abs(a).max(1)
    a, right = a / rows[:, None], 1 / rows
    n, d = a.shape
    if horizon.p == 1:  # w = u − v
        cost, system = np.concatenate([scale, scale]), np.hstack([-a, a])
        bounds: list[tuple[float | None, float | None]] = [(0, None)] * (2 * d)
        limit = -right
    else:  # |w| <= s
        cost = np.append(np.zeros(d), 1.0)
        box = np.hstack([np.vstack([np.diag(scale), -np.diag(scale)]), -np.ones((2 * d, 1))])
        system = np.vstack([np.hstack([-a, np.zeros((n, 1))]), box])
        bounds = [(None, None)] * d + [(0, None)]
        limit = np.append(-right, np.zeros(2 * d))
    for method in ("highs-ds", "highs-ipm"):
        found = _linprog(
            cost, A_ub=system, b_ub=limit, bounds=bounds, method=method,
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )  # fmt: skip
        if found.x is None:
            continue
        v = found.x[:d] - found.x[d : 2 * d] if horizon.p == 1 else found.x[:d]
        mu = -np.asarray(found.ineqlin.marginals[:n]) / rows
        yield np.asarray(v) * scale, mu


def _active_set(bracket: Bracket, _: Conic) -> Iterator[tuple[Array, Array]]:
    """ℓ2: the point of the convex hull nearest to 0, as a non-negative least-squares problem."""
    if bracket.horizon.order != 2:
        return
    a = bracket.z / bracket.lower
    rows = np.abs(a).max(1)
    # min ½‖aᵀu‖² − 1ᵀu over u >= 0 is min ‖[aᵀ; 1ᵀ]u − (0, 1)‖ up to the scale of u.
    system = np.vstack([a.T, np.ones(len(a))]) / rows
    try:
        u = np.asarray(nnls(system, np.append(np.zeros(a.shape[1]), 1.0))[0]) / rows
    except RuntimeError:
        return
    yield u @ bracket.z, u
    on = np.flatnonzero(u)
    try:
        w = lstsq(a[on], np.ones(len(on)), cond=1e-16)[0]
        yield w, u
        mu = np.zeros(len(a))
        mu[on] = lstsq(a[on].T, w, cond=1e-16)[0]
        yield w, mu
    except (LinAlgError, ValueError):
        return

"""Bring a max-margin solution with a smooth horizon function to rounding, through its dual."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.maps import Horizon

__all__ = ["polish"]

_minimize: Any = minimize
_hessian: Any = torch.autograd.functional.hessian


def polish(
    z: Array, shape: tuple[int, ...], horizon: Horizon, weights: Array, duals: Array
) -> tuple[Array, Array]:
    """Minimise `Q°(Σ μ_i z_i)` over the simplex from the conic solver's μ; `w = ∇Q°`.

    For p close to 1 the entries of w span hundreds of orders of magnitude, which no conic solver
    resolves, while they follow from μ in closed form: `w_k ∝ sgn(g_k)|g_k|^{1/(p−1)}`. Where Q is
    not strictly convex or not smooth (ℓ1, ℓ∞) the solution is returned as it came.
    """
    order = horizon.order
    if order is None or order == 1 or math.isinf(order):
        return weights, duals
    active = np.flatnonzero(duals > 1e-7 * duals.max())
    best = _primal(z, shape, horizon, duals)
    value = _quality(z, shape, horizon, weights), _quality(z, shape, horizon, best)
    weights = best if value[1] >= value[0] else weights
    for _ in range(4):
        found = _solve(z[active], shape, horizon, duals[active] / duals[active].sum())
        candidate = np.zeros_like(duals)
        candidate[active] = found
        if _dual(z, shape, horizon, candidate)[0] <= _dual(z, shape, horizon, duals)[0]:
            duals = candidate
        trial = _primal(z, shape, horizon, duals)
        if _quality(z, shape, horizon, trial) >= _quality(z, shape, horizon, weights):
            weights = trial
        q = z @ weights
        missing = np.flatnonzero(q < q[active].min() - 1e-12 * abs(q).max())
        if len(missing) == 0:
            break
        active = np.union1d(active, missing)
    return weights, duals


def _dual(z: Array, shape: tuple[int, ...], horizon: Horizon, mu: Array) -> tuple[float, Array]:
    g = torch.from_numpy(mu @ z).reshape(shape).requires_grad_()
    value = horizon.dual_gauge(g)
    (gradient,) = torch.autograd.grad(value, g)
    return float(value.detach()), gradient.reshape(-1).numpy()


def _primal(z: Array, shape: tuple[int, ...], horizon: Horizon, mu: Array) -> Array:
    w = _dual(z, shape, horizon, mu)[1]
    size = float(horizon.gauge(torch.from_numpy(w).reshape(shape)))
    return w / size if size > 0 else w


def _quality(z: Array, shape: tuple[int, ...], horizon: Horizon, w: Array) -> float:
    size = float(horizon.gauge(torch.from_numpy(w).reshape(shape)))
    return float((z @ w).min()) / size if size > 0 and np.isfinite(w).all() else -math.inf


def _solve(z: Array, shape: tuple[int, ...], horizon: Horizon, start: Array) -> Array:
    """SLSQP on the simplex, then Newton on the equal margins of the points with weight."""
    scale = _dual(z, shape, horizon, start)[0]
    if scale <= 0 or len(start) == 1:
        return start

    def value(mu: Array) -> float:
        return _dual(z, shape, horizon, mu)[0] / scale

    def slope(mu: Array) -> Array:
        return z @ _dual(z, shape, horizon, mu)[1] / scale

    result = _minimize(
        value,
        start,
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, None)] * len(start),
        constraints={"type": "eq", "fun": lambda m: m.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-16, "maxiter": 200},
    )
    mu = np.maximum(np.asarray(result.x, dtype=np.float64), 0.0)
    if not np.isfinite(mu).all() or mu.sum() <= 0:
        return start
    return _newton(z, shape, horizon, mu / mu.sum())


def _newton(z: Array, shape: tuple[int, ...], horizon: Horizon, mu: Array) -> Array:
    """Solve `z_i·∇Q°(μ) = γ` where `μ_i > 0`, `Σ μ = 1`; accept what lowers the residual."""
    active = np.flatnonzero(mu > 1e-9 * mu.max())
    k = len(active)
    spread = math.inf
    for _ in range(30):
        w = _dual(z, shape, horizon, mu)[1]
        q = z[active] @ w
        residual = float(np.ptp(q))
        if residual >= spread:
            break
        spread, accepted = residual, mu
        if spread <= 1e-15 * np.abs(q).max():
            break
        g = torch.from_numpy(mu @ z).reshape(shape)
        hessian: Tensor = _hessian(horizon.dual_gauge, g)
        flat = hessian.reshape(g.numel(), g.numel()).numpy()
        system = np.zeros((k + 1, k + 1))
        system[:k, :k] = z[active] @ flat @ z[active].T
        system[:k, k], system[k, :k] = -1.0, 1.0
        right = np.append(-q, 0.0)
        if not (np.isfinite(system).all() and np.isfinite(right).all()):
            break
        step = np.linalg.lstsq(system, right, rcond=1e-14)[0][:k]
        limit = np.min(np.where(step < 0, -mu[active] / np.minimum(step, -1e-300), np.inf))
        moved = mu.copy()
        moved[active] += min(1.0, 0.9 * limit) * step
        mu = np.maximum(moved, 0.0)
        mu = mu / mu.sum()
    return accepted

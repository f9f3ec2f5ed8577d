"""A local solver for two-layer max margins where no convex program is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.checks import as_flag, as_integer, shown
from mirrorflow.errors import NotSeparableError
from mirrorflow.exact.two_layer import TwoLayerSolution, two_class_data
from mirrorflow.maps import Horizon, LpHorizon
from mirrorflow.nets import TwoLayer

__all__ = ["local_two_layer_max_margin"]

_minimize: Any = minimize


def local_two_layer_max_margin(
    x: Tensor,
    y: Tensor,
    horizon: Horizon,
    hidden: int,
    *,
    bias: bool = False,
    starts: int = 20,
    seed: int = 0,
) -> TwoLayerSolution:
    """The best of many local minima of `min Q(θ) s.t. y_i Σ_j a_j relu(w_j·x_i) >= 1`.

    SLSQP from random starts; at ℓ1 the weights are split into positive parts, at ℓ∞ bounded by a
    common variable. The answer is a feasible net, so its margin is a lower bound of the
    optimum; nothing says that it is the optimum.

    Args:
        x: (n, d) points.
        y: (n,) labels ±1.
        horizon: `LpHorizon(p)`, any p.
        hidden: number of units.
        bias: append the constant input 1.
        starts: number of random starts.
        seed: of the starts.

    Returns:
        A `TwoLayerSolution` of kind "local", without multipliers or bound.

    Raises:
        NotSeparableError: no start ended at a net that separates the points.
        ValueError: bad shapes, labels, sizes, or a horizon that is not an ℓp norm.
    """
    if not isinstance(horizon, LpHorizon):
        raise ValueError(f"horizon = {shown(horizon)}; the local solver takes LpHorizon(p) only")
    hidden = as_integer(hidden, "hidden", least=1, most=10**6)
    bias = as_flag(bias, "bias")
    starts = as_integer(starts, "starts", least=1, most=10_000)
    seed = as_integer(seed, "seed", least=0, most=2**63 - 1)
    with torch.inference_mode(False), torch.enable_grad():
        points, labels = two_class_data(x, y)
        return _search(points, labels.numpy(), horizon, hidden, bias, starts, seed)


def _search(
    points: Tensor,
    labels: Array,
    horizon: LpHorizon,
    hidden: int,
    bias: bool,
    starts: int,
    seed: int,
) -> TwoLayerSolution:
    net = TwoLayer(points.shape[1], hidden, bias=bias).to(torch.float64)
    z = points.numpy()
    if bias:
        z = np.hstack([z, np.ones((len(z), 1))])
    rng = np.random.default_rng(seed)
    best, best_margin = None, -math.inf
    for _ in range(starts):
        theta = _descend(z, labels, horizon.p, hidden, rng)
        if theta is None:
            continue
        size = float(horizon.gauge(torch.from_numpy(theta)))
        margin = float(_margins(theta, z, labels, hidden)[0].min()) / size**2 if size > 0 else -1.0
        if margin > best_margin:
            best, best_margin = theta, margin
    if best is None or best_margin <= 0:
        raise NotSeparableError(
            f"none of {starts} starts (seed = {seed}) reached a net of hidden = {hidden} units "
            f"that separates the {len(z)} points x by y; raise hidden or starts"
        )
    best = best / math.sqrt(float(_margins(best, z, labels, hidden)[0].min()))
    split = hidden * z.shape[1]
    with torch.no_grad():
        net.weights[0].copy_(torch.from_numpy(best[:split].reshape(hidden, -1)))
        net.weights[1].copy_(torch.from_numpy(best[split:].reshape(1, -1)))
    nan = math.nan
    return TwoLayerSolution(net, best_margin, torch.zeros(len(z)), nan, nan, "local", 0)


def _margins(theta: Array, z: Array, y: Array, hidden: int) -> tuple[Array, Array]:
    """q (n,) and its Jacobian (n, parameters)."""
    split = hidden * z.shape[1]
    w, a = theta[:split].reshape(hidden, -1), theta[split:]
    pre = z @ w.T
    h = np.maximum(pre, 0)
    slope = (pre > 0) * a
    first = (slope[:, :, None] * z[:, None, :]).reshape(len(z), -1)
    return y * (h @ a), y[:, None] * np.hstack([first, h])


def _descend(z: Array, y: Array, p: float, hidden: int, rng: np.random.Generator) -> Array | None:
    size = hidden * (z.shape[1] + 1)
    theta = rng.standard_normal(size)
    q = _margins(theta, z, y, hidden)[0]
    theta = theta / max(float(np.abs(q).mean()), 1e-3) ** 0.5
    lift = np.hstack([np.eye(size), -np.eye(size)]) if p == 1 else np.eye(size)
    if math.isinf(p):
        lift = np.hstack([np.eye(size), np.zeros((size, 1))])
    constraints: list[dict[str, Any]] = [
        {
            "type": "ineq",
            "fun": lambda v: _margins(lift @ v, z, y, hidden)[0] - 1,
            "jac": lambda v: _margins(lift @ v, z, y, hidden)[1] @ lift,
        }
    ]
    bounds = None
    linear: Array | None = None
    start = theta
    if p == 1:
        start = np.concatenate([np.maximum(theta, 0), np.maximum(-theta, 0)])
        bounds = [(0.0, None)] * (2 * size)
        linear = np.ones(2 * size)
    elif math.isinf(p):
        start = np.append(theta, np.abs(theta).max())
        one = np.ones((size, 1))
        box = np.vstack([np.hstack([-np.eye(size), one]), np.hstack([np.eye(size), one])])
        constraints.append({"type": "ineq", "fun": lambda v: box @ v, "jac": lambda _: box})
        linear = np.append(np.zeros(size), 1.0)

    def cost(v: Array) -> float:
        return float(linear @ v) if linear is not None else float((np.abs(v) ** p).sum() / p)

    def slope(v: Array) -> Array:
        if linear is not None:
            return linear
        out: Array = np.sign(v) * np.abs(v) ** (p - 1)
        return out

    with np.errstate(all="ignore"):
        result = _minimize(
            cost, start, jac=slope, method="SLSQP", bounds=bounds, constraints=constraints,
            options={"maxiter": 500, "ftol": 1e-14},
        )  # fmt: skip
    theta = lift @ np.asarray(result.x, dtype=np.float64)
    return theta if np.isfinite(theta).all() else None

"""The linear max-margin problem for a horizon function, solved exactly, with its dual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirrorflow.errors import MirrorFlowError, NotSeparableError
from mirrorflow.exact.extra import load_cvxpy, solve
from mirrorflow.exact.polish import polish
from mirrorflow.labels import as_labels
from mirrorflow.maps import Horizon, LpHorizon

__all__ = ["Solution", "margin_rows", "max_margin"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The exact answer to `maximise min_i q_i(w) over Q(w) <= 1`.

    Attributes:
        weights: a maximiser with `Q(w) = 1`, the shape of one point (with C in front if
            multiclass). It need not be unique at ℓ1 and ℓ∞: compare margins as well.
        margin: `γ = min_i q_i(w)`, computed from `weights`.
        multipliers: `λ >= 0` of `minimise Q(θ) subject to q_i(θ) >= 1`, as in a `Certificate`:
            `Σ λ_i ∇q_i ∈ ∂Q(w)`, `Σ λ_i = 1/γ`; (n,), or (n, C) with 0 at the own class.
        gap: `Q°(Σ μ_i ∇q_i) − γ >= 0` with `μ = λγ`, `Σ μ_i = 1`: no w has a margin above
            `margin + gap`.
    """

    weights: Tensor
    margin: float
    multipliers: Tensor
    gap: float


def max_margin(x: Tensor, y: Tensor, horizon: Horizon, *, classes: int | None = None) -> Solution:
    """Solve `γ = max {min_i q_i(w) : Q(w) <= 1} = min {Q°(Σ μ_i ∇q_i) : μ >= 0, Σ μ_i = 1}`.

    The linear model is `f(w; x) = ⟨w, x⟩`, `q_i = y_i f`, or with C classes `q_{ik} =
    ⟨w_{y_i} − w_k, x_i⟩`. A conic solver (Clarabel) finds both sides; a smooth Q is polished
    to rounding through its dual. For ℓ2 this is the hard-margin support vector machine.

    Args:
        x: (n, d) points, or (n, a, b) where the weights are an (a, b) matrix.
        y: (n,) labels: ±1, or class indices together with `classes`.
        horizon: `LpHorizon(p)` for p in [1, ∞]; a Schatten horizon for matrix weights (with
            `classes`, and x of shape (n, d), the weight matrix is (C, d)).
        classes: number of classes C; None for labels ±1.

    Returns:
        A `Solution` in float64.

    Raises:
        NotSeparableError: no w has a positive margin; `state` holds the proof, Farkas
            multipliers `μ >= 0`, `Σ μ = 1`, with `Σ μ_i ∇q_i = 0` up to the stated residual.
        ValueError: shapes or labels that do not fit, NaN in x, or a horizon without a program.
        MissingExtraError: the extra `exact` is not installed.
    """
    if not isinstance(horizon, Horizon):
        raise TypeError(f"horizon is {horizon!r}; pass a Horizon, such as Quadratic().horizon()")
    rows, shape, where = margin_rows(x, y, classes)
    z = rows.reshape(len(rows), -1).numpy()
    scale = float(np.abs(z).max())
    if scale == 0:
        scale = 1.0
    weights, duals = _conic(z / scale, shape, horizon)
    weights, duals = polish(z / scale, shape, horizon, weights, duals)
    bound = float(horizon.dual_gauge(torch.from_numpy(duals @ z).reshape(shape)))
    size = float(horizon.gauge(torch.from_numpy(weights).reshape(shape)))
    typical = float(max(horizon.dual_gauge(row) for row in rows[: min(len(rows), 64)]))
    if bound <= 1e-8 * typical or size == 0:
        raise NotSeparableError(
            f"no weights separate these {len(x)} points with a margin above {bound:.2g}: the "
            f"combination of margin gradients with the multipliers in `error.state` has dual norm "
            f"{bound:.2g}, against {typical:.2g} for one point. Use more features or other labels",
            state=_place(duals, where, len(x), classes),
        )
    weights = weights / size
    gamma = float((z @ weights).min())
    if gamma <= 0 or bound - gamma > 1e-4 * bound:
        raise MirrorFlowError(
            f"the conic solver stopped between the margins {gamma:.6g} and {bound:.6g}; scale the "
            "features to comparable sizes and try again",
            state=(weights, duals),
        )
    return Solution(
        torch.from_numpy(weights).reshape(shape),
        gamma,
        _place(duals / gamma, where, len(x), classes),
        max(bound - gamma, 0.0),
    )


def margin_rows(
    x: Tensor, y: Tensor, classes: int | None
) -> tuple[Tensor, tuple[int, ...], tuple[Tensor, Tensor]]:
    """`∇q_i` of the linear model, one row per constraint, the shape of w, and (point, class).

    Raises:
        ValueError: as `max_margin`.
    """
    y = as_labels(y, classes).cpu()
    if x.ndim < 2 or len(x) == 0 or y.shape != x.shape[:1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; pass points (n, d) or "
            "(n, a, b), n >= 1, and labels (n,)"
        )
    x = x.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds NaN or infinity; remove those points or features")
    n = len(x)
    if classes is None:
        rows = y.to(torch.float64).reshape(-1, *[1] * (x.ndim - 1)) * x
        return rows, tuple(x.shape[1:]), (torch.arange(n), torch.zeros(n, dtype=torch.long))
    point = torch.arange(n).repeat_interleave(classes - 1)
    other = torch.cat([torch.cat([torch.arange(c), torch.arange(c + 1, classes)]) for c in y])
    rows = torch.zeros(len(point), classes, *x.shape[1:], dtype=torch.float64)
    index = torch.arange(len(point))
    rows[index, y[point]] = x[point]
    rows[index, other] = -x[point]
    return rows, (classes, *x.shape[1:]), (point, other)


def _place(values: Array, where: tuple[Tensor, Tensor], points: int, classes: int | None) -> Tensor:
    out = torch.zeros(points, classes or 1, dtype=torch.float64)
    out[where] = torch.from_numpy(np.ascontiguousarray(values))
    return out if classes else out[:, 0]


def _conic(z: Array, shape: tuple[int, ...], horizon: Horizon) -> tuple[Array, Array]:
    """Primal and dual of the conic program: w and μ with Σ μ = 1."""
    cvxpy = load_cvxpy()
    w, gamma = cvxpy.Variable(z.shape[1]), cvxpy.Variable()
    separate = z @ w >= gamma
    ball = _gauge(cvxpy, w, shape, horizon) <= 1
    problem = cvxpy.Problem(cvxpy.Maximize(gamma), [separate, ball])
    status = solve(problem)
    if w.value is None or separate.dual_value is None:
        raise MirrorFlowError(
            f"the conic solver ended with status {status!r} on the max-margin problem; scale the "
            "features to comparable sizes and try again"
        )
    duals = np.maximum(np.asarray(separate.dual_value, dtype=np.float64).reshape(-1), 0.0)
    total = duals.sum()
    if total <= 0:
        duals, total = np.ones_like(duals), float(len(duals))
    return np.asarray(w.value, dtype=np.float64).reshape(-1), duals / total


def _gauge(cvxpy: Any, w: Any, shape: tuple[int, ...], horizon: Horizon) -> Any:
    order = horizon.order
    if isinstance(horizon, LpHorizon):
        return cvxpy.norm(w, "inf") if math.isinf(horizon.p) else cvxpy.pnorm(w, horizon.p)
    if order is not None and len(shape) == 2 and type(horizon).__name__.startswith("Schatten"):
        matrix = cvxpy.reshape(w, shape, order="C")
        if order == 1:
            return cvxpy.normNuc(matrix)
        if math.isinf(order):
            return cvxpy.sigma_max(matrix)
        return cvxpy.norm(matrix, "fro")  # a start; the polish below goes to any order
    raise ValueError(
        f"horizon = {horizon!r} has no conic program here for weights of shape {shape}; use "
        "LpHorizon(p), or a Schatten horizon with matrix weights"
    )

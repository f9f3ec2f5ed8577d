"""The linear max-margin problem for a horizon function, solved exactly, with its dual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.checks import as_integer, as_points, shown
from mirrorflow.errors import MirrorFlowError, NotSeparableError, UndecidedError
from mirrorflow.exact.extra import load_cvxpy, solve
from mirrorflow.exact.polish import polish
from mirrorflow.exact.rescaled import Bracket, rescaled
from mirrorflow.exact.separability import exact_products, farkas, separator
from mirrorflow.labels import as_labels
from mirrorflow.maps import Horizon, LpHorizon

__all__ = ["MarginBounds", "Solution", "margin_rows", "max_margin"]


_NARROW, _WIDE = 1e-7, 1e-4  # relative gaps: aimed at, and accepted


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


@dataclass(frozen=True)
class MarginBounds:
    """How far `max_margin` came where doubles decide no further: `state` of an `UndecidedError`.

    Attributes:
        weights: with `Q(w) = 1` and margin `lower`; separating if that is positive.
        lower: the margin of `weights`.
        multipliers: `μ >= 0`, `Σ μ = 1`, placed as in a `Solution`.
        upper: `Q°(Σ μ_i ∇q_i)`; no w has a larger margin.
    """

    weights: Tensor
    lower: float
    multipliers: Tensor
    upper: float


def max_margin(x: Tensor, y: Tensor, horizon: Horizon, *, classes: int | None = None) -> Solution:
    """Solve `γ = max {min_i q_i(w) : Q(w) <= 1} = min {Q°(Σ μ_i ∇q_i) : μ >= 0, Σ μ_i = 1}`.

    The linear model is `f(w; x) = ⟨w, x⟩`, `q_i = y_i f`, or with C classes `q_{ik} =
    ⟨w_{y_i} − w_k, x_i⟩`. A conic solver (Clarabel) finds both sides; a smooth Q is polished
    to rounding through its dual. For ℓ2 this is the hard-margin support vector machine. Whether
    the points are separable does not depend on the units of features or points; where these
    are far apart the program is solved again in units of the weights.

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
            multipliers `μ >= 0`, `Σ μ = 1`, with `Σ μ_i ∇q_i = 0` up to the stated residual. It
            is raised only where multipliers that make the sum exactly zero were shown to exist.
        UndecidedError: neither that, nor a margin known to 1e-4 of itself; `state` holds a
            `MarginBounds`. Features, points and margins of very different sizes (1e9 and more)
            leave doubles without the digits.
        TypeError: x, y or horizon of a wrong kind.
        ValueError: shapes or labels that do not fit, NaN in x, or a horizon without a program.
        MissingExtraError: the extra `exact` is not installed.
    """
    if not isinstance(horizon, Horizon):
        raise TypeError(
            f"horizon = {shown(horizon)} is not a Horizon; pass one, such as Quadratic().horizon()"
        )
    if classes is not None:
        classes = as_integer(classes, "classes", least=2, most=2**31)
    # Gradients are needed inside, whatever mode the caller is in.
    with torch.inference_mode(False), torch.enable_grad():
        return _solve(*margin_rows(x, y, classes), len(x), horizon, classes)


def _solve(
    rows: Tensor,
    shape: tuple[int, ...],
    where: tuple[Tensor, Tensor],
    points: int,
    horizon: Horizon,
    classes: int | None,
) -> Solution:
    z = rows.reshape(len(rows), -1).numpy()
    # A power of two, so that dividing by it changes nothing but the unit.
    scale = 2.0 ** math.frexp(float(np.abs(z).max()))[1]
    z = z / scale
    skip = z.shape[1] // classes if classes else 0
    bracket = Bracket(z, shape, horizon)
    failure: MirrorFlowError | None = None
    try:
        weights, duals = polish(z, shape, horizon, *_conic(z, shape, horizon))
        bracket.offer_weights(weights)
        bracket.offer_duals(duals)
    except MirrorFlowError as error:
        failure = error
    if not (bracket.lower > 0 and bracket.gap <= _NARROW):
        separating, candidates = _separate(z, bracket, skip)
        if separating is None:
            for candidate in candidates:
                proof = farkas(z, candidate, skip=skip)
                if proof is not None:
                    raise _not_separable(z, proof, _place(proof, where, points, classes))
        else:
            bracket.offer_weights(separating)
            rescaled(bracket, lambda a, c, r: _conic(a, shape, horizon, c, r), _NARROW)
    if bracket.lower > 0 and bracket.gap <= _WIDE:
        return Solution(
            torch.from_numpy(bracket.weights).reshape(shape),
            bracket.lower * scale,
            _place(bracket.duals / bracket.lower / scale, where, points, classes),
            max(bracket.upper - bracket.lower, 0.0) * scale,
        )
    state = MarginBounds(
        torch.from_numpy(bracket.weights).reshape(shape),
        bracket.lower * scale,
        _place(bracket.duals, where, points, classes),
        bracket.upper * scale,
    )
    raise _undecided(state, points) from failure


def _not_separable(z: Array, mu: Array, state: Tensor) -> NotSeparableError:
    rest = np.abs(exact_products(np.ascontiguousarray(z.T), mu))
    share = float((rest / np.maximum(mu @ np.abs(z), 1e-300)).max())
    return NotSeparableError(
        f"no weights separate these {len(state)} points x by y: {int((mu > 0).sum())} margin "
        f"gradients combine to zero with the positive multipliers in `error.state` (as doubles "
        f"up to {share:.1g} of their terms, with multipliers beside them exactly). Use more "
        "features or other labels",
        state=state,
    )


def _undecided(state: MarginBounds, points: int) -> UndecidedError:
    if state.lower > 0:
        what = f"the {points} points x are separable by y, but their largest margin"
    else:
        what = (
            f"undecided whether y separates the {points} points x: neither weights with a positive "
            "margin nor multipliers that exclude them came out; the largest margin, if positive,"
        )
    return UndecidedError(
        f"{what} is only known to lie in [{max(state.lower, 0.0):.6g}, {state.upper:.6g}]. Measure "
        "all features in units of their size (x / x.abs().amax(0)), and look for points that "
        "agree to their last digits under different labels; `error.state` holds weights and "
        "multipliers",
        state=state,
    )


def _separate(z: Array, bracket: Bracket, skip: int) -> tuple[Array | None, list[Array]]:
    """Weights that separate, or candidates for a proof that there are none."""
    if bracket.lower > 0:
        return bracket.weights, []
    if bracket.upper <= 1e-6 and farkas(z, bracket.duals, skip=skip) is not None:
        return None, [bracket.duals]
    weights, candidates = separator(z)
    return weights, [*candidates, bracket.duals]


def margin_rows(
    x: Tensor, y: Tensor, classes: int | None
) -> tuple[Tensor, tuple[int, ...], tuple[Tensor, Tensor]]:
    """`∇q_i` of the linear model, one row per constraint, the shape of w, and (point, class).

    Raises:
        ValueError: as `max_margin`.
    """
    x = as_points(x).detach().to("cpu", torch.float64, copy=True)
    y = as_labels(y, classes).cpu()
    if x.ndim < 2 or y.shape != x.shape[:1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; pass points (n, d) or "
            "(n, a, b), n >= 1, and labels (n,)"
        )
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


def _conic(
    z: Array,
    shape: tuple[int, ...],
    horizon: Horizon,
    columns: Array | float = 1.0,
    rows: Array | float = 1.0,
) -> tuple[Array, Array]:
    """Primal and dual of `max γ, z v >= rows γ, Q(columns v) <= 1`, with `Σ μ = 1`."""
    cvxpy = load_cvxpy()
    w, gamma = cvxpy.Variable(z.shape[1]), cvxpy.Variable()
    separate = z @ w >= rows * gamma
    ball = _gauge(cvxpy, cvxpy.multiply(columns, w), shape, horizon) <= 1
    problem = cvxpy.Problem(cvxpy.Maximize(gamma), [separate, ball])
    status = solve(problem)
    if w.value is None or separate.dual_value is None:
        if isinstance(horizon, LpHorizon) and horizon.p not in (1, 2, math.inf):
            # Powers far from 2 can be too much for the solver; the polish goes on from ℓ2.
            return _conic(z, shape, LpHorizon(2), columns, rows)
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

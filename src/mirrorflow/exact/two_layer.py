"""The global max margin of a two-layer ReLU net at ℓ2: a convex program over patterns."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.checks import as_flag, as_integer, as_points, as_tensor
from mirrorflow.errors import MirrorFlowError, NotSeparableError, UndecidedError
from mirrorflow.exact.extra import load_cvxpy, solve
from mirrorflow.exact.patterns import Patterns, all_patterns, count_patterns, sampled_patterns
from mirrorflow.labels import as_labels
from mirrorflow.nets import TwoLayer

__all__ = ["TwoLayerSolution", "two_class_data", "two_layer_max_margin"]


@dataclass(frozen=True)
class TwoLayerSolution:
    """A two-layer ReLU net of large margin.

    Attributes:
        net: the network, scaled to `min q = 1`.
        margin: its Q-margin `min q/Q(θ)²`.
        multipliers: (n,) λ of `minimise Q(θ) subject to q >= 1`; zeros for a local solution.
        upper_bound: no two-layer ReLU net of any width has a larger margin (NaN: unknown).
        gap: `upper_bound − margin`.
        kind: "global" (all patterns: the bound is attained up to the solver's tolerance), "bound"
            (sampled patterns: the optimum lies between), or "local".
        patterns: number of activation patterns in the program.
    """

    net: TwoLayer
    margin: float
    multipliers: Tensor
    upper_bound: float
    gap: float
    kind: Literal["global", "bound", "local"]
    patterns: int


def two_layer_max_margin(
    x: Tensor, y: Tensor, *, bias: bool = False, max_patterns: int = 1500, seed: int = 0
) -> TwoLayerSolution:
    """The global optimum of `min ½‖θ‖₂² s.t. y_i Σ_j a_j relu(w_j·x_i) >= 1` over all widths.

    For two classes. With vector outputs the convex program has a norm on every pattern that is
    not tractable (its unit ball is the hull of `w vᵀ` with w in a cone); relaxed to the nuclear
    norm it would only bound the optimum.

    At the optimum `|a_j| = ‖w_j‖`, and over activation patterns `D_g` it is the convex program

        min Σ_g ‖v_g‖ + ‖u_g‖   s.t.  y_i Σ_g D_gi x_i·(v_g − u_g) >= 1,
                                      (2D_g − 1)X v_g >= 0,  (2D_g − 1)X u_g >= 0,

    with one unit per nonzero `v_g` (a > 0) or `u_g` (a < 0).

    Args:
        x: (n, d) points; few, in few dimensions, for a global answer.
        y: (n,) labels ±1; class against class, or one against the rest, where there are more.
        bias: append the constant input 1 (its weight counts in the norm).
        max_patterns: above this number patterns are sampled, new ones are searched for as long
            as they violate the dual, and `upper_bound` is a valid but loose relaxation.
        seed: of the samples.

    Returns:
        A `TwoLayerSolution` with kind "global" or "bound".

    Raises:
        NotSeparableError: no net separates the points: one lies at the origin, or two of different
            labels on one ray from it (decided exactly).
        UndecidedError: the solver found no net.
        TypeError: x or y of a wrong kind.
        ValueError: bad shapes, labels or sizes.
        MissingExtraError: the extra `exact` is not installed.

    Source: Pilanci & Ergen, ICML 2020.
    """
    bias = as_flag(bias, "bias")
    max_patterns = as_integer(max_patterns, "max_patterns", least=3, most=10**6)
    seed = as_integer(seed, "seed", least=0, most=2**63 - 1)
    with torch.inference_mode(False):  # the net that is returned can be trained
        rows, given = two_class_data(x, y)
        return _optimum(rows, given, bias, max_patterns, seed)


def two_class_data(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, d) and labels ±1 (n,), both float64 on the CPU.

    Raises:
        TypeError: x or y is not an array of numbers.
        ValueError: wrong shapes, NaN, or labels of more than two classes.
    """
    points = as_points(x).detach().to("cpu", torch.float64, copy=True)
    if points.ndim != 2:
        raise ValueError(f"x has shape {tuple(points.shape)}; pass points (n, d)")
    labels = as_tensor(y, "y").detach().cpu()
    if labels.ndim == 0 or len(labels) != len(points):
        raise ValueError(
            f"x has shape {tuple(points.shape)} and y {tuple(labels.shape)}; pass points (n, d) "
            "and labels (n,)"
        )
    try:
        signs = as_labels(labels, None, points=len(points))
    except ValueError as error:
        raise ValueError(
            f"{error}; the net has one output, for two classes (one class against the rest, if "
            "there are more)"
        ) from None
    return points, signs.to(torch.float64)


def _optimum(x: Tensor, y: Tensor, bias: bool, max_patterns: int, seed: int) -> TwoLayerSolution:
    points, labels = x.numpy(), y.numpy()
    if bias:
        points = np.hstack([points, np.ones((len(points), 1))])
    _check_separable(points, labels)
    scale = float(np.abs(points).max()) or 1.0
    z = points / scale
    every = count_patterns(z) <= max_patterns
    patterns = (
        all_patterns(z, seed=seed) if every else sampled_patterns(z, max_patterns // 3, seed=seed)
    )
    units, lam = _program(z, labels, patterns)
    if not every:
        for _ in range(8):
            new = _violated(z, labels, lam, patterns, seed)
            if len(new) == 0:
                break
            patterns = np.concatenate([patterns, new])
            units, lam = _program(z, labels, patterns)
    net = _network(units, bias, x.shape[1], scale)
    q = _margins(net, x, y)
    if q <= 0:
        raise MirrorFlowError("the conic solver's network does not separate the points", state=net)
    with torch.no_grad():
        for p in net.parameters():
            p.div_(q**0.5)
        norm = sum(float(p.square().sum()) for p in net.parameters()) ** 0.5
    bound = (1.0 if every else _dual_norm(z, labels, lam)) / (2 * float(lam.sum())) * scale
    margin = 1 / norm**2
    return TwoLayerSolution(
        net,
        margin,
        torch.from_numpy(lam / scale / norm),
        max(bound, margin),
        max(bound - margin, 0.0),
        "global" if every else "bound",
        len(patterns),
    )


def _check_separable(z: Array, y: Array) -> None:
    """Points on one ray from the origin get outputs of one sign; all others can be separated.

    Raises:
        NotSeparableError: a point at the origin, or two of different labels on one ray.
    """
    rays: dict[tuple[Fraction, ...], int] = {}
    for i, point in enumerate(z):
        exact = [Fraction(float(v)) for v in point]
        size = max((abs(v) for v in exact), default=Fraction(0))
        if size == 0:
            raise NotSeparableError(
                f"point {i} of x lies at the origin, where every net without bias is 0; drop it, "
                "or pass bias=True"
            )
        ray = tuple(v / size for v in exact)
        other = rays.setdefault(ray, i)
        if y[other] != y[i]:
            raise NotSeparableError(
                f"points {other} and {i} of x carry two labels in y, but lie on one ray from the "
                "origin, where a net without bias keeps its sign; correct a label, or pass bias"
            )


def _program(z: Array, y: Array, patterns: Patterns) -> tuple[list[tuple[Array, float]], Array]:
    """The units `(v, ±1)` and the multipliers λ of the margin constraints."""
    value, v, lam = _solve(z, y, patterns)
    norms = np.linalg.norm(v, axis=2)
    used = np.flatnonzero(norms.max(0) > 1e-5 * norms.max())
    # Once more on the patterns in use: a small program ends at tighter accuracy.
    again, small, _ = _solve(z, y, patterns[used])
    if again <= value * (1 + 1e-7):
        value, v, norms = again, small, np.linalg.norm(small, axis=2)
    keep = norms > 1e-7 * norms.max()
    units = [(v[s, g], 1.0 - 2.0 * s) for s, g in zip(*np.nonzero(keep), strict=True)]
    return units, lam


def _solve(z: Array, y: Array, patterns: Patterns) -> tuple[float, Array, Array]:
    cvxpy = load_cvxpy()
    groups, d = len(patterns), z.shape[1]
    v, u = cvxpy.Variable((groups, d)), cvxpy.Variable((groups, d))
    on = patterns.T.astype(np.float64)
    signs = 2 * on - 1
    outputs = cvxpy.sum(cvxpy.multiply(on, z @ (v - u).T), axis=1)
    separate = cvxpy.multiply(y, outputs) >= 1
    cones = [cvxpy.multiply(signs, z @ w.T) >= 0 for w in (v, u)]
    size = cvxpy.sum(cvxpy.norm(v, 2, axis=1)) + cvxpy.sum(cvxpy.norm(u, 2, axis=1))
    problem = cvxpy.Problem(cvxpy.Minimize(size), [separate, *cones])
    status = solve(problem)
    if v.value is None:
        raise UndecidedError(
            f"the conic solver ended with status {status!r} over {groups} activation patterns. The "
            f"{len(z)} points x can be separated, but not with a margin that it resolves: scale "
            "the features to comparable sizes, look for points that nearly agree under different "
            "labels, or raise max_patterns"
        )
    lam = np.maximum(np.asarray(separate.dual_value, dtype=np.float64).reshape(-1), 0.0)
    return float(problem.value), np.stack([v.value, u.value]), lam


def _violated(z: Array, y: Array, lam: Array, patterns: Patterns, seed: int) -> Patterns:
    """Patterns of local maximisers of `|Σ λ_i y_i relu(x_i·w)|` over the ball that exceed 1."""
    rng = np.random.default_rng(seed + len(patterns))
    known = {row.tobytes() for row in patterns}
    found: dict[bytes, float] = {}
    for start in rng.standard_normal((200, z.shape[1])):
        for sign in (1.0, -1.0):
            w = start
            for _ in range(30):
                g = sign * (lam * y * (z @ w > 0)) @ z
                size = np.linalg.norm(g)
                if size == 0 or np.allclose(g / size, w):
                    break
                w = g / size
            length = max(float(np.linalg.norm(w)), 1e-300)
            value = sign * float((lam * y) @ np.maximum(z @ w, 0)) / length
            cell = (z @ w > 0).tobytes()
            if value > 1 + 1e-6 and cell not in known:
                found[cell] = value
    best = sorted(found, key=lambda c: -found[c])[:50]
    return np.array([np.frombuffer(c, dtype=bool) for c in best]).reshape(-1, len(z))


def _dual_norm(z: Array, y: Array, lam: Array) -> float:
    """An upper bound of `max_{‖w‖<=1} |Σ λ_i y_i relu(x_i·w)|`, by `relu(z) = (z + |z|)/2` on one
    class, `−relu(z) <= −θz` on the other, and Cauchy-Schwarz."""
    worst = 0.0
    for sign in (1.0, -1.0):
        mine, other = y == sign, y != sign
        a = lam[mine, None] * z[mine]
        sizes = np.linalg.norm(z[mine], axis=1).clip(1e-300)
        spread = np.linalg.eigvalsh((a / sizes[:, None]).T @ z[mine])[-1] if mine.any() else 0.0
        spread = 0.5 * float(np.sqrt(max(spread, 0.0) * (lam[mine] * sizes).sum()))
        centre, rest = 0.5 * a.sum(0), (lam[other, None] * z[other]).sum(0)
        share = np.clip(centre @ rest / max(rest @ rest, 1e-300), 0.0, 1.0)
        worst = max(worst, float(np.linalg.norm(centre - share * rest)) + spread)
    return max(worst, 1.0)


def _network(units: list[tuple[Array, float]], bias: bool, d: int, scale: float) -> TwoLayer:
    generator = torch.Generator().manual_seed(0)
    net = TwoLayer(d, len(units), bias=bias, generator=generator).to(torch.float64)
    with torch.no_grad():
        for j, (v, sign) in enumerate(units):
            # w·x in the units of the data is (w/scale)·x; the split stays balanced.
            root = float(np.linalg.norm(v)) ** 0.5
            net.weights[0][j] = torch.from_numpy(v / root / scale**0.5)
            net.weights[1][0, j] = sign * root / scale**0.5
    return net


@torch.no_grad()
def _margins(net: TwoLayer, x: Tensor, y: Tensor) -> float:
    x = x.detach().cpu().to(torch.float64)
    return float((y.detach().cpu().to(torch.float64) * net(x)).min())

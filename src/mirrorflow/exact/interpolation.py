"""The interpolant nearest to the start in the map's own divergence, and its certificate.

For a linear model with the square loss and targets that some weights fit, mirror flow and mirror
descent, with any batches, end at

    argmin D_R(θ, θ₀)   subject to   Xθ = y,

because every step moves `∇R(θ)` within the span of the rows of X. So it is the potential at finite
size, and the start, that choose among the solutions, and not the horizon. Compare what you trained
with `min_bregman`, or ask `interpolation_certificate` of it.

Source: Gunasekar, Lee, Soudry & Srebro, ICML 2018; Azizan & Hassibi, ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.checks import as_points, as_tensor, shown
from mirrorflow.errors import MirrorFlowError, NoHorizonError
from mirrorflow.labels import as_targets
from mirrorflow.maps import MirrorMap, SeparableMap, SimplexEntropy, as_map

__all__ = [
    "Interpolant",
    "InterpolationCertificate",
    "interpolation_certificate",
    "min_bregman",
]

_CONSISTENT = 1e-9  # of the targets, that least squares may leave
_RANK = 1e-12  # of the largest singular value
_SOLVED = 1e-9  # stationarity and feasibility at which an answer is one
_DIFFERENCE = 6e-6  # relative step of a central difference


@dataclass(frozen=True)
class InterpolationCertificate:
    """How far weights are from the interpolant, without solving for it.

    Attributes:
        stationarity: `‖∇R(θ) − ∇R(θ₀) − Xᵀν‖ / ‖∇R(θ) − ∇R(θ₀)‖`, the distance to the span of the
            rows of X; 0 where the weights have not moved.
        feasibility: `max |Xθ − y| / max |y|`.
        multipliers: (n,) ν, the least-squares fit (of least norm where rows depend).
        gap: `D_R(θ, ∇R*(∇R(θ₀) + Xᵀν)) + |⟨ν, Xθ − y⟩| ≥ 0`: how much larger `D_R(θ, θ₀)` is than
            the dual value at ν, and so at most than the least one.
    """

    stationarity: float
    feasibility: float
    multipliers: Tensor
    gap: float


@dataclass(frozen=True)
class Interpolant:
    """The answer to `minimise D_R(θ, θ₀) subject to Xθ = y`.

    Attributes:
        weights: the minimiser, unique since R is strictly convex; the shape of one point.
        divergence: `D_R(θ, θ₀)`.
        multipliers: (n,) ν of `∇R(θ) = ∇R(θ₀) + Xᵀν`, of least norm where rows depend.
        gap: the duality gap, see `InterpolationCertificate`.
        certificate: of the weights.
    """

    weights: Tensor
    divergence: float
    multipliers: Tensor
    gap: float
    certificate: InterpolationCertificate


def min_bregman(
    x: Tensor, y: Tensor, mirror_map: MirrorMap | str, start: Tensor | None = None
) -> Interpolant:
    """Solve `argmin D_R(θ, θ₀)` subject to `Xθ = y`, for any mirror map.

    A trust-region Newton method on the multipliers, `θ = ∇R*(∇R(θ₀) + Xᵀν)`, or, where `∇R*` has
    no derivative (power p > 2) or is flat (cosh), on the weights within the solutions of `Xθ = y`;
    both are polished by Newton's method. Rows are orthogonalised first.

    Args:
        x: (n, d) points, or (n, a, b) where the weights are an (a, b) matrix.
        y: (n,) real targets, floating-point.
        mirror_map: one map or its text.
        start: θ₀, the shape of one point; None is zero.

    Returns:
        An `Interpolant` in float64.

    Raises:
        TypeError: class labels (integers) as y, or arguments of a wrong kind.
        ValueError: an inconsistent system, which no weights fit; shapes that do not fit; a start
            outside the map's domain.
        MirrorFlowError: the solver came to no interpolant: on a restricted domain (entropies)
            there may be none; `state` holds the best weights.
    """
    points, targets, mirror, shape, first = _problem(x, y, mirror_map, start)
    with torch.inference_mode(False), torch.no_grad():
        rows, values, back = _orthogonal(points, targets)
        problem = _LinearProblem(mirror, shape, first, rows, values)
        best, error = first, math.inf
        for solver in (_primal, _dual) if _is_steep(mirror) else (_dual, _primal):
            found = solver(problem)
            if found is None:
                continue
            if (size := problem.error(found)) < error:
                best, error = found, size
            if error <= _SOLVED:
                break
        weights = torch.from_numpy(best).reshape(shape)
        if not error <= _SOLVED:
            raise MirrorFlowError(
                f"no interpolant came out under {mirror!r}: the conditions are left open by "
                f"{error:.2g}. Where the map restricts the weights (entropies), perhaps no weights "
                "there fit y; else scale the points to order one, or start nearer. `error.state` "
                "holds the best weights",
                state=weights,
            )
        certificate = _certify(points, targets, mirror, weights, first, shape, back)
        origin = torch.from_numpy(first).reshape(shape)
        return Interpolant(
            weights,
            float(mirror.bregman(weights, origin)),
            certificate.multipliers,
            certificate.gap,
            certificate,
        )


def interpolation_certificate(
    x: Tensor,
    y: Tensor,
    mirror_map: MirrorMap | str,
    weights: Tensor,
    start: Tensor | None = None,
) -> InterpolationCertificate:
    """Is `∇R(θ) − ∇R(θ₀)` in the span of the rows, and `Xθ = y`? Then θ is the interpolant.

    Args:
        x: (n, d) points, or (n, a, b) where the weights are an (a, b) matrix.
        y: (n,) real targets, floating-point.
        mirror_map: one map or its text.
        weights: θ, the shape of one point.
        start: θ₀ likewise; None is zero.

    Raises:
        TypeError, ValueError: as `min_bregman`; weights of another shape.
    """
    points, targets, mirror, shape, first = _problem(x, y, mirror_map, start)
    theta = _place(weights, shape, mirror, "weights")
    with torch.inference_mode(False), torch.no_grad():
        back = _orthogonal(points, targets)[2]
        return _certify(points, targets, mirror, theta, first, shape, back)


def _problem(
    x: Tensor, y: Tensor, mirror_map: MirrorMap | str, start: Tensor | None
) -> tuple[Array, Array, MirrorMap, tuple[int, ...], Array]:
    points = as_points(x).detach().to("cpu", torch.float64)
    if points.ndim not in (2, 3):
        raise ValueError(
            f"x has shape {tuple(points.shape)}; pass points (n, d), or (n, a, b) for matrix "
            "weights"
        )
    targets = as_targets(y, (len(points),), of="points x").to("cpu", torch.float64)
    mirror = as_map(mirror_map)
    if not isinstance(mirror, MirrorMap):
        raise TypeError(f"mirror_map = {shown(mirror_map)}; pass one map, or its text")
    if isinstance(mirror, SimplexEntropy):
        raise ValueError(
            f"mirror_map = {mirror!r} has duals that are defined up to a constant only; pass "
            "NegativeEntropy() and a further point of ones with the target 1, which is the same"
        )
    shape = tuple(points.shape[1:])
    zero = torch.zeros(shape, dtype=torch.float64)
    theta = _place(zero if start is None else start, shape, mirror, "start")
    if not bool(torch.isfinite(mirror.to_dual(theta)).all()):
        raise ValueError(
            f"start is on the boundary of the domain of {mirror!r}, where ∇R is not finite; pass "
            "a start inside it"
        )
    return points.flatten(1).numpy(), targets.numpy(), mirror, shape, theta.flatten().numpy()


def _place(value: Tensor, shape: tuple[int, ...], mirror: MirrorMap, name: str) -> Tensor:
    theta = as_tensor(value, name).detach().to("cpu", torch.float64)
    if tuple(theta.shape) != shape or not bool(torch.isfinite(theta).all()):
        raise ValueError(
            f"{name} has shape {tuple(theta.shape)} or entries that are not finite; pass finite "
            f"weights of the shape of one point, {shape}"
        )
    mirror.require_domain(theta, name)
    return theta


def _orthogonal(points: Array, targets: Array) -> tuple[Array, Array, Array]:
    """Orthonormal rows V (r, d) and values c with `Vθ = c` where `Xθ = y`; (r, n) such that
    `Xᵀ(back.T @ μ) = Vᵀμ`.

    Raises:
        ValueError: no weights fit the targets.
    """
    left, sizes, right = np.linalg.svd(points, full_matrices=False)
    rank = int((sizes > _RANK * max(sizes[0], 1e-300) * max(points.shape)).sum())
    left, sizes, right = left[:, :rank], sizes[:rank], right[:rank]
    rest = targets - left @ (left.T @ targets)
    scale = float(np.abs(targets).max())
    if rank < len(points) and np.abs(rest).max() > _CONSISTENT * scale:
        worst = int(np.abs(rest).argmax())
        raise ValueError(
            f"the system Xθ = y is inconsistent: {len(points)} points x of rank {rank} leave "
            f"{np.abs(rest).max():.3g} of y at best (most in point {worst}), so that no weights "
            "interpolate; use more features or fewer points"
        )
    return right, (left.T @ targets) / sizes, (left / sizes).T


def _is_steep(mirror: MirrorMap) -> bool:
    """Whether the potential grows faster than a square: then `∇R*` is flat, or kinked at 0."""
    try:
        return mirror.index > 2
    except NoHorizonError:
        return False


class _LinearProblem:
    """`Vθ = c` with orthonormal rows, and the map on flat float64 arrays."""

    def __init__(
        self, mirror: MirrorMap, shape: tuple[int, ...], first: Array, rows: Array, values: Array
    ) -> None:
        self.mirror, self.shape, self.first = mirror, shape, first
        self.rows, self.values = rows, values
        self.dual_start = self.to_dual(first)

    def _call(self, function: Callable[[Tensor], Tensor], at: Array) -> Array:
        out = function(torch.from_numpy(np.ascontiguousarray(at)).reshape(self.shape))
        result: Array = out.reshape(-1).numpy()
        return result

    def to_dual(self, theta: Array) -> Array:
        return self._call(self.mirror.to_dual, theta)

    def to_primal(self, dual: Array) -> Array:
        return self._call(self.mirror.to_primal, dual)

    def curvature(self, theta: Array) -> Array | None:
        """The diagonal of `∇²R`, or None where it is no diagonal."""
        if not isinstance(self.mirror, SeparableMap):
            return None
        return self._call(self.mirror.hessian, theta)

    def potential(self, theta: Array) -> float:
        return float(self._call(self.mirror.potential, theta)[0])

    def conjugate(self, dual: Array) -> float:
        return float(self._call(self.mirror.conjugate, dual)[0])

    def error(self, theta: Array) -> float:
        """The larger of stationarity and feasibility, relative."""
        try:
            moved = self.to_dual(theta) - self.dual_start
        except ValueError:  # outside the domain
            return math.inf
        if not np.isfinite(moved).all() or not np.isfinite(theta).all():
            return math.inf
        out = moved - self.rows.T @ (self.rows @ moved)
        left = self.rows @ theta - self.values
        size = float(np.abs(moved).max())
        scale = max(float(np.abs(self.values).max(initial=0.0)), float(np.abs(theta).max()))
        open_ = float(np.abs(out).max()) / size if size > 0 else 0.0
        value = max(open_, float(np.abs(left).max(initial=0.0)) / max(scale, 1e-300))
        return value if math.isfinite(value) else math.inf


def _dual(problem: _LinearProblem) -> Array | None:
    """By the multipliers: `min R*(u₀ + Vᵀμ) − ⟨μ, c⟩`, whose gradient is `Vθ − c`."""
    rows, values, start = problem.rows, problem.values, problem.dual_start
    if not len(values):
        return problem.first

    def value(mu: Array) -> float:
        with np.errstate(all="ignore"):
            found = problem.conjugate(start + rows.T @ mu) - float(mu @ values)
        return found if math.isfinite(found) else math.inf

    def gradient(mu: Array) -> Array:
        out: Array = rows @ problem.to_primal(start + rows.T @ mu) - values
        return out

    def hessian(mu: Array) -> Array:
        dual = start + rows.T @ mu
        curvature = problem.curvature(problem.to_primal(dual))
        if curvature is None:
            return _differences(gradient, mu)
        with np.errstate(divide="ignore"):
            return _finite((rows * (1.0 / curvature)) @ rows.T)

    mu = _minimise(value, gradient, hessian, np.zeros(len(values)))
    return None if mu is None else problem.to_primal(start + rows.T @ mu)


def _primal(problem: _LinearProblem) -> Array | None:
    """By the weights: `min R(θ) − ⟨u₀, θ⟩` over `θ = θ_c + Nz`, `VN = 0`."""
    rows, start = problem.rows, problem.dual_start
    basis = np.linalg.svd(rows, full_matrices=True)[2][len(rows) :].T
    # The point of Vθ = c nearest to the start.
    near = problem.first + rows.T @ (problem.values - rows @ problem.first)
    if not basis.shape[1]:
        return near

    def value(z: Array) -> float:
        theta = near + basis @ z
        try:
            with np.errstate(all="ignore"):
                found = problem.potential(theta) - float(start @ theta)
        except ValueError:  # outside the domain
            return math.inf
        return found if math.isfinite(found) else math.inf

    def gradient(z: Array) -> Array:
        out: Array = basis.T @ (problem.to_dual(near + basis @ z) - start)
        return out

    def hessian(z: Array) -> Array:
        curvature = problem.curvature(near + basis @ z)
        if curvature is None:
            return _differences(gradient, z)
        return _finite((basis.T * curvature) @ basis)

    z = _minimise(value, gradient, hessian, np.zeros(basis.shape[1]))
    return None if z is None else near + basis @ z


def _finite(matrix: Array) -> Array:
    out: Array = np.nan_to_num(matrix, nan=0.0, posinf=1e300, neginf=-1e300)
    return out


def _differences(gradient: Callable[[Array], Array], at: Array) -> Array:
    """The Hessian by central differences of the gradient, symmetrised."""
    step = _DIFFERENCE * max(1.0, float(np.abs(at).max()))
    columns = []
    for k in range(len(at)):
        shift = np.zeros(len(at))
        shift[k] = step
        columns.append((gradient(at + shift) - gradient(at - shift)) / (2 * step))
    matrix = np.stack(columns, 1)
    return _finite((matrix + matrix.T) / 2)


def _minimise(
    value: Callable[[Array], float],
    gradient: Callable[[Array], Array],
    hessian: Callable[[Array], Array],
    start: Array,
) -> Array | None:
    """A trust region, whose last steps drown in the rounding of the value; then Newton alone."""
    try:
        with np.errstate(all="ignore"):
            if not math.isfinite(value(start)):
                return None
            at: Array = minimize(
                value, start, jac=gradient, hess=hessian, method="trust-exact",
                options={"gtol": 1e-12, "maxiter": 2000, "max_trust_radius": 1e6},
            ).x  # fmt: skip
            return _polish(gradient, hessian, at)
    except (ValueError, np.linalg.LinAlgError):  # a step left the domain or the numbers
        return None


def _polish(
    gradient: Callable[[Array], Array], hessian: Callable[[Array], Array], at: Array
) -> Array:
    """Newton steps while they make the gradient smaller."""
    slope = gradient(at)
    for _ in range(50):
        step = np.linalg.lstsq(hessian(at), slope, rcond=None)[0]
        trial = at - step
        new = gradient(trial)
        if not np.abs(new).max() < np.abs(slope).max():
            break
        at, slope = trial, new
    return at


def _certify(
    points: Array,
    targets: Array,
    mirror: MirrorMap,
    weights: Tensor,
    first: Array,
    shape: tuple[int, ...],
    back: Array,
) -> InterpolationCertificate:
    origin = mirror.to_dual(torch.from_numpy(first).reshape(shape)).reshape(-1).numpy()
    moved = mirror.to_dual(weights).reshape(-1).numpy() - origin
    # back.T @ (V moved): the multipliers of least norm, without a second factorisation.
    rows = back @ points
    nu = back.T @ (rows @ moved)
    size = float(np.linalg.norm(moved))
    out = float(np.linalg.norm(moved - rows.T @ (rows @ moved)))
    left = points @ weights.reshape(-1).numpy() - targets
    dual = torch.from_numpy(origin + points.T @ nu).reshape(shape)
    near = mirror.to_primal(dual)
    scale = float(np.abs(targets).max())
    return InterpolationCertificate(
        out / size if size > 0 else 0.0,
        float(np.abs(left).max()) / (scale if scale > 0 else 1.0),
        torch.from_numpy(nu),
        max(float(mirror.bregman(weights, near)), 0.0) + abs(float(nu @ left)),
    )

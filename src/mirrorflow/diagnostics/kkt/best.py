"""The multipliers and the subgradient with the smallest max(ε, δ, κ): one conic program.

    minimise  t + w (e + d + k)   over λ, s and kink coefficients
    ‖s − Cᵀλ‖ <= e ‖s‖,   λ_i (q_i − 1) <= d Σλ,   1 − ⟨s, θ⟩/Q <= k,   e, d, k <= t,

λ >= 0, s in the subdifferential. The products with e and d are linearised around the last answer
and the program is solved again, until nothing changes: for δ, whose ratio is quasi-convex, that is
the optimum. Each program is solved by a barrier method whose Newton steps eliminate s (its block
of the Hessian is diagonal), so that a step costs (margins)² × (free entries).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, qr

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.cone import KinkCone
from mirrorflow.diagnostics.kkt.multipliers import Fit, apply
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential

__all__ = ["TIE", "fits", "minimise_largest"]

TIE = 1e-3  # w: of answers with one maximum the smallest sum, for at most 2 w of the maximum
_WORK, _MARGINS = 20_000_000, 400
_ROUNDS, _RIDGE = 25, 1e-13
_ROUGH, _ACCURACY = 1e-3, 1e-7  # relative, of the first rounds and the last


def fits(cone: KinkCone, target: Subdifferential) -> bool:
    """Whether the program is small enough to be solved beside the fits."""
    m = len(cone.base) + len(cone.owner)
    return not target.general and m <= _MARGINS and m * m * (target.free + m) <= _WORK


def minimise_largest(
    cone: KinkCone,
    target: Subdifferential,
    ratio: Array,
    theta: Array,
    degree: float,
    start: Fit,
    *,
    free_delta: bool = False,
) -> Fit | None:
    """The fit with the smallest `max(ε, δ, κ) + w (ε + δ + κ)`, or None if the method failed.

    Args:
        cone: m generators, with their kinks.
        target: the subdifferential, of points, boxes and simplices.
        ratio: (m,) `q/min q`.
        theta: (d,) the parameters.
        degree: `⟨s, θ⟩` at κ = 0.
        start: a fit to begin from.
        free_delta: leave δ out of the maximum (it stays in the sum).
    """
    try:
        return _Program(cone, target, ratio, theta, degree, start, free_delta).solve()
    except (LinAlgError, FloatingPointError, ZeroDivisionError):
        return None


@dataclass
class _State:
    """λ and kinks (n,), free entries of s (f,), and e, d, k, t."""

    y: Array
    s: Array
    z: Array


class _Program:
    def __init__(
        self,
        cone: KinkCone,
        target: Subdifferential,
        ratio: Array,
        theta: Array,
        degree: float,
        start: Fit,
        free_delta: bool,
    ) -> None:
        self.cone, self.target, self.theta, self.degree = cone, target, theta, degree
        self.m, self.kinks = len(cone.base), len(cone.owner)
        self.excess = np.maximum(ratio - 1, 0.0)
        rows = np.vstack([cone.base, cone.extra]).astype(np.float64)
        size = np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows)), 1e-300)
        self.scale = size[: self.m]
        self.unit = np.concatenate([self.scale, self.scale[cone.owner]])
        rows = rows / self.unit[:, None]
        tops = [index for index, _, _ in target.simplices]
        self.free = np.concatenate([target.box, *tops]).astype(np.intp)
        self.width = target.width
        self.signs = np.concatenate(
            [np.ones(len(target.box)), *(signs for _, signs, _ in target.simplices)]
        )
        self.ends = np.cumsum([len(target.box), *(len(i) for i in tops)])
        self.totals = np.array([total for _, _, total in target.simplices])
        # The rows of fixed entries enter by their triangular factor only.
        fixed = np.column_stack([rows[:, target.fixed].T, target.value[target.fixed]])
        if len(fixed) > fixed.shape[1]:
            fixed = qr(fixed, mode="r", check_finite=False)[0][: fixed.shape[1]]
        self.fixed, self.level = fixed[:, :-1], fixed[:, -1]
        self.norm_fixed = float(np.linalg.norm(self.level))
        self.loose = rows[:, self.free].T * self.signs[:, None]  # (f, n), s in its own signs
        self.theta_free = theta[self.free] * self.signs
        self.theta_fixed = float(target.value[target.fixed] @ theta[target.fixed])
        self.gram = self.fixed.T @ self.fixed
        self.in_max = np.array([True, not free_delta, not target.is_point])
        self.start = start

    # The four numbers of a point.

    def residual(self, x: _State) -> tuple[Array, Array]:
        """`s − Cᵀλ` in fixed and in free entries."""
        return self.level - self.fixed @ x.y, x.s - self.loose @ x.y

    def norm(self, x: _State) -> float:
        return math.hypot(self.norm_fixed, float(np.linalg.norm(x.s)))

    def kappa(self, x: _State) -> float:
        return 1 - (self.theta_fixed + float(self.theta_free @ x.s)) / self.degree

    def measures(self, x: _State) -> Array:
        lam = x.y[: self.m] / self.scale
        epsilon = math.hypot(*(float(np.linalg.norm(r)) for r in self.residual(x))) / self.norm(x)
        return np.array([epsilon, (lam * self.excess).max() / lam.sum(), max(self.kappa(x), 0.0)])

    def score(self, x: _State) -> float:
        values = self.measures(x)
        return float(values[self.in_max].max() + TIE * values.sum())

    # The outer loop: linearise the products, solve, repeat.

    def solve(self) -> Fit | None:
        x = self._begin()
        best, best_score, patience, accuracy = x, math.inf, 3, _ROUGH
        for _ in range(_ROUNDS):
            self.at = _State(x.y.copy(), x.s.copy(), self.measures(x))
            x = self._barrier(x, accuracy)
            score = self.score(x)
            gain = best_score - score
            if gain > 0:
                best, best_score = x, score
            if gain > _ROUGH * score:
                continue
            if accuracy == _ROUGH:
                accuracy = _ACCURACY
            elif gain <= 1e-5 * score:
                patience -= 1
                if patience == 0 or abs(gain) <= 1e-5 * score:
                    break
        if not math.isfinite(best_score):
            return None
        plain = best.y / self.unit
        v = apply(self.cone.base, plain[: self.m])
        if self.kinks:
            v = v + apply(self.cone.extra, plain[self.m :])
        s = self.target.value.copy()
        s[self.free] = self.signs * best.s
        return Fit(plain[: self.m], s, s - v)

    def _begin(self) -> _State:
        lam = np.maximum(self.start.multipliers * self.scale, 0.0)
        lam = lam + 1e-3 * max(float(lam.mean()), 1e-12)
        kinks = 0.5 * lam[self.cone.owner]
        s = self.signs * self.start.element[self.free]
        box = self.ends[0]
        s[:box] = np.clip(s[:box], -0.98 * self.width, 0.98 * self.width)
        for a, b, total in zip(self.ends, self.ends[1:], self.totals, strict=False):
            s[a:b] = 0.98 * np.maximum(s[a:b], 0.0)
            s[a:b] += (total - s[a:b].sum()) / (b - a)
        return _State(np.concatenate([lam, kinks]), s, np.zeros(4))

    # The barrier method. z = (e, d, k, t).

    def _slacks(self, x: _State) -> tuple[float, Array, Array, Array]:
        """The cone's `(τ² − ‖r‖²)`, τ, and the linear slacks of δ, of κ and the bounds."""
        lam = x.y[: self.m] / self.scale
        reference = self.at.y[: self.m] / self.scale
        e0, d0 = float(self.at.z[0]), float(self.at.z[1])
        n0 = self.norm(self.at)
        tau = n0 * x.z[0] + e0 * (self.norm_fixed**2 + float(self.at.s @ x.s) - n0**2) / n0
        parts = self.residual(x)
        square = float(parts[0] @ parts[0] + parts[1] @ parts[1])
        room = tau * tau - square if tau > 0 else -1.0
        total = reference.sum()
        delta = (total * x.z[1] + d0 * (lam.sum() - total) - lam * self.excess) / total
        kappa = np.array([x.z[2] - self.kappa(x)])
        return room, np.array([tau]), delta, kappa

    def _value(self, x: _State, weight: float) -> float:
        room, _, delta, kappa = self._slacks(x)
        lam, kinks = x.y[: self.m], x.y[self.m :]
        box = x.s[: self.ends[0]]
        bounds = np.concatenate(
            [
                delta, kappa if self.in_max[2] else np.ones(1), lam, kinks,
                lam[self.cone.owner] - kinks, self.width - box, self.width + box,
                x.s[self.ends[0] :], x.z, (x.z[3] - x.z[:3])[self.in_max],
            ]
        )  # fmt: skip
        if room <= 0 or not (bounds > 0).all():
            return math.inf
        cost = x.z[3] + TIE * x.z[:3].sum()
        return float(weight * cost - math.log(room) - np.log(bounds).sum())

    def _barrier(self, x: _State, accuracy: float) -> _State:
        z = np.append(1.5 * np.maximum(self.measures(x), 1e-9), 0.0)
        x = _State(x.y, x.s, z)
        n0 = self.norm(self.at)
        for _ in range(200):  # e and d large enough to be inside
            x.z[3] = 1.5 * x.z[:3].max()
            room, tau, delta, kappa = self._slacks(x)
            if room > 0 and tau[0] > 0 and (delta > 0).all() and kappa[0] > 0:
                break
            x.z[:2] *= 1.5
            x.z[2] = 1.5 * x.z[2] + 1e-9 * n0
        count = 3 * self.m + 2 * self.kinks + 2 * len(self.free) + 10
        weight = count / x.z[3]
        while True:
            for _ in range(40):
                try:
                    with np.errstate(over="raise", divide="raise", invalid="raise"):
                        step, decrement = self._newton(x, weight)
                except (LinAlgError, FloatingPointError):
                    return x  # rounding, close to the end; x is inside
                if decrement <= 1e-6:
                    break
                length, value = 1.0, self._value(x, weight)
                while length > 1e-10:
                    trial = _State(
                        x.y + length * step.y, x.s + length * step.s, x.z + length * step.z
                    )
                    if self._value(trial, weight) <= value - 0.1 * length * decrement:
                        break
                    length *= 0.5
                else:
                    return x
                x = trial
            if count / weight <= accuracy * x.z[3]:
                return x
            weight *= 12

    def _newton(self, x: _State, weight: float) -> tuple[_State, float]:
        """The Newton step and half its squared length in the Hessian's norm."""
        m, n, f = self.m, len(x.y), len(x.s)
        room, tau, delta, kappa = self._slacks(x)
        r_fixed, r_free = self.residual(x)
        n0, total = self.norm(self.at), float((self.at.y[:m] / self.scale).sum())
        e0, d0 = float(self.at.z[0]), float(self.at.z[1])
        lam, kinks = x.y[:m], x.y[m:]
        gradient = np.zeros(n + 4)  # of λ, kinks, e, d, k, t
        small = np.zeros((n + 4, n + 4))
        gradient[n:] = weight * np.array([TIE, TIE, TIE, 1.0])
        # Bounds of λ and the kinks.
        gradient[:n] -= 1 / x.y
        small[np.arange(n), np.arange(n)] += 1 / x.y**2
        if self.kinks:
            owner, rest = self.cone.owner, lam[self.cone.owner] - kinks
            at = m + np.arange(self.kinks)
            np.add.at(gradient, owner, -1 / rest)
            gradient[at] += 1 / rest
            np.add.at(small, (owner, owner), 1 / rest**2)
            small[at, at] += 1 / rest**2
            small[owner, at] -= 1 / rest**2
            small[at, owner] -= 1 / rest**2
        # δ: Jacobian rows d/dλ = (d0 − excess on the diagonal)/(scale·total), d/dd = 1.
        inverse = 1 / delta
        square = inverse**2
        own = -self.excess / self.scale / total
        shared = d0 / self.scale / total
        gradient[:m] -= own * inverse + shared * inverse.sum()
        gradient[n + 1] -= inverse.sum()
        small[np.arange(m), np.arange(m)] += own**2 * square
        cross = own * square
        small[:m, :m] += np.outer(cross, shared) + np.outer(shared, cross)
        small[:m, :m] += np.outer(shared, shared) * square.sum()
        small[:m, n + 1] += cross + shared * square.sum()
        small[n + 1, :m] = small[:m, n + 1]
        small[n + 1, n + 1] += square.sum()
        # e, d, k >= 0 and <= t.
        gradient[n:] -= 1 / x.z
        small[n + np.arange(4), n + np.arange(4)] += 1 / x.z**2
        for i in np.flatnonzero(self.in_max):
            gap = 1 / (x.z[3] - x.z[i])
            gradient[n + i] += gap
            gradient[n + 3] -= gap
            small[n + i, n + i] += gap**2
            small[n + 3, n + 3] += gap**2
            small[n + i, n + 3] -= gap**2
            small[n + 3, n + i] -= gap**2
        # Free entries: bounds.
        box = self.ends[0]
        slope, curve = np.zeros(f), np.zeros(f)
        low, high = self.width + x.s[:box], self.width - x.s[:box]
        slope[:box] = 1 / high - 1 / low
        curve[:box] = 1 / high**2 + 1 / low**2
        slope[box:] = -1 / x.s[box:]
        curve[box:] = 1 / x.s[box:] ** 2
        # The cone: (2/D)(JᵣᵀJᵣ − J_τJ_τᵀ) + (4/D²) g gᵀ, g = τ J_τ − Jᵣᵀ r.
        c = 2 / room
        tau_small = np.zeros(n + 4)
        tau_small[n] = n0
        tau_free = e0 * self.at.s / n0
        g_small, g_free = tau[0] * tau_small, tau[0] * tau_free - r_free
        g_small[:n] += self.fixed.T @ r_fixed + self.loose.T @ r_free
        gradient -= c * g_small
        slope -= c * g_free
        low_rank = [
            (tau_small, tau_free, -c),
            (g_small, g_free, c * c),
        ]
        if self.in_max[2]:  # κ: slack k − 1 + ⟨s, θ⟩/degree
            k_small = np.zeros(n + 4)
            k_small[n + 2] = 1.0
            k_free = self.theta_free / self.degree
            gradient -= k_small / kappa[0]
            slope -= k_free / kappa[0]
            low_rank.append((k_small, k_free, 1 / kappa[0] ** 2))
        # Without the low-rank terms s is eliminated: its block is diagonal.
        diagonal = c + curve
        share = c * curve / diagonal
        small[:n, :n] += c * self.gram + (self.loose.T * share) @ self.loose
        unit = 1 / np.sqrt(np.diag(small))
        small = small * unit[:, None] * unit + _RIDGE * np.eye(n + 4)
        factor = cho_factor(small, check_finite=False)

        def base(a: Array, b: Array) -> tuple[Array, Array]:
            a = a.copy()
            a[:n] += self.loose.T @ (b * (c / diagonal))
            y = unit * cho_solve(factor, unit * a, check_finite=False)
            return y, (b + c * (self.loose @ y[:n])) / diagonal

        # Equalities Σ h = total, and the low-rank terms, by one small dense system.
        sides = [(a, b) for a, b, _ in low_rank]
        pivots = [-1 / w for _, _, w in low_rank]
        for a, b in zip(self.ends, self.ends[1:], strict=False):
            one = np.zeros(f)
            one[a:b] = 1.0
            sides.append((np.zeros(n + 4), one))
            pivots.append(0.0)
        solved = [base(a, b) for a, b in sides]
        plain = base(-gradient, -slope)
        core = np.array([[a @ p + b @ q for p, q in solved] for a, b in sides]) - np.diag(pivots)
        right = np.array([a @ plain[0] + b @ plain[1] for a, b in sides])
        shift = np.linalg.solve(core, right)
        y = plain[0] - sum(w * p for w, (p, _) in zip(shift, solved, strict=True))
        s = plain[1] - sum(w * q for w, (_, q) in zip(shift, solved, strict=True))
        decrement = -float(gradient @ y + slope @ s)
        if not (np.isfinite(y).all() and np.isfinite(s).all() and decrement >= 0):
            raise LinAlgError("the Newton step is not a descent direction")
        return _State(y[:n], s, y[n:]), decrement

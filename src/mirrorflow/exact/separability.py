"""Is there a w with `z_i·w > 0` for all rows? A yes and a no, each with a proof about the doubles.

The question does not depend on the units of rows and columns. A yes is a w whose products `z_i·w`
are positive when summed exactly. A no is a combination `Σ μ_i z_i = 0`, `μ >= 0` and not zero
(Gordan's theorem): found in doubles, and shown to have an exact one beside it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, lstsq, pinv
from scipy.optimize import linprog, nnls

from mirrorflow.arrays import Array

__all__ = ["exact_products", "farkas", "separator", "units"]

_linprog: Any = linprog
_ROWS = 512  # at a time, for memory
_LARGEST, _WORK = 120, 400_000  # unknowns, and d k², of an elimination in fractions: seconds


def units(z: Array, *, rounds: int = 4) -> tuple[Array, Array]:
    """Powers of two `(r, c)` that bring the largest entry of every row and column of `z/(r c)`
    near 1; 1 where a row or column is zero."""
    rows, columns = np.ones(len(z)), np.ones(z.shape[1])
    for _ in range(rounds):
        for scale, axis in ((columns, 0), (rows, 1)):
            peak = np.abs(z / rows[:, None] / columns).max(axis, initial=0.0)
            scale *= np.exp2(np.round(np.log2(np.where(peak > 0, peak, 1.0))))
    return rows, columns


def exact_products(z: Array, w: Array) -> Array:
    """`z w`, every sum correctly rounded: the products are split without error (Dekker)."""
    out: list[float] = []
    high_w = _high(w)
    low_w = w - high_w
    for start in range(0, len(z), _ROWS):
        part = z[start : start + _ROWS]
        product, high = part * w, _high(part)
        low = part - high
        error = ((high * high_w - product) + high * low_w + low * high_w) + low * low_w
        out += [math.fsum(row) for row in np.concatenate([product, error], axis=1)]
    return np.array(out)


def _high(a: Array) -> Array:
    """The leading 26 bits."""
    mantissa, exponent = np.frexp(a)
    out: Array = np.ldexp(np.round(mantissa * 2.0**26) / 2.0**26, exponent)
    return out


def separator(z: Array) -> tuple[Array | None, list[Array]]:
    """A w with `z w > 0` (proved) or None; and candidates for multipliers with `Σ μ_i z_i = 0`."""
    r, c = units(z)
    scaled = z / r[:, None] / c
    multipliers: list[Array] = []
    for propose in (_by_program, _by_least_squares):
        v, mu = propose(scaled)
        if mu is not None:
            multipliers.append(_normal(np.maximum(mu, 0.0) / r))
        for candidate in () if v is None else (v, _lifted(scaled, v)):
            if candidate is not None and (exact_products(scaled, candidate) > 0).all():
                w: Array = candidate / c
                if np.isfinite(w).all():
                    return w, multipliers
    return None, multipliers


def _normal(mu: Array) -> Array:
    total = float(mu.sum())
    out: Array = mu / total if 0 < total < math.inf else np.full(len(mu), 1 / len(mu))
    return out


def _by_program(z: Array) -> tuple[Array | None, Array | None]:
    """`max t, z v >= t, |v| <= 1` by the simplex method."""
    n, d = z.shape
    a = np.hstack([-z, np.ones((n, 1))])
    cost = np.append(np.zeros(d), -1.0)
    found = _linprog(
        cost, A_ub=a, b_ub=np.zeros(n), bounds=[(-1, 1)] * d + [(None, 1)], method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    if found.x is None:
        return None, None
    return np.asarray(found.x[:d]), -np.asarray(found.ineqlin.marginals)


def _by_least_squares(z: Array) -> tuple[Array | None, Array | None]:
    """The combination nearest to 0, `min ‖Σ μ_i z_i‖`, `Σ μ = 1`, by an active-set method."""
    system = np.vstack([z.T, np.ones(len(z))])
    try:
        mu = np.asarray(nnls(system, np.append(np.zeros(z.shape[1]), 1.0))[0], dtype=np.float64)
    except RuntimeError:
        return None, None
    w = mu @ z
    size = float(np.abs(w).max(initial=0.0))
    return (w / size if size > 0 else None), mu


def _lifted(z: Array, v: Array) -> Array | None:
    """v moved by least squares so that the rows near 0 get equal products: a separator that
    exists only in the last digits is mended where a solver's tolerance left it."""
    q = exact_products(z, v)
    for _ in range(20):
        near = np.flatnonzero(q <= 1e-6 * np.abs(q).max())
        if len(near) == 0 or len(near) > 2 * z.shape[1]:
            return None
        goal = max(float(np.abs(q[near]).max()), 1e-18) * 2
        step = lstsq(z[near], goal - q[near], cond=1e-15)[0]
        v = v + step
        q = exact_products(z, v)
        if (q > 0).all():
            return v
        if not np.isfinite(v).all():
            return None
    return None


def farkas(z: Array, mu: Array, *, skip: int = 0) -> Array | None:
    """Multipliers `μ >= 0`, `Σ μ = 1` with `Σ μ_i z_i = 0` exactly, as rounded doubles; None if
    the given ones, good or not, prove nothing.

    Args:
        z: (m, d) rows.
        mu: (m,) approximate multipliers.
        skip: the first columns, of which each is minus the sum of others (the first class).
    """
    empty: NDArray[np.bool_] = np.abs(z).max(axis=1, initial=0.0) == 0
    if empty.any():
        return _normal(empty.astype(np.float64))
    kept = z[:, skip:]
    kept = kept[:, kept.any(0)]
    r, c = units(kept)
    scaled = kept / r[:, None] / c
    start: Array = np.maximum(mu, 0.0) * r
    weights = _normal(start)
    found = _nearby(scaled, weights)
    if found is None:
        found = _in_fractions(scaled, weights)
    if found is None:
        return None
    proof: Array = found / r
    return _normal(proof)


def _nearby(z: Array, mu: Array) -> Array | None:
    """An exact combination exists next to μ if its residual, taken back through an approximate
    inverse with bounded error, moves no multiplier to 0 (a Krawczyk test, rounding included)."""
    d = z.shape[1]
    order = np.argsort(-mu, kind="stable")
    on = order[mu[order] > 1e-14 * mu.max()]
    for count in sorted({min(len(on), 2 * d + 2), len(on)}):
        if count <= d:
            continue
        chosen = on[:count]
        rows, weight = np.ascontiguousarray(z[chosen].T), mu[chosen]
        try:  # large multipliers can be moved further: the inverse is weighed with them
            inverse = weight[:, None] * pinv(rows * weight)
        except (LinAlgError, ValueError):
            continue
        for _ in range(3):  # take away the residual that a solver left
            weight = np.maximum(weight - inverse @ exact_products(rows, weight), 0.0)
        slack = (count + d + 10) * float(np.finfo(np.float64).eps)
        error = np.abs(np.eye(d) - rows @ inverse) + slack * (np.abs(rows) @ np.abs(inverse))
        norm = float(error.sum(1).max())
        if not norm < 0.5:
            continue
        size = float(np.abs(exact_products(rows, weight)).max()) * (1 + slack) + 1e-290
        if (np.abs(inverse).sum(1) * size * (1 + slack) / (1 - norm) < weight).all():
            out = np.zeros(len(mu))
            out[chosen] = weight
            return out
    return None


def _in_fractions(z: Array, mu: Array) -> Array | None:
    """An exact combination of the rows with weight, by elimination in fractions."""
    on = np.flatnonzero(mu > 1e-9 * mu.max())
    if len(on) > _LARGEST or z.shape[1] * len(on) ** 2 > _WORK:
        return None
    basis = _null_space(z[on].T)
    if not basis:
        return None
    # The element nearest to μ, with coefficients that are doubles, evaluated exactly.
    matrix = np.array([[float(v) for v in column] for column in basis]).T
    weights = [Fraction(float(c)) for c in lstsq(matrix, mu[on])[0]]
    exact = [
        sum((c * column[i] for c, column in zip(weights, basis, strict=True)), Fraction(0))
        for i in range(len(on))
    ]
    top = max(exact)
    # Entries that are 0 in the exact combination come out so, or the sign decides.
    if top <= 0 or min(exact) < 0:
        return None
    out = np.zeros(len(mu))
    out[on] = [float(v / top) for v in exact]
    return out


def _null_space(matrix: Array) -> list[list[Fraction]]:
    """A basis of `{v : matrix v = 0}`, exact, by Gauss-Jordan elimination."""
    rows = [[Fraction(float(v)) for v in row] for row in matrix]
    k = matrix.shape[1]
    pivots: list[int] = []
    done = 0
    for column in range(k):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        head = rows[done] = [v / rows[done][column] for v in rows[done]]
        for i, row in enumerate(rows):
            if i != done and row[column] != 0:
                factor = row[column]
                rows[i] = [v - factor * h for v, h in zip(row, head, strict=True)]
        pivots.append(column)
        done += 1
    basis = []
    for free in sorted(set(range(k)) - set(pivots)):
        vector = [Fraction(0)] * k
        vector[free] = Fraction(1)
        for i, column in enumerate(pivots):
            vector[column] = -rows[i][free]
        basis.append(vector)
    return basis

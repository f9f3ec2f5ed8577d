"""The best multipliers: the distance between a cone of margin gradients and a subdifferential.

`minimise ‖s − Cᵀλ‖ over λ >= 0, s ∈ S`. Eliminating s leaves `F(λ) = ½ dist(Cᵀλ, S)²`, convex and
once differentiable. For polyhedral S it is piecewise quadratic: every Newton step is a
non-negative least-squares problem (SciPy's active-set solver; above 300 unknowns block pivoting on
the Gram matrix), and a few of them end at the exact
minimiser. For other S (Schatten 1 and ∞) accelerated alternating projections do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import lsq_linear, nnls

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.subdifferential import Piece, Subdifferential

__all__ = ["Fit", "Gram", "fit", "solve_nnls"]

Matrix = NDArray[Any]

_DIRECT = 1_000_000
_CHUNK = 1 << 16
_RIDGE = 1e-12


@dataclass(frozen=True)
class Fit:
    """`λ` (m,), the element s of the subdifferential (d,), and `s − Cᵀλ` (d,)."""

    multipliers: Array
    element: Array
    residual: Array

    @property
    def epsilon(self) -> float:
        """`‖s − Cᵀλ‖/‖s‖`."""
        return float(np.linalg.norm(self.residual) / np.linalg.norm(self.element))


class Gram:
    """`C[:k, rows] C[:k, rows]ᵀ` in float64; the last one is kept, and updated where few rows of
    it change, as they do from one Newton step to the next."""

    def __init__(self, columns: Matrix) -> None:
        self.columns = columns
        self.mask = np.zeros(columns.shape[1], dtype=bool)
        self.value: Array = np.zeros((len(columns), len(columns)))

    def __call__(self, rows: NDArray[np.intp], count: int) -> Array:
        """For the entries `rows` and the first `count` columns."""
        if 2 * count < len(self.columns):
            return _gram(self.columns[:count], rows)
        wanted = np.zeros(len(self.mask), dtype=bool)
        wanted[rows] = True
        changed = np.flatnonzero(wanted != self.mask)
        if len(changed) < len(rows):
            added = _gram(self.columns, changed[wanted[changed]])
            self.value = self.value + added - _gram(self.columns, changed[~wanted[changed]])
        else:
            self.value = _gram(self.columns, rows)
        self.mask = wanted
        return self.value[:count, :count]


def fit(
    columns: Matrix, target: Subdifferential, *, gram: Gram | None = None, max_iter: int = 60
) -> Fit:
    """Solve `min ‖s − Cᵀλ‖, λ >= 0, s ∈ S`.

    Args:
        columns: (m, d) generators of the cone, float64 (or float32, to save memory).
        target: the convex set S.
        gram: the Gram matrices of these columns, or of more of which these are the first.
        max_iter: limit of Newton steps, and five times that for alternating projections.
    """
    gram = gram or Gram(columns)
    if target.general:
        return _alternate(columns, target, gram, 5 * max_iter)
    lam = np.zeros(len(columns))
    v = np.zeros(columns.shape[1])
    value = _distance(v, target)
    for _ in range(1 if target.is_point else max_iter):
        wanted = _least_squares(columns, target.piece(v), gram)
        moved = apply(columns, wanted)
        if target.is_point:
            lam, v = wanted, moved
            break
        step = 1.0
        while step > 1e-6:
            trial = v + step * (moved - v)
            found = _distance(trial, target)
            if found < value:
                break
            step /= 2
        else:
            break
        gain = value - found
        lam, v, value = lam + step * (wanted - lam), trial, found
        if gain <= 1e-15 * max(value, 1e-30) or value == 0:
            break
    s = target.project(v)
    return Fit(lam, s, s - v)


def apply(columns: Matrix, lam: Array) -> Array:
    """`Cᵀλ` in float64, chunk by chunk if C is float32."""
    if columns.dtype == np.float64:
        product: Array = lam @ columns
        return product
    parts = [
        lam @ columns[:, i : i + _CHUNK].astype(np.float64)
        for i in range(0, columns.shape[1], _CHUNK)
    ]
    return np.concatenate(parts)


def _distance(v: Array, target: Subdifferential) -> float:
    return 0.5 * float(np.square(v - target.project(v)).sum())


def _alternate(columns: Matrix, target: Subdifferential, gram: Gram, max_iter: int) -> Fit:
    """FISTA with restarts on `½ dist(s, cone)²` over s ∈ S: project in turn, extrapolate."""
    s = target.project(np.zeros(columns.shape[1]))
    y, t, best = s, 1.0, np.inf
    everything = np.arange(columns.shape[1])
    for _ in range(max_iter):
        lam = _least_squares(columns, Piece(everything, y, []), gram)
        v = apply(columns, lam)
        new = target.project(v)
        value = float(np.linalg.norm(new - v))
        if value < 1e-12 * np.linalg.norm(new) or float(np.linalg.norm(new - s)) < 1e-13:
            s = new
            break
        if value > best:
            y, t = s, 1.0  # restart
            best = value
            continue
        best = value
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        y, s, t = new + (t - 1) / following * (new - s), new, following
    lam = _least_squares(columns, Piece(everything, s, []), gram)
    v = apply(columns, lam)
    s = target.project(v)
    return Fit(lam, s, s - v)


def _least_squares(columns: Matrix, piece: Piece, gram: Gram) -> Array:
    """`min_{λ>=0} ‖target − C[:, rows]ᵀ λ‖² + Σ (total − ⟨weights, C[:, index]ᵀλ⟩)²/len`."""
    m = len(columns)
    if m == 0:
        return np.zeros(0)
    extra = [
        (columns[:, i].astype(np.float64) @ w / len(i) ** 0.5, total / len(i) ** 0.5)
        for i, w, total in piece.sums
    ]
    tall = len(piece.rows) + len(extra)
    if m <= 300 and m * tall <= _DIRECT:
        a = np.vstack([columns[:, piece.rows].astype(np.float64).T, *(r[None] for r, _ in extra)])
        b = np.append(piece.target, [t for _, t in extra])
        size: Array = np.maximum(np.linalg.norm(a, axis=0), 1e-300)
        direct: Array = _nnls(a / size, b) / size
        return direct
    k = gram(piece.rows, m)
    right = _correlate(columns, piece.rows, piece.target)
    for row, total in extra:
        k = k + np.outer(row, row)
        right = right + total * row
    size = np.sqrt(np.maximum(np.diag(k), 1e-300))
    k, right = k / np.outer(size, size), right / size
    lam = solve_nnls(k, right)
    return _refine(columns, piece, extra, k, size, lam) / size


def _refine(
    columns: Matrix,
    piece: Piece,
    extra: list[tuple[Array, float]],
    gram: Array,
    size: Array,
    lam: Array,
) -> Array:
    """Corrected semi-normal equations on the active set: undoes the squared condition number."""
    on = np.flatnonzero(lam > 0)
    if len(on) == 0:
        return lam
    factor = cho_factor(gram[np.ix_(on, on)] + _RIDGE * np.eye(len(on)))
    for _ in range(3 if columns.dtype == np.float64 else 1):
        plain = lam / size
        residual = piece.target - apply(columns, plain)[piece.rows]
        right = _correlate(columns, piece.rows, residual)
        for row, total in extra:
            right = right + (total - row @ plain) * row
        moved = lam.copy()
        moved[on] += cho_solve(factor, (right / size)[on])
        if (moved < 0).any() or not np.isfinite(moved).all():
            break
        lam = moved
    return lam


def solve_nnls(gram: Array, right: Array, *, max_iter: int = 200) -> Array:
    """`min ½ λᵀKλ − rᵀλ over λ >= 0` by block principal pivoting, for hundreds of unknowns.

    SciPy's active-set solver moves one unknown at a time; here all that violate their sign move
    at once, and only the last one if that does not lower their number (which ends surely).

    Args:
        gram: (m, m) positive semi-definite, with a unit diagonal.
        right: (m,).
        max_iter: after so many exchanges SciPy's solver takes over.

    Source: Júdice & Pires 1994; Kim & Park, SIAM J. Sci. Comput. 2011.
    """
    m = len(right)
    k = gram + _RIDGE * np.eye(m)
    scale = float(np.abs(right).max(initial=0.0))
    passive = np.zeros(m, dtype=bool)
    lam, slope = np.zeros(m), -right
    fewest, patience = m + 1, 3
    for _ in range(max_iter):
        wrong = (passive & (lam < 0)) | (~passive & (slope < -1e-13 * scale))
        count = int(wrong.sum())
        if count == 0:
            return lam
        if count < fewest:
            fewest, patience = count, 3
        elif patience > 0:
            patience -= 1
        else:
            last = np.flatnonzero(wrong)[-1]
            wrong = np.zeros(m, dtype=bool)
            wrong[last] = True
        passive ^= wrong
        on = np.flatnonzero(passive)
        lam = np.zeros(m)
        try:
            lam[on] = cho_solve(cho_factor(k[np.ix_(on, on)]), right[on])
        except np.linalg.LinAlgError:
            break
        slope = k @ lam - right
        slope[on] = 0.0
    values, vectors = np.linalg.eigh(k)
    keep = values > 1e-13 * values[-1]
    root = np.sqrt(values[keep])
    return _nnls(root[:, None] * vectors[:, keep].T, (vectors[:, keep].T @ right) / root)


def _nnls(a: Array, b: Array) -> Array:
    try:
        return np.asarray(nnls(a, b)[0], dtype=np.float64)
    except RuntimeError:  # the iteration limit of the active-set method
        return np.asarray(lsq_linear(a, b, bounds=(0, np.inf), tol=1e-14).x, dtype=np.float64)


def _gram(columns: Matrix, rows: NDArray[np.intp]) -> Array:
    whole = len(rows) == columns.shape[1]
    if whole and columns.dtype == np.float64:
        product: Array = columns @ columns.T
        return product
    out = np.zeros((len(columns), len(columns)))
    for i in range(0, len(rows), _CHUNK):
        part = columns[:, i : i + _CHUNK] if whole else columns[:, rows[i : i + _CHUNK]]
        wide = part.astype(np.float64)
        out += wide @ wide.T
    return out


def _correlate(columns: Matrix, rows: NDArray[np.intp], values: Array) -> Array:
    if len(rows) == columns.shape[1] and (np.diff(rows) == 1).all():
        if columns.dtype == np.float64:
            product: Array = columns @ values
            return product
        out = np.zeros(len(columns))
        for i in range(0, len(values), _CHUNK):
            out += columns[:, i : i + _CHUNK].astype(np.float64) @ values[i : i + _CHUNK]
        return out
    spread = np.zeros(columns.shape[1])
    spread[rows] = values
    return _correlate(columns, np.arange(columns.shape[1]), spread)

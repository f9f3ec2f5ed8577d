"""The bordered linear system of a Newton iteration, by GMRES on products with J and H.

With D = u'(x), M = mu/T and the barrier's B, in the scaled unknowns `D^(1/2) dx`, `M^(-1/2) dmu`
and dkappa, the matrix is

    [ I - s H s    -s J' r     0    ]
    [ r B J s       I        -r/|r| ]      s = D^(-1/2),  r = M^(1/2)
    [ clock                   0     ]

The preconditioner drops H: what is left is the low-rank part, solved through the n x n matrix
`I + r B J D^-1 J' r` of the margins with weight, and the identity.  J acts fresh in it; only the
n x n Gram matrix is kept from earlier, and a change of J by a share c moves the eigenvalues by c.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.products import Products

_STIFF = 1e-3  # a margin whose share of the matrix stays below this needs no Schur complement
MAX_ITERATIONS = 40


@dataclass(frozen=True)
class MarginGram:
    """`J diag(1/D) J'` of the margins `rows` (a,)."""

    rows: NDArray[np.int64]
    matrix: Array

    @classmethod
    def build(cls, products: Products, mobility: Array, pull: Array) -> MarginGram:
        """For margins whose stiffness `pull` (n,), `M_i (J D^-1 J')_ii`, is not negligible."""
        rows = np.flatnonzero(pull > _STIFF)
        return cls(rows, products.gram(mobility, rows) if len(rows) else np.zeros((0, 0)))


class KrylovSystem:
    """The system at one iterate; `solve` returns `dx, dmu, dkappa, du` and what is left over."""

    def __init__(
        self,
        products: Products,
        slope: Array,
        floor: Array,
        stiffness: Array,
        bend: Array | None,
        clock: Array | None,
        gram: MarginGram,
    ) -> None:
        self.products, self.bend = products, bend
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            self.s = np.minimum(1.0 / np.sqrt(np.maximum(slope, floor) + 1e-290), 1e100)
            self.lead = np.where(slope > 1e280, 1.0, slope * self.s**2)
        self.r = np.sqrt(stiffness)
        self.d, self.n = len(self.s), len(self.r)
        self.edge = self.r / max(float(np.linalg.norm(self.r)), 1e-300)
        zero = np.zeros(self.n)
        if clock is None:
            row = np.concatenate([np.zeros(self.d), self.r])
        else:
            push, hess = products.tangent(clock, zero)
            row = np.concatenate([self.s * hess, self.r * push])
        self.size = max(float(np.linalg.norm(row)), 1e-300)
        self.row = row / self.size
        self._factor(gram)
        self.border = self._core(np.concatenate([np.zeros(self.d), self.edge]))
        self.pivot = float(self.row @ self.border)
        self.iterations = 0

    def _factor(self, gram: MarginGram) -> None:
        self.rows, self.lu = gram.rows, None
        if len(gram.rows):
            a = gram.matrix
            if self.bend is not None:
                a = self.bend[np.ix_(gram.rows, gram.rows)] @ a
            part = self.r[gram.rows]
            self.lu = lu_factor(
                np.eye(len(part)) + part[:, None] * a * part, check_finite=False, overwrite_a=True
            )

    def _bent(self, c: Array) -> Array:
        return c if self.bend is None else self.bend @ c

    def _core(self, y: Array) -> Array:
        """Inverse of the matrix without H and without borders."""
        z, m = y[: self.d], y[self.d :]
        m = m - self.r * self._bent(self.products.push(self.s * z))
        if self.lu is not None:
            m[self.rows] = lu_solve(self.lu, m[self.rows], check_finite=False)
        z = z + self.s * self.products.pull(self.r * m)
        return np.concatenate([z, m])

    def _precondition(self, y: Array) -> Array:
        z = self._core(y[:-1])
        k = (y[-1] - float(self.row @ z)) / self.pivot
        return np.append(z + k * self.border, k)

    def _apply(self, w: Array) -> Array:
        x, m = w[: self.d], w[self.d : -1]
        push, pull = self.products.tangent(self.s * x, self.r * m)
        top = self.lead * x - self.s * pull
        low = self.r * self._bent(push) + m - w[-1] * self.edge
        return np.concatenate([top, low, [float(self.row @ w[:-1])]])

    def solve(
        self, a: Array, b: Array, clock: float, tol: float
    ) -> tuple[Array, Array, float, Array, float]:
        """For right-hand sides a (d,), b (n,) and the clock's; the relative residual comes last.

        The rows of the margins are stiff, scaled by up to `max r`; what is left over is compared
        with their unscaled size, since the rows of x feel it undivided.
        """
        top, low, end = self.s * a, self.r * b, clock / self.size
        y = np.concatenate([top, low, [end]])
        stiff = max(1.0, float(self.r.max()))
        size = float(np.hypot(np.hypot(np.linalg.norm(top), np.linalg.norm(low) / stiff), end))
        share = size / max(float(np.linalg.norm(y)), 1e-300)
        goal = max(tol * share, 1e-12)
        w, left, count = gmres(self._apply, self._precondition, y, goal, MAX_ITERATIONS)
        left *= tol / goal
        self.iterations += count
        dx, dmu = self.s * w[: self.d], self.r * w[self.d : -1]
        du = a + self.products.tangent(dx, dmu)[1]
        kappa = float(w[-1]) / max(float(np.linalg.norm(self.r)), 1e-300)
        return dx, dmu, kappa, du, left


def gmres(
    apply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    b: Array,
    tol: float,
    limit: int,
) -> tuple[Array, float, int]:
    """Right-preconditioned GMRES from zero, with the preconditioned vectors kept.

    Returns:
        The solution, its residual relative to `|b|`, and the number of iterations.

    Source: Saad, SIAM J. Sci. Comput. 14 (1993), the flexible variant.
    """
    size = float(np.linalg.norm(b))
    if size == 0.0 or not np.isfinite(size):
        return np.zeros_like(b), 0.0 if size == 0.0 else np.inf, 0
    basis, images = [b / size], []
    h = np.zeros((limit + 1, limit))
    coefficients, left = np.zeros(0), 1.0
    for k in range(limit):
        images.append(precondition(basis[k]))
        w = apply(images[k])
        for _ in range(2):  # twice is enough
            for j, v in enumerate(basis):
                c = float(v @ w)
                h[j, k] += c
                w = w - c * v
        h[k + 1, k] = np.linalg.norm(w)
        if not np.isfinite(h[: k + 2, k]).all():
            return np.zeros_like(b), np.inf, k + 1
        target: Any = np.zeros(k + 2)
        target[0] = size
        coefficients = np.linalg.lstsq(h[: k + 2, : k + 1], target, rcond=None)[0]
        left = float(np.linalg.norm(target - h[: k + 2, : k + 1] @ coefficients)) / size
        if left <= tol or h[k + 1, k] <= 1e-14 * size:
            break
        basis.append(w / h[k + 1, k])
    return sum((c * z for c, z in zip(coefficients, images, strict=True)), 0.0 * b), left, k + 1

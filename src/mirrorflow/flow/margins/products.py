"""Products with the derivatives of the margins at a point, without an n x d or d x d array."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array


class Products:
    """`q` (n,) at a point and products with `J = dq/dx` (n, d) and `H = sum_i mu_i hess q_i`.

    `weigh` sets the mu of H.  Nothing larger than one layer's activations, n x width, is kept.
    """

    q: Array

    def weigh(self, mu: Array) -> None:
        raise NotImplementedError

    def push(self, v: Array) -> Array:
        """`J v`, shape (n,)."""
        raise NotImplementedError

    def pull(self, c: Array) -> Array:
        """`J' c`, shape (d,)."""
        raise NotImplementedError

    def tangent(self, v: Array, c: Array) -> tuple[Array, Array]:
        """`J v` (n,) and `H v + J' c` (d,): one forward and one reverse pass."""
        raise NotImplementedError

    def gram(self, weight: Array, rows: NDArray[np.int64]) -> Array:
        """`J diag(weight) J'` on some rows (indices, (a,)), shape (a, a)."""
        raise NotImplementedError

    def diagonal(self, weight: Array) -> Array:
        """Its diagonal on all rows, shape (n,)."""
        raise NotImplementedError

    def squares(self, c: Array) -> Array:
        """`sum_i c_i J_ik^2`, shape (d,)."""
        raise NotImplementedError

"""Products with the derivatives of the margins at a point, without an n x d or d x d array."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirrorflow.flow.scaled import Array

if TYPE_CHECKING:
    from mirrorflow.flow.margins import Margins


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


class DenseProducts(Products):
    """From the Jacobian and the Hessian blocks themselves, for margins that offer nothing else."""

    def __init__(self, margins: Margins, x: Array) -> None:
        self.margins, self.x = margins, x
        self.q, self.jac = margins.jacobian(x)
        self.hess: Array | None = None

    def weigh(self, mu: Array) -> None:
        self.hess = self.margins.curvature(self.x, mu)

    def push(self, v: Array) -> Array:
        return self.jac @ v

    def pull(self, c: Array) -> Array:
        return self.jac.T @ c

    def tangent(self, v: Array, c: Array) -> tuple[Array, Array]:
        if self.hess is None:
            raise RuntimeError("weigh(mu) comes first")
        b, k = self.margins.blocks
        return self.jac @ v, (self.hess @ v.reshape(b, k, 1)).ravel() + self.jac.T @ c

    def gram(self, weight: Array, rows: NDArray[np.int64]) -> Array:
        part = self.jac[rows]
        return (part * weight) @ part.T

    def diagonal(self, weight: Array) -> Array:
        return np.einsum("ij,ij,j->i", self.jac, self.jac, weight)

    def squares(self, c: Array) -> Array:
        return np.square(self.jac).T @ c

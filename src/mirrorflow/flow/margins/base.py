"""What the integrator needs of a network: margins, their Jacobian, and the weighted Hessian."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
# ruff: noqa: ARG002  one interface: some maps need x, some u
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.products import Products

LARGE = 20_000_000  # numbers in a Jacobian beyond which none is formed
_TIP = 1e-8


def cone_tip(w: Array, x: Array) -> float:
    """The size below which a unit's cone tip `w = 0` is rounded off, for weights `w` (m, k) of one
    layer out of all weights `x`: relative to the layer, since under several maps layers grow apart
    like powers of the time, and the balance of a unit sees a tip of another layer's size.
    """
    return _TIP * (float(np.abs(w).max()) or float(np.abs(x).max()))


class Margins:
    """Margins `q` (n,) of a network as a function of its flat parameters (d,).

    `degree` is L in `q(c x) = c^L q(x)`.  The coordinates may be permuted for the sake of block
    structure: `order[k]` is the place of internal coordinate k in `net.parameters()`.  `point`
    (n,) says which data point a margin belongs to, for losses that couple the margins of a point.
    """

    degree: float
    size: int
    blocks: tuple[int, int]
    order: NDArray[np.int64]
    point: NDArray[np.int64]
    junctions: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []  # noqa: RUF012
    kinked = False  # True: set-valued derivatives, whose modes Newton asks for (flow/kinks.py)

    def values(self, x: Array) -> Array:
        raise NotImplementedError

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        """Margins (n,) and their gradients (n, d)."""
        raise NotImplementedError

    def pull(self, x: Array, c: Array) -> Array:
        """`J(x)' c`, shape (d,) from (n,)."""
        return np.asarray(self.jacobian(x)[1].T @ c)

    def push(self, x: Array, v: Array) -> Array:
        """`J(x) v`, shape (n,) from (d,)."""
        return np.asarray(self.jacobian(x)[1] @ v)

    def linearise(self, x: Array) -> Products:
        """Products with the derivatives at x."""
        return DenseProducts(self, x)

    def curvature(self, x: Array, mu: Array) -> Array:
        """Diagonal blocks (B, k, k), B k = d, of `sum_i mu_i hess q_i`: exact, zero elsewhere."""
        raise NotImplementedError

    def begin(self, x: Array) -> None:
        """Set the modes of kinks by the state `x`, before a step."""

    def settle(self, line: Array, x: Array, mu: Array) -> bool:
        """Update the modes after an iteration from its linear prediction `line` and its result `x`.

        True if a mode changed, so that the iteration has to go on.
        """
        return False

    def beyond(self, x: Array, mu: Array) -> Array:
        """What the linear sliding branches add to `J' mu`, shape (d,)."""
        return np.zeros(self.size)

    def attach_junctions(
        self,
        incoming: list[NDArray[np.int64]],
        outgoing: list[NDArray[np.int64]],
        degrees: list[float],
    ) -> None:
        """Say which coordinates come into and go out of which hidden unit, junction by junction."""
        self.junctions = list(zip(incoming, outgoing, degrees, strict=True))

    def balance_layers(self) -> None:
        """Balance whole layers only: maps that couple the entries of a tensor know no unit."""
        self.junctions = [
            (np.minimum(into, 0), np.minimum(out, 0), degree)
            for into, out, degree in self.junctions
        ]

    def imbalance(self, energy: Array) -> Array:
        """`sum_in e / k - sum_out e` of every hidden unit, which the flow conserves."""
        parts = []
        for into, out, degree in self.junctions:
            units = int(into.max()) + 1
            parts.append(
                np.bincount(into[into >= 0], energy[into >= 0], units) / degree
                - np.bincount(out[out >= 0], energy[out >= 0], units)
            )
        return np.concatenate(parts) if parts else np.zeros(0)


class LinearMargins(Margins):
    """`q = A x` with A (n, d)."""

    degree = 1.0

    def __init__(self, a: Array) -> None:
        self.a = a
        self.size = a.shape[1]
        self.blocks = (self.size, 1)
        self.order = np.arange(self.size)
        self.point = np.arange(len(a))

    def values(self, x: Array) -> Array:
        return np.asarray(self.a @ x)

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        return self.a @ x, self.a

    def curvature(self, x: Array, mu: Array) -> Array:
        return np.zeros((self.size, 1, 1))


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

"""Derivative products of any module, by reverse mode only: two passes each."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad

from mirrorflow.diagnostics.gradients import Rows, margin_gradients
from mirrorflow.flow.krylov_products import Products
from mirrorflow.flow.scaled import Array

if TYPE_CHECKING:
    from mirrorflow.flow.network import ModuleMargins

_NUMBERS = 20_000_000  # entries of the Jacobian that are held at a time


class ModuleProducts(Products):
    """At `x` (d,), through the margins as a function of the flat parameters."""

    def __init__(self, margins: ModuleMargins, x: Array) -> None:
        self.m, self.theta = margins, torch.from_numpy(x)
        self.q = margins.values(x)
        self.mu = torch.zeros(len(self.q), dtype=torch.float64)

    def weigh(self, mu: Array) -> None:
        self.mu = torch.from_numpy(mu)

    def pull(self, c: Array) -> Array:
        return self.m.pull(self.theta.numpy(), c)

    def push(self, v: Array) -> Array:
        return self.m.push(self.theta.numpy(), v)

    def tangent(self, v: Array, c: Array) -> tuple[Array, Array]:
        direction, weights = torch.from_numpy(v), torch.from_numpy(c)

        def along(theta: Tensor, mu: Tensor) -> Tensor:
            return self.m.gradient(theta, mu) @ direction + weights @ self.m.function(theta)

        hv, jv = grad(along, argnums=(0, 1))(self.theta, self.mu)
        return jv.detach().numpy(), hv.detach().numpy()

    def _jacobian(self, rows: NDArray[np.int64]) -> Array:
        at = torch.from_numpy(rows)
        wanted = Rows(self.m.x[torch.from_numpy(self.m.point[rows])], self.m.heads[at])
        with self.m.smoothed():
            return margin_gradients(self.m.net, self.m.unflatten(self.theta), wanted, np.float64)

    def _strips(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        step = max(1, _NUMBERS // len(self.theta))
        return [rows[k : k + step] for k in range(0, len(rows), step)]

    def gram(self, weight: Array, rows: NDArray[np.int64]) -> Array:
        strips, out = self._strips(rows), np.empty((len(rows), len(rows)))
        ends = np.cumsum([0, *(len(s) for s in strips)])
        for i, first in enumerate(strips):
            left = self._jacobian(first)
            own = slice(int(ends[i]), int(ends[i + 1]))
            out[own, own] = (left * weight) @ left.T
            left *= weight
            for j in range(i + 1, len(strips)):
                other = slice(int(ends[j]), int(ends[j + 1]))
                out[own, other] = left @ self._jacobian(strips[j]).T
                out[other, own] = out[own, other].T
        return out

    def diagonal(self, weight: Array) -> Array:
        strips = self._strips(np.arange(len(self.q)))
        return np.concatenate([(self._jacobian(s) ** 2) @ weight for s in strips])

    def squares(self, c: Array) -> Array:
        strips = self._strips(np.arange(len(self.q)))
        return sum((np.square(self._jacobian(s)).T @ c[s] for s in strips), np.zeros(self.m.size))

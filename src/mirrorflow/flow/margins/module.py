"""Margins of any homogeneous module, by reverse-mode differentiation only."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import grad, jacrev

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.gradients import Rows, margin_gradients
from mirrorflow.flow.margins.base import Margins
from mirrorflow.flow.margins.products import Products
from mirrorflow.flow.margins.smoothed_relu import smoothed_relu
from mirrorflow.losses import pairwise_margins
from mirrorflow.nets.evaluate import call

_NUMBERS = 20_000_000  # entries of the Jacobian that are held at a time


class ModuleMargins(Margins):
    """Margins of any homogeneous module, by reverse-over-reverse differentiation; dense Hessian."""

    def __init__(
        self, net: nn.Module, x: Tensor, y: Tensor, degree: float, smoothing: float
    ) -> None:
        self.degree, self.smoothing = degree, smoothing
        names = [name for name, _ in net.named_parameters()]
        shapes = [p.shape for _, p in net.named_parameters()]
        sizes = [p.numel() for _, p in net.named_parameters()]
        self.size = sum(sizes)
        self.blocks = (1, self.size)
        self.order = np.arange(self.size)

        def unflatten(theta: Tensor) -> dict[str, Tensor]:
            parts = torch.split(theta, sizes)
            return {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}

        def q(theta: Tensor) -> Tensor:
            with self.smoothed():
                out: Tensor = call(net, unflatten(theta), x)
            return pairwise_margins(out, y).flatten()

        with torch.no_grad():
            classes = net(x).reshape(len(x), -1).shape[1]
        heads, self.point = output_heads(y, None if classes == 1 else classes)
        self.net, self.x, self.unflatten, self.function = net, x, unflatten, q
        self.heads = torch.from_numpy(heads[:, 0] if classes == 1 else heads)
        self._jac: Callable[[Tensor], Tensor] = jacrev(q)

        def weighted(theta: Tensor, c: Tensor) -> Tensor:
            return c @ q(theta)

        self.gradient: Callable[[Tensor, Tensor], Tensor] = grad(weighted)
        self._hess: Callable[[Tensor, Tensor], Tensor] = jacrev(grad(weighted))

    def smoothed(self) -> AbstractContextManager[object]:
        """The context in which the module is evaluated."""
        return smoothed_relu(self.smoothing) if self.smoothing else nullcontext()

    def values(self, x: Array) -> Array:
        with torch.no_grad():
            out: Array = self.function(torch.from_numpy(x)).numpy()
        return out

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        theta = torch.from_numpy(x)
        return self.values(x), self._jac(theta).detach().numpy()

    def pull(self, x: Array, c: Array) -> Array:
        out: Array = self.gradient(torch.from_numpy(x), torch.from_numpy(c)).detach().numpy()
        return out

    def push(self, x: Array, v: Array) -> Array:
        # J v is the gradient of <J' c, v> in c: two reverse passes, and no forward mode
        theta, direction = torch.from_numpy(x), torch.from_numpy(v)
        zero = torch.zeros(len(self.point), dtype=torch.float64)
        out: Array = grad(lambda c: self.gradient(theta, c) @ direction)(zero).detach().numpy()
        return out

    def linearise(self, x: Array) -> ModuleProducts:
        return ModuleProducts(self, x)

    def curvature(self, x: Array, mu: Array) -> Array:
        out: Array = self._hess(torch.from_numpy(x), torch.from_numpy(mu)).detach().numpy()
        return out[None]


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


def as_array(t: Tensor) -> Array:
    out: Array = t.detach().to("cpu", torch.float64).numpy().copy()
    return out


def output_heads(y: Tensor, classes: int | None) -> tuple[Array, NDArray[np.int64]]:
    """Output adjoints (n', C) of the margins and the point (n',) of each, as `pairwise_margins`."""
    labels = as_array(y)
    if classes is None:
        return labels[:, None], np.arange(len(labels))
    right = labels.astype(np.int64)
    others = np.array([[k for k in range(classes) if k != c] for c in right])
    eye = np.eye(classes)
    heads = eye[right][:, None] - eye[others]
    return heads.reshape(-1, classes), np.repeat(np.arange(len(right)), classes - 1)

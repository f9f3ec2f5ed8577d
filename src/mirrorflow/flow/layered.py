"""Analytic derivatives of fully connected nets of any depth, in NumPy.

The Hessian of `sum_i mu_i q_i` is taken forward over reverse, one batch of tangents a layer, and
only on and above the diagonal of layers; the rest is symmetry.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return,return-value"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.flow.krylov_layers import LayeredProducts
from mirrorflow.flow.margins import Margins, cone_tip
from mirrorflow.flow.scaled import Array


@dataclass(frozen=True)
class _Layer:
    """Forward values of a hidden layer; derivatives of `h(z, s)`, s = eps^2 |x|^2 |w|^2."""

    inputs: Array
    a: Array
    b: Array
    h: Array
    z1: Array
    s1: Array
    zz: Array
    zs: Array
    ss: Array


def activate(kind: str, z: Array, s: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """`h, h_z, h_s, h_zz, h_zs, h_ss` of one activation, elementwise."""
    zero = np.zeros_like(z)
    if kind == "linear":
        return z, np.ones_like(z), zero, zero, zero, zero
    if kind == "relu2":
        up = np.maximum(z, 0.0)
        return up * up, 2.0 * up, zero, 2.0 * (z > 0), zero, zero
    r = np.maximum(np.sqrt(z * z + s), 1e-95)  # zero only in a net of zeros
    low = z < 0
    gap = np.where(low, r - z, 1.0)  # for z < 0, z + r cancels: use s / (r - z)
    h = np.where(low, 0.5 * s / gap, 0.5 * (z + r))
    inv = 1.0 / r
    z1 = np.where(low, 0.5 * s * inv / gap, 0.5 * (1.0 + z * inv))
    i3 = 0.25 * inv**3
    return h, z1, 0.25 * inv, 2.0 * s * i3, -z * i3, -0.5 * i3


class LayeredMargins(Margins):
    """Margins of `W_D s(W_{D-1} ... s(W_1 x))`; `heads` (n, C) is the output adjoint of each."""

    def __init__(
        self,
        x: Array,
        heads: Array,
        point: NDArray[np.int64],
        shapes: list[tuple[int, int]],
        kind: str,
        eps: float,
        degree: float,
    ) -> None:
        self.x, self.heads, self.point, self.shapes = x, heads, point, shapes
        self.kind, self.eps2, self.degree = (
            kind,
            (0.0 if kind in ("relu2", "linear") else eps**2),
            degree,
        )
        ends = np.cumsum([0, *(a * b for a, b in shapes)])
        self.slots = [slice(int(i), int(j)) for i, j in zip(ends[:-1], ends[1:], strict=True)]
        self.size = int(ends[-1])
        self.blocks = (1, self.size)
        self.order = np.arange(self.size)

    def _weights(self, x: Array) -> list[Array]:
        return [x[s].reshape(shape) for s, shape in zip(self.slots, self.shapes, strict=True)]

    def _forward(self, x: Array) -> tuple[list[Array], list[_Layer], Array]:
        weights, layers, h = self._weights(x), [], self.x
        for w in weights[:-1]:
            a, b = self.eps2 * (h * h).sum(1), (w * w).sum(1) + cone_tip(w, x) ** 2
            layers.append(_Layer(h, a, b, *activate(self.kind, h @ w.T, a[:, None] * b)))
            h = layers[-1].h
        return weights, layers, h

    def values(self, x: Array) -> Array:
        weights, _, h = self._forward(x)
        return np.asarray(((h @ weights[-1].T)[self.point] * self.heads).sum(1))

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        weights, layers, h = self._forward(x)
        q = ((h @ weights[-1].T)[self.point] * self.heads).sum(1)
        n = len(q)
        out = np.empty((n, self.size))
        out[:, self.slots[-1]] = (self.heads[:, :, None] * h[self.point][:, None]).reshape(n, -1)
        g = self.heads @ weights[-1]
        for k in range(len(layers) - 1, -1, -1):
            layer, w = layers[k], weights[k]
            zb = g * layer.z1[self.point]
            sb = g * layer.s1[self.point]
            inputs = layer.inputs[self.point]
            own = 2.0 * sb * layer.a[self.point, None]
            part = zb[:, :, None] * inputs[:, None] + own[:, :, None] * w
            out[:, self.slots[k]] = part.reshape(n, -1)
            if k:
                g = zb @ w + (2.0 * self.eps2 * (sb @ layer.b))[:, None] * inputs
        return q, out

    def pull(self, x: Array, c: Array) -> Array:
        weights, layers, h = self._forward(x)
        top = np.zeros((len(self.x), self.heads.shape[1]))
        np.add.at(top, self.point, c[:, None] * self.heads)
        out = np.empty(self.size)
        out[self.slots[-1]] = (top.T @ h).ravel()
        g = top @ weights[-1]
        for k in range(len(layers) - 1, -1, -1):
            layer, w = layers[k], weights[k]
            zb, sb = g * layer.z1, g * layer.s1
            own = 2.0 * (sb * layer.a[:, None]).sum(0)
            out[self.slots[k]] = (zb.T @ layer.inputs + own[:, None] * w).ravel()
            g = zb @ w + (2.0 * self.eps2 * (sb @ layer.b))[:, None] * layer.inputs
        return out

    def push(self, x: Array, v: Array) -> Array:
        return self.linearise(x).push(v)

    def linearise(self, x: Array) -> LayeredProducts:
        return LayeredProducts(self, x)

    def curvature(self, x: Array, mu: Array) -> Array:
        weights, layers, _ = self._forward(x)
        top = np.zeros((len(self.x), self.heads.shape[1]))
        np.add.at(top, self.point, mu[:, None] * self.heads)
        adjoints, g = [], top @ weights[-1]
        for k in range(len(layers) - 1, -1, -1):
            layer = layers[k]
            zb, sb = g * layer.z1, g * layer.s1
            adjoints.append((g, zb, sb))
            g = zb @ weights[k] + (2.0 * self.eps2 * (sb @ layer.b))[:, None] * layer.inputs
        adjoints.reverse()
        hess = np.zeros((self.size, self.size))
        for first in range(len(layers)):
            self._rows(first, weights, layers, adjoints, top, hess)
        lower = np.tril_indices(self.size, -1)
        hess[lower] = hess.T[lower]
        return hess[None]

    def _rows(
        self,
        first: int,
        weights: list[Array],
        layers: list[_Layer],
        adjoints: list[tuple[Array, Array, Array]],
        top: Array,
        hess: Array,
    ) -> None:
        """Rows of the Hessian for the weights of one hidden layer, columns from that layer on."""
        m, k = self.shapes[first]
        count, n = m * k, len(self.x)
        layer, w = layers[first], weights[first]
        unit = np.arange(m)
        own_z = np.zeros((m, k, n, m))
        own_z[unit, :, :, unit] = layer.inputs.T
        own_b = np.zeros((m, k, m))
        own_b[unit, :, unit] = 2.0 * w
        dz, db = own_z.reshape(count, n, m), own_b.reshape(count, m)
        da = np.zeros((count, n))
        dh_in = np.zeros((count, 0, 0))
        tangents = []
        for l in range(first, len(layers)):  # noqa: E741  the layer index of the theory
            layer = layers[l]
            if l > first:
                dz = dh_in @ weights[l].T
                da = 2.0 * self.eps2 * (layer.inputs * dh_in).sum(2)
                db = np.zeros((count, len(weights[l])))
            ds = da[:, :, None] * layer.b + layer.a[:, None] * db[:, None, :]
            dh = layer.z1 * dz + layer.s1 * ds
            tangents.append((dz, ds, da, db, dh_in))
            dh_in = dh
        # the last layer is linear: its block is the change of the features
        rows = self.slots[first]
        last = np.einsum("ic,pij->pcj", top, dh_in).reshape(count, -1)
        hess[rows, self.slots[-1]] = last
        dg = np.zeros((count, n, len(weights[len(layers) - 1])))
        for l in range(len(layers) - 1, first - 1, -1):  # noqa: E741
            layer, w = layers[l], weights[l]
            g, zb, sb = adjoints[l]
            dz, ds, da, db, dh_in = tangents[l - first]
            dzb = dg * layer.z1 + g * (layer.zz * dz + layer.zs * ds)
            dsb = dg * layer.s1 + g * (layer.zs * dz + layer.ss * ds)
            own = np.einsum("i,pij->pj", layer.a, dsb) + da @ sb
            part = np.swapaxes(dzb, 1, 2) @ layer.inputs + 2.0 * own[:, :, None] * w
            if l > first:
                part += zb.T @ dh_in
            else:
                # dW is one entry: 2 B_b dW
                diag = part.reshape(m, k, m, k)
                diag[np.arange(m)[:, None], np.arange(k), np.arange(m)[:, None], np.arange(k)] += (
                    2.0 * (sb * layer.a[:, None]).sum(0)
                )[:, None]
            hess[rows, self.slots[l]] = part.reshape(count, -1)
            if l > first:
                e = self.eps2
                dab = e * (dsb @ layer.b + np.einsum("ij,pj->pi", sb, db))
                dg = dzb @ w + 2.0 * dab[:, :, None] * layer.inputs
                dg += 2.0 * e * (sb @ layer.b)[:, None] * dh_in

"""Analytic derivatives of fully connected nets of any depth, in NumPy.

The Hessian of `sum_i mu_i q_i` is taken forward over reverse, one batch of tangents a layer, and
only on and above the diagonal of layers; the rest is symmetry.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return,return-value"
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.base import Margins, cone_tip
from mirrorflow.flow.margins.products import Products

_COLUMNS = 4096  # of a Jacobian strip that is held at a time


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


@dataclass(frozen=True)
class _Adjoint:
    """Derivatives of `sum_i mu_i q_i` by a layer's output, by z and by s, (n, m) each."""

    g: Array
    z: Array
    s: Array


@dataclass(frozen=True)
class _Tangent:
    """Changes of a layer's z, s, of the two factors of s, and of its inputs (None: the data)."""

    z: Array
    s: Array
    a: Array
    b: Array
    inputs: Array | None


class LayeredProducts(Products):
    """The forward pass at `x` is made once; `weigh` adds the reverse pass for mu."""

    def __init__(self, margins: LayeredMargins, x: Array) -> None:
        self.m = margins
        self.weights, self.layers, self.h = margins._forward(x)
        self.q = ((self.h @ self.weights[-1].T)[margins.point] * margins.heads).sum(1)
        self.top: Array | None = None
        self.adjoints: list[_Adjoint] = []

    def _top(self, c: Array) -> Array:
        """Adjoints (n, C) of the outputs of weights c on the margins."""
        m = self.m
        each = c[:, None] * m.heads
        if len(m.point) == len(m.x):
            return each
        out = np.zeros((len(m.x), m.heads.shape[1]))
        np.add.at(out, m.point, each)
        return out

    def _reverse(self, top: Array) -> list[_Adjoint]:
        """From the last hidden layer down to the first, in the order of the layers."""
        found, g = [], top @ self.weights[-1]
        for k in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[k]
            one = _Adjoint(g, g * layer.z1, g * layer.s1)
            found.append(one)
            if k:
                g = one.z @ self.weights[k]
                g += (2.0 * self.m.eps2 * (one.s @ layer.b))[:, None] * layer.inputs
        return found[::-1]

    def weigh(self, mu: Array) -> None:
        self.top = self._top(mu)
        self.adjoints = self._reverse(self.top)

    def push(self, v: Array) -> Array:
        return self._forward(self.m._weights(v))[-1]

    def _forward(self, dw: list[Array]) -> tuple[list[_Tangent], Array | None, Array]:
        """Tangents of every hidden layer, of the last features (None: none), of the margins."""
        e2, dh = self.m.eps2, None
        tangents: list[_Tangent] = []
        for layer, w, d in zip(self.layers, self.weights, dw, strict=False):
            dz = layer.inputs @ d.T
            db = 2.0 * (w * d).sum(1)
            ds = layer.a[:, None] * db
            da = np.zeros(len(dz))
            if dh is not None:
                dz += dh @ w.T
                da = 2.0 * e2 * (layer.inputs * dh).sum(1)
                ds += da[:, None] * layer.b
            tangents.append(_Tangent(dz, ds, da, db, dh))
            dh = layer.z1 * dz + layer.s1 * ds
        out = self.h @ dw[-1].T
        if dh is not None:
            out += dh @ self.weights[-1].T
        return tangents, dh, (out[self.m.point] * self.m.heads).sum(1)

    def pull(self, c: Array) -> Array:
        top = self._top(c)
        out = np.empty(self.m.size)
        out[self.m.slots[-1]] = (top.T @ self.h).ravel()
        for k, adjoint in enumerate(self._reverse(top)):
            layer, w = self.layers[k], self.weights[k]
            own = 2.0 * (layer.a @ adjoint.s)
            out[self.m.slots[k]] = (adjoint.z.T @ layer.inputs + own[:, None] * w).ravel()
        return out

    def tangent(self, v: Array, c: Array) -> tuple[Array, Array]:
        if self.top is None:
            raise RuntimeError("weigh(mu) comes first")
        e2, dw = self.m.eps2, self.m._weights(v)
        tangents, dh, dq = self._forward(dw)
        top, dtop = self.top, self._top(c)
        out = np.empty(self.m.size)
        last = dtop.T @ self.h
        if dh is not None:
            last += top.T @ dh
        out[self.m.slots[-1]] = last.ravel()
        dg = top @ dw[-1] + dtop @ self.weights[-1]
        for k in range(len(self.layers) - 1, -1, -1):
            layer, w, adjoint = self.layers[k], self.weights[k], self.adjoints[k]
            t = tangents[k]
            dzb = dg * layer.z1 + adjoint.g * (layer.zz * t.z + layer.zs * t.s)
            dsb = dg * layer.s1 + adjoint.g * (layer.zs * t.z + layer.ss * t.s)
            part = dzb.T @ layer.inputs
            part += 2.0 * (layer.a @ dsb + t.a @ adjoint.s)[:, None] * w
            part += 2.0 * (layer.a @ adjoint.s)[:, None] * dw[k]
            if t.inputs is not None:
                part += adjoint.z.T @ t.inputs
                dg = dzb @ w + adjoint.z @ dw[k]
                dg += (2.0 * e2 * (dsb @ layer.b + adjoint.s @ t.b))[:, None] * layer.inputs
                dg += (2.0 * e2 * (adjoint.s @ layer.b))[:, None] * t.inputs
            out[self.m.slots[k]] = part.ravel()
        return dq, out

    def _parts(
        self, rows: NDArray[np.int64], weight: Array
    ) -> Iterator[tuple[Array, Array, Array, Array, Array]]:
        """Layer by layer, last first: the rows of J for unit a are `z_ja x_j + own_ja w_a`."""
        point, heads = self.m.point[rows], self.m.heads[rows]
        weights = self.m._weights(weight)
        yield heads, self.h[point], np.zeros_like(heads), self.weights[-1], weights[-1]
        g = heads @ self.weights[-1]
        for k in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[k]
            z, s, inputs = g * layer.z1[point], g * layer.s1[point], layer.inputs[point]
            yield z, inputs, 2.0 * s * layer.a[point, None], self.weights[k], weights[k]
            if k:
                g = z @ self.weights[k]
                g += (2.0 * self.m.eps2 * (s @ layer.b))[:, None] * inputs

    def gram(self, weight: Array, rows: NDArray[np.int64]) -> Array:
        out = np.zeros((len(rows), len(rows)))
        for part in self._parts(rows, weight):
            _add(out, *part)
        return out

    def diagonal(self, weight: Array) -> Array:
        out = np.zeros(len(self.q))
        for z, inputs, own, w, c in self._parts(np.arange(len(self.q)), weight):
            out += (z * z * ((inputs * inputs) @ c.T)).sum(1)
            out += (own * (2.0 * z * (inputs @ (c * w).T) + own * (c * w * w).sum(1))).sum(1)
        return out

    def squares(self, c: Array) -> Array:
        out = np.empty(self.m.size)
        parts = self._parts(np.arange(len(self.q)), np.zeros(self.m.size))
        for slot, (z, inputs, own, w, _) in zip(reversed(self.m.slots), parts, strict=True):
            both = (c[:, None] * z * own).T @ inputs
            total = (c[:, None] * z * z).T @ (inputs * inputs) + 2.0 * both * w
            total += ((c[:, None] * own * own).sum(0))[:, None] * w * w
            out[slot] = total.ravel()
        return out


def _add(out: Array, z: Array, inputs: Array, own: Array, w: Array, weight: Array) -> None:
    """Add one layer's part, a strip of units at a time."""
    first = float(weight.flat[0])
    if np.all(weight == first):
        # a constant weight leaves sums of products of Gram matrices
        cross = (z * (inputs @ w.T)) @ own.T
        total = (z @ z.T) * (inputs @ inputs.T) + cross + cross.T
        out += first * (total + (own * (w * w).sum(1)) @ own.T)
        return
    root = np.sqrt(weight)
    units = max(1, _COLUMNS // inputs.shape[1])
    for start in range(0, len(w), units):
        part = slice(start, start + units)
        strip = z[:, part, None] * inputs[:, None] + own[:, part, None] * w[part]
        strip *= root[part]
        flat = strip.reshape(len(z), -1)
        out += flat @ flat.T

"""Derivative products of fully connected nets: every one is a few passes over the layers."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirrorflow.flow.krylov_products import Products
from mirrorflow.flow.scaled import Array

if TYPE_CHECKING:
    from mirrorflow.flow.layered import LayeredMargins

_COLUMNS = 4096  # of a Jacobian strip that is held at a time


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

"""Analytic derivatives of the two-layer smooth ReLU net: one Hessian block per hidden unit."""

from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.base import Margins, cone_tip


def _half_sum(z: Array, s: Array, r: Array) -> Array:
    """`(z + r)/2` with `r^2 = z^2 + s`, accurate for z < 0 too."""
    low = z < 0
    return np.where(low, 0.5 * s / np.where(low, r - z, 1.0), 0.5 * (z + r))


class TwoLayerMargins(Margins):
    """`q_i = y_i sum_j a_j h(w_j; x_i)`, `h = (z + sqrt(z^2 + eps^2 |x|^2 |w|^2)) / 2`.

    The parameters are `w` (m, D) and then `a` (m,); inside, unit by unit `[w_j, a_j]`.
    """

    degree = 2.0

    def __init__(self, x: Array, y: Array, width: int, eps: float) -> None:
        self.x, self.y, self.m = x, y, width
        self.e2 = eps**2 * (x * x).sum(1)
        self.k = x.shape[1] + 1
        self.size = width * self.k
        self.blocks = (width, self.k)
        inner = np.arange(width * (self.k - 1)).reshape(width, self.k - 1)
        outer = width * (self.k - 1) + np.arange(width)
        self.order = np.concatenate([inner, outer[:, None]], 1).ravel()
        self.point = np.arange(len(x))
        self.xx = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)

    def _parts(self, x: Array) -> tuple[Array, ...]:
        p = x.reshape(self.m, self.k)
        w, a = p[:, :-1], p[:, -1]
        z = self.x @ w.T
        s = self.e2[:, None] * ((w * w).sum(1) + cone_tip(w, x) ** 2)
        return w, a, z, s, np.maximum(np.sqrt(z * z + s), 1e-95)  # a net of zeros

    def values(self, x: Array) -> Array:
        _, a, z, s, r = self._parts(x)
        return self.y * (_half_sum(z, s, r) @ a)

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        w, a, z, s, r = self._parts(x)
        h = _half_sum(z, s, r)
        out = np.empty((len(z), self.m, self.k))
        ya = self.y[:, None] * (0.5 * a)
        np.multiply((ya * 2.0 * (h / r))[:, :, None], self.x[:, None, :], out=out[:, :, :-1])
        out[:, :, :-1] += (ya * (self.e2[:, None] / r))[:, :, None] * w
        np.multiply(h, self.y[:, None], out=out[:, :, -1])
        return self.y * (h @ a), out.reshape(len(z), -1)

    def pull(self, x: Array, c: Array) -> Array:
        w, a, z, s, r = self._parts(x)
        h, cy = _half_sum(z, s, r), (c * self.y)[:, None]
        out = np.empty((self.m, self.k))
        own = 0.5 * (cy * self.e2[:, None] / r).sum(0)
        out[:, :-1] = a[:, None] * ((cy * (h / r)).T @ self.x + own[:, None] * w)
        out[:, -1] = (cy * h).sum(0)
        return out.ravel()

    def push(self, x: Array, v: Array) -> Array:
        w, a, z, s, r = self._parts(x)
        h, p = _half_sum(z, s, r), v.reshape(self.m, self.k)
        dw, da = p[:, :-1], p[:, -1]
        own = 0.5 * self.e2[:, None] / r * (w * dw).sum(1)
        return np.asarray(self.y * (((h / r) * (self.x @ dw.T) + own) @ a + h @ da))

    def curvature(self, x: Array, mu: Array) -> Array:
        w, a, z, _, r = self._parts(x)
        c = (mu * self.y)[:, None]
        dim = self.k - 1
        inv = 1.0 / r
        v1, v2 = z * inv, self.e2[:, None] * inv
        cr = c * inv
        # hess h = [(x x' + e2 I)/r - v v'/r]/2 with v = v1 x + v2 w
        same = ((cr * (1.0 - v1 * v1)).T @ self.xx).reshape(self.m, dim, dim)
        mixed = (cr * v1 * v2).T @ self.x
        own = (cr * v2 * v2).sum(0)
        hess = same - mixed[:, :, None] * w[:, None] - w[:, :, None] * mixed[:, None, :]
        hess -= own[:, None, None] * w[:, :, None] * w[:, None]
        i = np.arange(dim)
        hess[:, i, i] += (cr * self.e2[:, None]).sum(0)[:, None]
        out = np.zeros((self.m, self.k, self.k))
        out[:, :-1, :-1] = (0.5 * a)[:, None, None] * hess
        g = 0.5 * ((c * (1.0 + v1)).T @ self.x + (c * v2).sum(0)[:, None] * w)
        out[:, :-1, -1] = g
        out[:, -1, :-1] = g
        return out

"""Two-layer ReLU nets with their kinks as complementarity rows.

At a kink `z_ij = <w_j, x_i> = 0` the derivative of the ReLU is any `s_ij` in [0, 1]. The pair obeys

    s = 1 and z >= 0,      or      s = 0 and z <= 0,      or      0 <= s <= 1 and z = 0,

with the last one, the sliding mode, held to `z = eta |x_i| |w_j| (s - 1/2)` at eta = 1e-7: a
piecewise linear relation, so that Newton on a fixed choice of modes is exact, and the modes follow
by a primal-dual active-set rule. Only kinks that attract (`y_i a_j < 0`) can be slid on: at the
others the margin is convex in w and the flow crosses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.base import cone_tip
from mirrorflow.flow.margins.two_layer import TwoLayerMargins

_ETA = 1e-7
_ASTRAY = 1e-2  # how far a slope may lie outside [0, 1] where an iteration ends


class KinkedMargins(TwoLayerMargins):
    """`q_i = y_i sum_j a_j relu(w_j·x_i)`; the modes are those of the Newton iteration under way.

    A mode is 1 (on), -1 (off) or 0 (sliding), one for each point and unit.
    """

    kinked = True

    def __init__(self, x: Array, y: Array, width: int) -> None:
        super().__init__(x, y, width, 0.0)
        self.length = np.linalg.norm(x, axis=1)
        self.modes: NDArray[np.int8] = np.zeros((len(x), width), np.int8)

    def _split(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """Weights, z (n, m), and the widths (n, m) of the kinks."""
        p = x.reshape(self.m, self.k)
        w, a = p[:, :-1], p[:, -1]
        size = np.sqrt((w * w).sum(1) + cone_tip(w, x) ** 2) + 1e-290
        return w, a, self.x @ w.T, _ETA * self.length[:, None] * size

    def _features(self, x: Array) -> tuple[Array, Array, Array]:
        """`a`, the features h and their slopes s."""
        _, a, z, width = self._split(x)
        s = np.clip(0.5 + z / width, 0.0, 1.0)
        return a, np.where(s < 1.0, 0.5 * width * s * s, z), s

    def values(self, x: Array) -> Array:
        a, h, _ = self._features(x)
        return np.asarray(self.y * (h @ a))

    def jacobian(self, x: Array) -> tuple[Array, Array]:
        a, h, s = self._features(x)
        out = np.empty((len(s), self.m, self.k))
        np.multiply((self.y[:, None] * a * s)[:, :, None], self.x[:, None, :], out=out[:, :, :-1])
        np.multiply(h, self.y[:, None], out=out[:, :, -1])
        return self.y * (h @ a), out.reshape(len(s), -1)

    def pull(self, x: Array, c: Array) -> Array:
        a, h, s = self._features(x)
        cy = (c * self.y)[:, None]
        out = np.empty((self.m, self.k))
        out[:, :-1] = a[:, None] * ((cy * s).T @ self.x)
        out[:, -1] = (cy * h).sum(0)
        return out.ravel()

    def push(self, x: Array, v: Array) -> Array:
        a, h, s = self._features(x)
        p = v.reshape(self.m, self.k)
        return np.asarray(self.y * ((s * (self.x @ p[:, :-1].T)) @ a + h @ p[:, -1]))

    def curvature(self, x: Array, mu: Array) -> Array:
        _, a, z, width = self._split(x)
        cy = (mu * self.y)[:, None]
        s = np.clip(0.5 + z / width, 0.0, 1.0)
        dim = self.k - 1
        out = np.zeros((self.m, self.k, self.k))
        sliding = np.where(self.modes == 0, cy / width, 0.0)
        out[:, :-1, :-1] = a[:, None, None] * (sliding.T @ self.xx).reshape(self.m, dim, dim)
        out[:, :-1, -1] = (cy * s).T @ self.x
        out[:, -1, :-1] = out[:, :-1, -1]
        return out

    def begin(self, x: Array) -> None:
        _, _, z, width = self._split(x)
        self.modes = _sides(z / width)

    def settle(self, line: Array, x: Array, mu: Array) -> bool:
        _, a, z, width = self._split(x)
        t, old = z / width, self.modes
        # whether a kink stays sliding is read off the linear prediction: the curvature of the
        # map alone may move z by more than the kink's width
        _, _, predicted, _ = self._split(line)
        side = np.where(old == 0, _sides(predicted / width), _sides(t))
        # an attracting kink is not crossed in one iteration: it is first slid on
        attracts = (mu * self.y)[:, None] * a < 0.0
        new = np.where(old * side < 0, 0, side)
        self.modes = np.where(attracts, new, np.where(t > 0.0, 1, -1)).astype(np.int8)
        astray = (self.modes == 0) & (np.abs(t) > 0.5 + _ASTRAY)
        return bool((self.modes != old).any() or astray.any())

    def beyond(self, x: Array, mu: Array) -> Array:
        """`J' mu` of the linear sliding branch less that of its clipped slope, shape (d,)."""
        _, a, z, width = self._split(x)
        s = 0.5 + z / width
        extra = np.where(self.modes == 0, s - np.clip(s, 0.0, 1.0), 0.0)
        out = np.zeros((self.m, self.k))
        out[:, :-1] = a[:, None] * (((mu * self.y)[:, None] * extra).T @ self.x)
        return out.ravel()


def _sides(t: Array) -> NDArray[np.int8]:
    """Modes by `t = z / width`: the relation is linear for |t| < 1/2."""
    return np.where(t >= 0.5, 1, np.where(t <= -0.5, -1, 0)).astype(np.int8)

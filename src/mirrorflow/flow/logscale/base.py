"""Mirror maps in log-scale form: the gradient of the potential on `theta = exp(rho) * x`.

Doubles end long before the flow does, so a step works with `x` of size one and with the dual in a
unit `exp(scale)`:

    u = exp(-scale) * r'(exp(rho) * x),     x = exp(-rho) * r*'(exp(scale) * u).

A family overrides the two directions with forms that never build `exp(rho)` itself.  `primary`
says which of `x` and `u` carries the information when the other underflows.
"""

# ruff: noqa: ARG002  one interface: some maps need x, some u
# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array, conjugate_order, lp_norm

_CLOSE = 1e-7
_HALVINGS = 20
CROSSING = 1e-3  # share of the largest dual below which an entry of a flat map crosses zero
ACTIVE = 1e-6  # entries below this share of the largest count as zero in a subgradient


class ScaledMap:
    """One odd map at a level `rho`, separable unless `coupled` (pnorm.py, spectral.py); x and u are
    flat, of shape (d,)."""

    primary: Literal["primal", "dual"] = "dual"
    rapid = False
    slaved = False  # True: weights inside the ball of the horizon are slaved to those on it
    coupled = False
    flat_at_zero = False  # True: `du/dx` vanishes at zero
    dense = False  # True: `basis` is not that of the coordinates

    def __init__(self, order: float) -> None:
        self.order = order
        self.rho = 0.0
        self.scale = 0.0

    def at_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        """Move to `theta = exp(rho) x`; `step` is the relative growth the unit must hold."""
        self.rho = rho
        self.scale = self.log_unit(rho)

    def reach(self) -> float:
        """`log Q` up to which the form holds."""
        return np.inf

    def log_unit(self, rho: float) -> float:
        """Logarithm of the dual's size where the primal has size `exp(rho)`."""
        raise NotImplementedError

    def scale_level(self, log_unit: float) -> float:
        """`scale` in units `exp(log_unit)`."""
        return self.scale * float(np.exp(-log_unit))

    def dual(self, x: Array) -> Array:
        raise NotImplementedError

    def primal(self, u: Array) -> Array:
        raise NotImplementedError

    def carried(self, x: Array, u: Array, scale: float) -> Array:
        """The dual of x at a new level, where it was u in the unit `exp(scale)` of the last."""
        return u * float(np.exp(scale - self.scale)) if self.primary == "dual" else self.dual(x)

    def displaced(self, x: Array, u: Array, du: Array) -> Array:
        """`primal(u + du)` from x, the primal of u, near enough to see a bend between them."""
        return self.primal(u + du)

    def inverse(self, u: Array) -> Array:
        """`primal` to rounding, where a form that carries x makes do with less."""
        return self.primal(u)

    def slope(self, x: Array, u: Array) -> Array:
        """The diagonal of `du/dx` in `basis`, shape (d,); infinite where the primal underflows."""
        raise NotImplementedError

    def basis(self, x: Array, u: Array) -> Array | None:
        """Orthonormal columns (d, d) in which `du/dx` is diagonal but for `coupling`; None: the
        coordinates themselves."""
        return None

    def coupling(self, x: Array, u: Array) -> tuple[Array, Array] | None:
        """V (d, k) and c (k,) if `du/dx` is the diagonal and `V diag(c) V'`."""
        return None

    def mobilise(self, x: Array, u: Array, g: Array) -> Array:
        """`(du/dx)^-1 g`, zero where g is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(g == 0.0, 0.0, g / self.slope(x, u))

    def stiffen(self, x: Array, u: Array, dx: Array) -> Array:
        """`(du/dx) dx`, both in `basis`."""
        return self.slope(x, u) * dx

    def crossing(self, u: Array) -> NDArray[np.bool_] | None:
        """Entries so near to zero that x changes by any amount while u hardly does; None: the dual
        has a slope everywhere."""
        if not self.flat_at_zero:
            return None
        a = np.abs(u)
        return a < CROSSING * a.max()

    def meet(self, line: Array, v: Array, stiffness: Array) -> Array:
        """An x near the solution of `u(x) + stiffness (x - line) = v`, between `line` and
        `primal(v)`, which enclose it; for flat maps."""
        low, high = line, self.primal(v)
        for _ in range(_HALVINGS):
            x = 0.5 * (low + high)
            # the sides differ in sign at the ends: by that of `line - primal(v)` at `line`
            beyond = (self.dual(x) - v + stiffness * (x - line)) * (line - high) > 0.0
            low, high = np.where(beyond, x, low), np.where(beyond, high, x)
        return 0.5 * (low + high)

    def grown(self, x: Array, u: Array, h: float) -> Array:
        """`u(e^h x)`, with the dual kept where x has underflowed."""
        return np.where(np.abs(x) > 1e-200, self.dual(x * np.exp(h)), u)

    def stretched(self, x: Array, near: Array, u: Array, u_end: Array, share: float) -> Array:
        """The multiple of `near` whose largest entry, that of x, has the dual `u` at the beginning
        of a step and `u_end` at its end, at a share of the step."""
        k = int(np.abs(x).argmax())
        near = near if near[k] * x[k] > 0.0 else x
        at = u[k] + share * (u_end[k] - u[k])
        return near * (float(self.primal(np.array([at]))[0]) / near[k])

    def smooth_over(self, size: Array) -> Array:
        """The distance of two entries, of this size, below which a difference of their duals is a
        derivative."""
        return _CLOSE * size

    def radial_slope(self, x: Array, u: Array) -> Array:
        """The slope without regularisation, for the pace of time along a ray."""
        return self.slope(x, u)

    def radial_pull(self, x: Array, y: Array, u: Array) -> float:
        """`<x, (du/dx)(y) y>` at y, a multiple of x with the dual u, without regularisation."""
        with np.errstate(over="ignore", invalid="ignore"):
            terms = x * self.radial_slope(y, u) * y
        return float(np.where(np.isfinite(terms), terms, 0.0).sum())

    def steepness(self, x: Array) -> float:
        """`dlog Q°(u)/dlog Q + 1`, the index at x, for the pace of time along a ray."""
        return self.order if np.isfinite(self.order) else 0.0

    def steepness_level(self, x: Array, log_unit: float) -> float:
        """The same in units `exp(log_unit)`."""
        return self.steepness(x) * float(np.exp(-log_unit))

    def energy(self, x: Array, u: Array) -> Array:
        """`x r'(x) - r(x)` per coordinate in units `exp(rho + scale)`."""
        raise NotImplementedError

    def extent(self, dx: Array) -> float:
        """The size of a change, to be divided by that of x; layer by layer where maps differ."""
        return self.gauge(dx)

    def dual_ratio(self, du: Array, u: Array) -> float:
        """`max |du| / max |u|`."""
        top = float(np.abs(u).max())
        return float(np.abs(du).max()) / top if top > 0 else np.inf

    def pace(self, u: Array, g: Array) -> float:
        """The dtau in which u moves by its own size: `max |u| / max |g|`."""
        top = max(float(np.abs(u).max()), 1e-3 * self.unit_dual())
        with np.errstate(divide="ignore"):
            return float(np.divide(top, np.abs(g).max()))

    def unit_dual(self) -> float:
        """The dual of an entry 1."""
        return float(self.dual(np.ones(1))[0])

    def subgradient(self, x: Array, target: Array, active: float = ACTIVE) -> Array:
        """The element of `dQ` nearest to `target` (d,), at x or at a point that differs from it by
        shares `active`: smaller entries are as free as zeros (l1), larger ones as the largest."""
        return subgradient_near(x, target, self.order, active)

    def residual_weight(self, x: Array) -> Array:
        """Units in which the entries of a subgradient are compared."""
        return np.ones_like(x)

    def gauge(self, x: Array) -> float:
        """The horizon norm, shape () from (d,)."""
        return lp_norm(x, self.order)

    def dual_gauge(self, g: Array) -> float:
        """The norm dual to the horizon."""
        return lp_norm(g, conjugate_order(self.order))


def turned(basis: Array | None, v: Array) -> Array:
    """Coordinates of v (d, …) in `basis`."""
    return v if basis is None else basis.T @ v


def unturned(basis: Array | None, v: Array) -> Array:
    """The vector with the coordinates v (d, …) in `basis`."""
    return v if basis is None else basis @ v


def subgradient_near(x: Array, target: Array, order: float, active: float = ACTIVE) -> Array:
    """The element of `dQ(x)` for the order-p norm nearest to `target` (d,), entry by entry."""
    a = np.abs(x)
    top = a.max()
    if order == 1.0:
        return np.where(a > active * top, np.sign(x), np.clip(target, -1.0, 1.0))
    if np.isinf(order):
        weight = np.where(a >= (1.0 - active) * top, np.maximum(target * np.sign(x), 0.0), 0.0)
        total = weight.sum()
        if total == 0.0:
            weight = (a == top).astype(np.float64)
            total = weight.sum()
        return np.sign(x) * weight / total
    size = lp_norm(x, order)
    return np.sign(x) * (a / size) ** (order - 1.0)

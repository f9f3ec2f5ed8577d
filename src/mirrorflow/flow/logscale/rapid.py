"""Log-scale forms of the rapidly varying maps, horizon l_inf.

Near the largest coordinate `A` every one of them looks like an exponential of local width
`width(A)`.  Two regularisations keep the equations resolvable in doubles; both are part of the
stated method (docs/flow.md): the relative width never falls below `delta`, and a floor
`kappa x / |x|_max` limits the mobility of coordinates whose true dual is below rounding. It enters
at `F = A / width(A) = 20` e-folds, where the slope of a coordinate well inside the cube, `e^-F` of
the largest, is 1e-9 too: rounding then moves such a coordinate by 1e-7. It rises as fast as that
slope falls, to `kappa = min(F^-2, 1e-5)` at F = 29: the direction is itself 1/F from its limit
there, and a much smaller floor lets interior coordinates jump on a time scale of 1e-9 in log Q. A
larger one is seen in the balance, which moves by a few per cent of kappa.
"""

# ruff: noqa: ARG002  one interface: some maps need x, some u
# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array, gauss_legendre
from mirrorflow.flow.logscale.base import ScaledMap

_FLOOR_FROM = 20.0  # below this many e-folds doubles resolve the dual and no floor is added
_FLOOR_MOST = 1e-5
_CLOSE = 1e-3  # in local widths
_LAST = 690.0  # log Q up to which Q itself is formed


class ScaledRapid(ScaledMap):
    primary = "primal"
    rapid = slaved = True

    def __init__(self, width: float, kappa: float = 1e-9) -> None:
        super().__init__(np.inf)
        self.width, self.kappa = width, kappa
        self.tau, self.shift, self.cap, self.flat = 1.0, 0.0, 0.0, False
        self.top = 1.0

    def log_unit(self, rho: float) -> float:
        return self.log_size(_exp(rho))

    def log_size(self, top: float) -> float:
        """`log r'(top)` in true units."""
        raise NotImplementedError

    def local_width(self, top: float) -> float:
        """`1 / (log r')'` at `top`."""
        raise NotImplementedError

    def at_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        self.rho = rho
        top = float(np.abs(x).max()) * float(np.exp(step))
        true, self.top = top * _exp(rho), top
        self.flat = self.local_width(true) < delta * true
        self.tau = delta * top if self.flat else self.width * float(np.exp(-rho))
        self.scale = self.log_size(true)
        self.shift = top / self.tau if self.flat else self.scale
        folds = true / self.local_width(true)
        self.cap = self._cap(folds)

    def _cap(self, folds: float) -> float:
        if folds < _FLOOR_FROM:
            return 0.0
        rising = self.kappa * float(np.exp(min(folds - _FLOOR_FROM, 50.0)))
        return max(self.kappa, min(rising, folds**-2.0, _FLOOR_MOST))

    def size(self, a: Array) -> Array:
        """`r'(width a) exp(-shift)` for `a >= 0`; overridden with the exact form of the map."""
        raise NotImplementedError

    def dual(self, x: Array) -> Array:
        a = np.abs(x) / self.tau
        body = _sinh_scaled(a, self.shift) if self.flat else self.size(a)
        return np.sign(x) * body + self._floor(x) * x

    def smooth_over(self, size: Array) -> Array:
        width = (
            self.tau
            if self.flat
            else self.local_width(self.top * _exp(self.rho)) * np.exp(-self.rho)
        )
        return np.full_like(size, _CLOSE * width)

    def _floor(self, x: Array) -> float:
        # on x / |x|_max: on x itself interior coordinates would grow like log Lambda, and a step
        # could not be longer than a few widths
        top = float(np.abs(x).max(initial=0.0))
        return self.cap / top if top > 0.0 else 0.0

    def primal(self, u: Array) -> Array:
        v = np.abs(u)
        a = _asinh_scaled(v, self.shift) if self.flat else self.unsize(v)
        x = self.tau * a
        if self.cap > 0.0:  # inverse up to the floor: whichever of the two branches carries v
            x = np.minimum(x, v * (float(x.max()) / self.cap))
        return np.sign(u) * x

    def inverse(self, u: Array) -> Array:
        x, v = np.abs(self.primal(u)), np.abs(u)
        if self.cap == 0.0 or not x.any():
            return np.sign(u) * x
        for _ in range(50):  # r' is convex and x too large: monotone
            step = (v - self.dual(x)) / self.slope(x, v)
            x = np.maximum(x + step, 0.0)
            if np.all(np.abs(step) <= 4e-16 * x):
                break
        return np.sign(u) * x

    def slope(self, x: Array, u: Array) -> Array:
        return self.radial_slope(x, u) + self._floor(x)

    def radial_slope(self, x: Array, u: Array) -> Array:
        a = np.abs(x) / self.tau
        body = _cosh_scaled(a, self.shift) if self.flat else self.size_slope(a)
        return body / self.tau

    def scale_level(self, log_unit: float) -> float:
        if self.rho <= _LAST:
            return super().scale_level(log_unit)
        # the scale, of size Q, is no double: it is Q/width, a share of log t = Q^L for L = 1
        return self.top / self.width * float(np.exp(self.rho - log_unit))

    def steepness(self, x: Array) -> float:
        true = float(np.abs(x).max()) * _exp(self.rho)
        return 1.0 + true / self.local_width(true)

    def steepness_level(self, x: Array, log_unit: float) -> float:
        top = float(np.abs(x).max())
        width = self.local_width(top * _exp(self.rho))
        return float(np.exp(-log_unit)) + top / width * float(np.exp(self.rho - log_unit))

    def unsize(self, v: Array) -> Array:
        raise NotImplementedError

    def size_slope(self, a: Array) -> Array:
        raise NotImplementedError

    def energy(self, x: Array, u: Array) -> Array:
        if self.flat:
            a = np.abs(x) / self.tau
            return self.tau * (a * _sinh_scaled(a, self.shift) - _cosh_scaled(a, self.shift))
        return self.tau * self.size_energy(np.abs(x) / self.tau)

    def size_energy(self, a: Array) -> Array:
        raise NotImplementedError


def _exp(rho: float) -> float:
    return float(np.exp(min(rho, _LAST)))


def _sinh_scaled(a: Array, shift: float) -> Array:
    with np.errstate(under="ignore"):
        return 0.5 * np.exp(np.minimum(a - shift, 600.0)) * (-np.expm1(-2.0 * a))


def _cosh_scaled(a: Array, shift: float) -> Array:
    with np.errstate(under="ignore"):
        return 0.5 * np.exp(np.minimum(a - shift, 600.0)) * (1.0 + np.exp(-2.0 * a))


def _asinh_scaled(v: Array, shift: float) -> Array:
    """`asinh(v exp(shift))`."""
    with np.errstate(divide="ignore", over="ignore"):
        z = np.log(v) + shift
        return np.where(z > 20.0, z + np.log(2.0), np.arcsinh(np.exp(np.minimum(z, 20.0))))


class ScaledCosh(ScaledRapid):
    """`r'(x) = s sinh(x / s)`."""

    def log_size(self, top: float) -> float:
        a = top / self.width
        return float(np.log(self.width)) + (max(a - 1.0, 0.0))

    def local_width(self, top: float) -> float:
        return self.width

    def size(self, a: Array) -> Array:
        return self.width * _sinh_scaled(a, self.shift)

    def unsize(self, v: Array) -> Array:
        return _asinh_scaled(v / self.width, self.shift)

    def size_slope(self, a: Array) -> Array:
        return self.width * _cosh_scaled(a, self.shift)

    def size_energy(self, a: Array) -> Array:
        small = np.exp(-self.shift)
        return self.width * (a * _sinh_scaled(a, self.shift) - _cosh_scaled(a, self.shift) + small)


class ScaledExponential(ScaledRapid):
    """`r'(x) = sgn x (exp|x| - 1)`."""

    def __init__(self, kappa: float = 1e-9) -> None:
        super().__init__(1.0, kappa)

    def log_size(self, top: float) -> float:
        return max(top - 1.0, 0.0)

    def local_width(self, top: float) -> float:
        return 1.0

    def size(self, a: Array) -> Array:
        with np.errstate(under="ignore"):
            return np.exp(np.minimum(a - self.shift, 600.0)) * (-np.expm1(-a))

    def unsize(self, v: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore"):
            z = np.log(v) + self.shift
            return np.where(z > 40.0, z, np.log1p(np.exp(np.minimum(z, 40.0))))

    def size_slope(self, a: Array) -> Array:
        with np.errstate(under="ignore"):
            return np.exp(np.minimum(a - self.shift, 600.0))

    def size_energy(self, a: Array) -> Array:
        small = np.exp(-self.shift)
        return np.where(
            a < 1e-4,
            small * 0.5 * a * a,
            (a - 1.0) * np.exp(np.minimum(a - self.shift, 600.0)) + small,
        )


class ScaledDoubleExponential(ScaledRapid):
    """`r'(x) = sinh(sinh x)`."""

    def reach(self) -> float:
        return float(np.log(_LAST))

    def __init__(self, kappa: float = 1e-9) -> None:
        super().__init__(1.0, kappa)

    def log_size(self, top: float) -> float:
        return max(float(np.sinh(min(top, 700.0))) - 1.0, 0.0)

    def local_width(self, top: float) -> float:
        return 1.0 / float(np.cosh(min(top, 700.0)))

    def size(self, a: Array) -> Array:
        return _sinh_scaled(np.sinh(np.minimum(a, 700.0)), self.shift)

    def unsize(self, v: Array) -> Array:
        return np.arcsinh(_asinh_scaled(v, self.shift))

    def size_slope(self, a: Array) -> Array:
        b = np.minimum(a, 700.0)
        return _cosh_scaled(np.sinh(b), self.shift) * np.cosh(b)

    def size_energy(self, a: Array) -> Array:
        # r has no elementary form; Gauss-Legendre on [0, a] of r' is exact to rounding for a <= 20
        nodes, weights = gauss_legendre(40)
        return a * self.size(a) - a * (self.size(a[:, None] * nodes) @ weights)

"""A map per layer: one log-scale form made of several.

The horizon is the geometric mean `Q = prod Q_l^(k_l / L)`, so that `min q / Q^L` is the margin
`min q / prod Q_l^k_l`. Balance ties the energies of the layers and not their norms, so everything
relative is taken layer by layer.

Beside a map of finite index a rapidly varying one grows like a logarithm. Its dual then follows
the energy, which all layers share, and not the ray through x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import ACTIVE, ScaledMap

_LAST = 650.0  # logarithm of a ratio that doubles hold


class ScaledLayers(ScaledMap):
    """Parts `(coordinates, map, share k_l / L)`; the shares sum to 1."""

    def __init__(self, parts: list[tuple[NDArray[np.int64], ScaledMap, float]]) -> None:
        super().__init__(np.nan)
        self.parts = parts
        self.primary = "primal" if all(p.primary == "primal" for _, p, _ in parts) else "dual"
        self.coupled = any(part.coupled for _, part, _ in parts)
        self.dense = any(part.dense for _, part, _ in parts)
        self.slaved = any(part.slaved for _, part, _ in parts)
        self.growth = max(part.order for _, part, _ in parts if not part.rapid)
        self.sizes = np.ones(len(parts))

    def reach(self) -> float:
        reach = min(_LAST if part.rapid else part.reach() for _, part, _ in self.parts)
        if self.slaved:
            # the others alone grow, like Q^(1/share): so far apart are the duals, in their units
            share = sum(k for _, part, k in self.parts if not part.rapid)
            reach = min(reach, _LAST / (self.growth / share - self.growth + 1.0))
        return reach

    def at_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        self.rho = rho
        for where, part, _ in self.parts:
            part.at_level(rho, x[where], 0.0 if part.rapid else step, delta)
        self.scale = max(part.scale for _, part, _ in self.parts)
        self.sizes = np.array([part.gauge(x[where]) for where, part, _ in self.parts])

    def _each(
        self, x: Array, u: Array, apply: Callable[[ScaledMap, float, Array, Array], Array]
    ) -> Array:
        out = np.empty_like(x)
        for where, part, _ in self.parts:
            out[where] = apply(part, self._unit(part), x[where], u[where])
        return out

    def dual(self, x: Array) -> Array:
        return self._each(x, x, lambda m, c, a, _: c * m.dual(a))

    def carried(self, x: Array, u: Array, scale: float) -> Array:
        same = super().carried(x, u, scale)
        # the floor of a rapid map moves with the level, and x must not
        return self._each(x, same, lambda m, c, a, b: c * m.dual(a) if m.rapid else b)

    def primal(self, u: Array) -> Array:
        return self._each(u, u, lambda m, c, a, _: m.inverse(a / c))

    def slope(self, x: Array, u: Array) -> Array:
        return self._each(x, u, lambda m, c, a, b: c * m.slope(a, b / c))

    def _unit(self, part: ScaledMap) -> float:
        return float(np.exp(part.scale - self.scale))

    def basis(self, x: Array, u: Array) -> Array | None:
        out = None
        for where, part, _ in self.parts:
            own = part.basis(x[where], u[where] / self._unit(part))
            if own is not None:
                out = np.eye(len(x)) if out is None else out
                out[np.ix_(where, where)] = own
        return out

    def coupling(self, x: Array, u: Array) -> tuple[Array, Array] | None:
        columns, factors = [], []
        for where, part, _ in self.parts:
            unit = self._unit(part)
            if (own := part.coupling(x[where], u[where] / unit)) is not None:
                wide = np.zeros((len(x), len(own[1])))
                wide[where] = own[0]
                columns.append(wide)
                factors.append(unit * own[1])
        return (np.concatenate(columns, 1), np.concatenate(factors)) if columns else None

    def mobilise(self, x: Array, u: Array, g: Array) -> Array:
        out = np.empty_like(x)
        for where, part, _ in self.parts:
            unit = self._unit(part)
            out[where] = part.mobilise(x[where], u[where] / unit, g[where] / unit)
        return out

    def stiffen(self, x: Array, u: Array, dx: Array) -> Array:
        out = np.empty_like(x)
        for where, part, _ in self.parts:
            unit = self._unit(part)
            out[where] = unit * part.stiffen(x[where], u[where] / unit, dx[where])
        return out

    def grown(self, x: Array, u: Array, h: float) -> Array:
        factor = np.exp(self.growth * h)
        return self._each(
            x, u, lambda m, c, a, b: b * factor if m.rapid else c * m.grown(a, b / c, h)
        )

    def radial_pull(self, x: Array, y: Array, u: Array) -> float:
        out = 0.0
        for where, part, _ in self.parts:
            unit = self._unit(part)
            if part.rapid:
                out += self.growth * float(x[where] @ u[where])
            else:
                out += unit * part.radial_pull(x[where], y[where], u[where] / unit)
        return out

    def energy(self, x: Array, u: Array) -> Array:
        return self._each(x, u, lambda m, c, a, b: c * m.energy(a, b / c))

    def gauge(self, x: Array) -> float:
        sizes = [part.gauge(x[where]) for where, part, _ in self.parts]
        if min(sizes) == 0.0:
            return 0.0
        return self._product(sizes)

    def _product(self, sizes: Iterable[float]) -> float:
        parts = zip(sizes, self.parts, strict=True)
        return float(np.exp(sum(k * np.log(s) for s, (_, _, k) in parts)))

    def dual_gauge(self, g: Array) -> float:
        # by Hölder in each layer at the level's own x: <g, x> reaches it where all layers align
        pulls = [part.dual_gauge(g[where]) for where, part, _ in self.parts]
        total = self._product(self.sizes)
        return float(np.dot(pulls, self.sizes)) / total if total > 0 else 0.0

    def extent(self, dx: Array) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [
                part.gauge(dx[where]) / size
                for (where, part, _), size in zip(self.parts, self.sizes, strict=True)
                if size > 0
            ]
        return max(parts) if parts else super().extent(dx)

    def dual_ratio(self, du: Array, u: Array) -> float:
        return max(part.dual_ratio(du[where], u[where]) for where, part, _ in self.parts)

    def pace(self, u: Array, g: Array) -> float:
        return min(part.pace(u[where], g[where]) for where, part, _ in self.parts)

    def subgradient(self, x: Array, target: Array, active: float = ACTIVE) -> Array:
        """That of the geometric mean: `k_l/L Q s_l / Q_l` in layer l."""
        out, total = np.empty_like(x), self.gauge(x)
        for where, part, share in self.parts:
            factor = share * total / part.gauge(x[where])
            out[where] = factor * part.subgradient(x[where], target[where] / factor, active)
        return out

    def residual_weight(self, x: Array) -> Array:
        out = np.empty_like(x)
        for where, part, _ in self.parts:
            out[where] = part.gauge(x[where])
        return out

"""The log-scale form of each mirror map of the library."""

# ruff: noqa: ARG002  one interface: some maps need x, some u
from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import ScaledMap
from mirrorflow.flow.logscale.log_table import LogTable
from mirrorflow.flow.logscale.per_layer import ScaledLayers
from mirrorflow.flow.logscale.place import Place
from mirrorflow.flow.logscale.pnorm import ScaledPNorm
from mirrorflow.flow.logscale.rapid import ScaledCosh, ScaledDoubleExponential, ScaledExponential
from mirrorflow.flow.logscale.regular import (
    ScaledHyperbolicEntropy,
    ScaledLogarithmic,
    ScaledMixed,
    ScaledNegativeEntropy,
    ScaledPower,
)
from mirrorflow.flow.logscale.spectral import ScaledSpectral
from mirrorflow.maps import (
    Cosh,
    Custom,
    DoubleExponential,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    MapLike,
    MirrorMap,
    Mixed,
    NegativeEntropy,
    PNorm,
    Power,
    Quadratic,
    SeparableMap,
    Spectral,
    assign,
)
from mirrorflow.nets import HomogeneousNet

__all__ = ["scaled_map", "scaled_maps"]


_ITERATIONS = 30
_KEPT = 3  # duals, and primals, that are remembered


class ScaledGeneric(ScaledMap):
    """Any separable map, through its own tensors; it ends where `exp(rho)` leaves the doubles."""

    def __init__(self, mirror_map: SeparableMap) -> None:
        super().__init__(float(mirror_map.index))
        self.mirror_map = mirror_map
        self.primary = "primal" if mirror_map.index > 2 else "dual"
        at_zero = float(mirror_map.hessian(torch.zeros(1, dtype=torch.float64)))
        self.flat_at_zero = self.primary == "primal" and np.isfinite(self.order) and at_zero == 0.0

        tabulated = self.flat_at_zero or isinstance(mirror_map, Custom)
        self._table = LogTable(mirror_map) if tabulated else None
        self._at_zero = at_zero
        self._duals: list[tuple[float, float, Array, Array]] = []
        self._primals: list[tuple[float, float, Array, Array]] = []

    def _roughly(self, size: Array) -> tuple[Array, Array]:
        """The dual of `size > 0` and its slope, from the table."""
        assert self._table is not None
        log_u, power, _ = self._table.dual(np.log(size) + self.rho)
        u = np.exp(log_u - self.scale)
        return u, power * u / size

    def _roughly_primal(self, u: Array) -> Array:
        assert self._table is not None
        log_x = self._table.primal(np.log(np.abs(u)) + self.scale)
        return np.where(u == 0.0, 0.0, np.sign(u) * np.exp(log_x - self.rho))

    def displaced(self, x: Array, u: Array, du: Array) -> Array:
        if not self.flat_at_zero:
            return self.primal(u + du)
        with np.errstate(divide="ignore", over="ignore"):
            return x + self._roughly_primal(u + du) - self._roughly_primal(u)

    def meet(self, line: Array, v: Array, stiffness: Array) -> Array:
        with np.errstate(all="ignore"):
            # only differences of the table are used: where Newton stands still, so does this
            known = np.where(line == 0.0, 0.0, np.sign(line) * self._roughly(np.abs(line))[0])
            b = v + stiffness * line + known - self.dual(line)
            a = np.abs(b)
            # the left side is convex for x > 0: Newton from the right is monotone
            x = np.fmin(a / stiffness, np.abs(self._roughly_primal(a)))
            for _ in range(_ITERATIONS):
                u, slope = self._roughly(x)
                step = (u + stiffness * x - a) / (slope + stiffness)
                step = np.where(np.isfinite(step), step, 0.0)
                x = np.maximum(x - step, 0.0)
                if np.all(np.abs(step) <= 1e-10 * x):
                    break
            return np.sign(b) * x

    def reach(self) -> float:
        # energies are of size Q^index; beyond every index the dual is at least exp(Q)
        index = max(float(self.mirror_map.index), 1.0)
        return 700.0 / index if np.isfinite(index) else float(np.log(700.0))

    def log_unit(self, rho: float) -> float:
        size = self.mirror_map.to_dual(torch.tensor([float(np.exp(rho))], dtype=torch.float64))
        # r' may vanish there: any unit near the dual's size will do
        return float(size.abs().clamp(min=1e-2).log())

    def _true(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(x * float(np.exp(self.rho)))

    def dual(self, x: Array) -> Array:
        known = self._known(self._duals, x)
        if known is None:
            known = self.mirror_map.to_dual(self._true(x)).numpy() * np.exp(-self.scale)
            self._keep(self._duals, x, known)
        return known.copy()

    def primal(self, u: Array) -> Array:
        known = self._known(self._primals, u)
        if known is None:
            true = torch.from_numpy(u * float(np.exp(self.scale)))
            known = self.mirror_map.to_primal(true).numpy() * np.exp(-self.rho)
            self._keep(self._primals, u, known)
        return known.copy()

    def _known(self, memory: list[tuple[float, float, Array, Array]], at: Array) -> Array | None:
        """The value there, if it is one of the last: an iteration asks for the same several times,
        and a function of one's own costs more than all the rest of it."""
        for rho, scale, place, value in memory:
            if rho == self.rho and scale == self.scale and np.array_equal(place, at):
                return value
        return None

    def _keep(
        self, memory: list[tuple[float, float, Array, Array]], at: Array, value: Array
    ) -> None:
        memory.insert(0, (self.rho, self.scale, at.copy(), value))
        del memory[_KEPT:]

    def slope(self, x: Array, u: Array) -> Array:
        out: Array
        if isinstance(self.mirror_map, Custom) and self._table is not None:
            # by autograd it would cost as much as all the rest of an iteration
            with np.errstate(divide="ignore"):
                size = np.abs(x)
                log_u, power, exact = self._table.dual(np.log(size) + self.rho)
            if np.all(exact | (size == 0.0)):
                near = np.where(size == 0.0, 1.0, size)
                out = np.exp(log_u - self.scale) * power / near
                return np.where(size == 0.0, self._at_zero * np.exp(self.rho - self.scale), out)
        out = self.mirror_map.hessian(self._true(x)).numpy() * np.exp(self.rho - self.scale)
        return out

    def energy(self, x: Array, u: Array) -> Array:
        out: Array = self.mirror_map.dual_energy_entries(self._true(x)).numpy()
        return out * float(np.exp(-self.rho - self.scale))


def scaled_map(mirror_map: MirrorMap, places: list[Place] | None = None) -> ScaledMap:
    """The log-scale form of `mirror_map`.

    Args:
        mirror_map: the map.
        places: where its tensors are, for a map that couples the entries of a tensor.

    Raises:
        ValueError: a map that is neither separable nor a p-norm nor a spectral map.
    """
    match mirror_map:
        case Quadratic():
            return ScaledPower(2.0)
        case Power():
            return ScaledPower(float(mirror_map.p))
        case HyperbolicEntropy():
            return ScaledHyperbolicEntropy(float(mirror_map.beta))
        case Logarithmic():
            return ScaledLogarithmic(float(mirror_map.beta))
        case Mixed() if mirror_map.a == 0 or mirror_map.b == 0:
            # a constant factor on the potential only changes the unit of time
            return ScaledGeneric(mirror_map)
        case Mixed():
            return ScaledMixed(float(mirror_map.p), float(mirror_map.a), float(mirror_map.b))
        case Cosh():
            return ScaledCosh(float(mirror_map.scale))
        case Exponential():
            return ScaledExponential()
        case DoubleExponential():
            return ScaledDoubleExponential()
        case NegativeEntropy():
            return ScaledNegativeEntropy()
        case SeparableMap():
            return ScaledGeneric(mirror_map)
        case PNorm() if places is not None:
            return ScaledPNorm(float(mirror_map.p), places)
        case Spectral() if places is not None:
            return ScaledSpectral(scaled_map(mirror_map.map), places)
    raise ValueError(
        f"mirror_map = {mirror_map!r} is not separable, and the flow follows of such maps only the "
        "p-norms and the spectral lifts; pass one of those, or train in small steps with "
        "optim.MirrorDescent"
    )


def scaled_maps(mirror_map: MapLike, net: nn.Module, order: NDArray[np.int64]) -> ScaledMap:
    """The log-scale form of one map, or of a map per parameter of `net`.

    Args:
        mirror_map: one map, or a mapping as `maps.assign` takes it.
        net: the network; with several maps it has to declare the degree of each parameter.
        order: (d,) the place of every internal coordinate in `net.parameters()`.

    Raises:
        ValueError: a map that cannot be followed, several maps that cannot be told apart, or
            several rapidly varying maps.
    """
    names = [name for name, _ in net.named_parameters()]
    chosen = assign(mirror_map, names, net)
    different = list(dict.fromkeys(chosen.values()))
    sizes = [p.numel() for p in net.parameters()]
    tensor = np.repeat(np.arange(len(names)), sizes)[order]
    if len(different) == 1:
        return scaled_map(different[0], _places(net, order, tensor))
    followed = [m for m in different if isinstance(m, SeparableMap | PNorm | Spectral)]
    rapid = [m for m in followed if not np.isfinite(m.index)]
    if len(rapid) > 1:
        raise ValueError(
            f"mirror_map gives {rapid[0]!r} to some parameters and {rapid[1]!r} to others, but of "
            "the rapidly varying maps only one can be followed: use it wherever you have the other"
        )
    degrees = net.layer_degrees if isinstance(net, HomogeneousNet) else {}
    if set(degrees) != set(names):
        raise ValueError(
            "mirror_map gives several maps, but the net does not declare the degree of each "
            "parameter (layer_degrees); use a net of mirrorflow.nets, or one map for all"
        )
    total = sum(degrees.values())
    parts = []
    for k, (name, p) in enumerate(net.named_parameters()):
        where = np.flatnonzero(tensor == k)
        own = Place.of(np.argsort(order[where]), tuple(p.shape))
        parts.append((where, scaled_map(chosen[name], [own]), degrees[name] / total))
    return ScaledLayers(parts)


def _places(net: nn.Module, order: NDArray[np.int64], tensor: NDArray[np.int64]) -> list[Place]:
    """Where the entries of every parameter are among the internal coordinates."""
    found = []
    for k, p in enumerate(net.parameters()):
        where = np.flatnonzero(tensor == k)
        found.append(Place.of(where[np.argsort(order[where])], tuple(p.shape)))
    return found

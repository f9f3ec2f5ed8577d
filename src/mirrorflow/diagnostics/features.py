"""Sparse or dense: what the hidden layers of a network look like on data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_integer, as_net
from mirrorflow.diagnostics.geometry import check_parameters
from mirrorflow.diagnostics.structure import Units, hidden_units, steps
from mirrorflow.errors import MirrorFlowError
from mirrorflow.nets import HomogeneousNet
from mirrorflow.nets.evaluate import copied, largest, points, undisturbed

__all__ = ["Features", "HiddenFeatures", "WeightFeatures", "features"]

_SMALL = 1e-3


@dataclass(frozen=True)
class WeightFeatures:
    """One weight tensor: share of entries above 1e-3 of the largest, and Hoyer's sparsity
    `(√d − ‖W‖₁/‖W‖₂)/(√d − 1)`, 0 for equal magnitudes, 1 for a single entry."""

    above: float
    hoyer: float


@dataclass(frozen=True)
class HiddenFeatures:
    """One hidden layer of m units (channels, for a convolution).

    Attributes:
        units: m.
        alive: share of units that are ever active on the data and whose strength
            `s_j = ‖in_j‖₂ ‖out_j‖₂` is above 1e-3 of the largest.
        zero_activations: share of exact zeros among all activations.
        participation: `(Σ s_j)²/(m Σ s_j²)` of the strengths, between 1/m and 1.
        effective_rank: `exp(H)`, H the entropy of the normalised singular values of the feature
            matrix (for a convolution every position is a row).
        cka_movement: `1 − CKA` (linear kernel of the features, centred; for a convolution of
            their mean over positions) against the initial net; None without one. 0 where both
            are constant over the points, 1 where one is.
        strengths: `s_j`, (m,).
    """

    units: int
    alive: float
    zero_activations: float
    participation: float
    effective_rank: float
    cka_movement: float | None
    strengths: Tensor


@dataclass(frozen=True)
class Features:
    """All measures, per hidden layer by the name of its incoming weight, and per weight tensor.

    A module that stands twice has two hidden layers, each under the name of its place, and one
    weight tensor. Frozen weights are measured as the others are.
    """

    hidden: dict[str, HiddenFeatures]
    weights: dict[str, WeightFeatures]


@undisturbed
def features(
    net: nn.Module, x: Tensor, *, initial: nn.Module | None = None, batch_size: int = 1024
) -> Features:
    """Measure sparsity and rank of the hidden layers on the points x, batch by batch.

    Only sums over points are kept: memory is `O(batch·units + units²)`. A copy of the net is
    called, in its own dtype and in eval mode; your net is left as it was.

    Args:
        net: a `HomogeneousNet`, or a plain `Sequential` of the kinds that `structure` reads.
        x: (n, …) points.
        initial: the net at initialisation, for the movement of the feature kernel.
        batch_size: points at a time.

    Returns:
        A `Features`; only a net of one layer has no hidden ones.

    Raises:
        TypeError: a module whose hidden layers cannot be found; the message says why.
        ValueError: no points, parameters that are NaN or infinite, weights that are computed
            (pruning masks, weight norm), or an `initial` of other hidden layers.

    Source: effective rank: Roy & Vetterli, EUSIPCO 2007; CKA: Kornblith et al., ICML 2019.
    """
    check_parameters(net)
    batch_size = as_integer(batch_size, "batch_size", least=1)
    nets = [_readable(net, "net")]
    x = points(nets[0], x)
    hidden = hidden_units(nets[0])
    if initial is not None:
        as_net(initial, "initial")
        check_parameters(initial, "initial")
        nets.append(_readable(initial, "initial"))
        other = hidden_units(nets[1])
        if [h.units for h in hidden] != [h.units for h in other]:
            raise ValueError(
                f"initial has hidden layers of {[h.units for h in other]} units, net of "
                f"{[h.units for h in hidden]}; pass the same net at its start"
            )
    sums = [_Sums(units) for units in hidden]
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        layers = [_activations(each, batch, hidden) for each in nets]
        for i, total in enumerate(sums):
            total.add(layers[0][i], layers[1][i] if initial is not None else None)
    parameters = {k: p.detach().to(torch.float64) for k, p in nets[0].named_parameters()}
    measured = {total.hidden.name: total.result(parameters) for total in sums}
    return Features(measured, {k: _weight(p) for k, p in parameters.items()})


def _readable(net: nn.Module, name: str) -> HomogeneousNet | nn.Sequential:
    twin = copied(net)
    if not isinstance(twin, HomogeneousNet | nn.Sequential):
        raise TypeError(
            f"{name} is a {type(net).__name__}; features() reads a mirrorflow.nets.HomogeneousNet "
            "or a Sequential of Linear, Conv, ReLU, pooling and Flatten. Derive the net from "
            "HomogeneousNet with `junctions` and `activations`"
        )
    return twin


def _weight(p: Tensor) -> WeightFeatures:
    magnitude = p.abs().reshape(-1)
    peak = largest([p])
    if peak == 0:
        return WeightFeatures(0.0, 0.0)
    magnitude = magnitude / peak
    root = len(magnitude) ** 0.5
    ratio = float(magnitude.sum() / magnitude.norm())
    hoyer = (root - ratio) / (root - 1) if root > 1 else 0.0
    return WeightFeatures(float((magnitude > _SMALL).double().mean()), hoyer)


def _activations(
    net: HomogeneousNet | nn.Sequential, x: Tensor, hidden: tuple[Units, ...]
) -> tuple[Tensor, ...]:
    """Features of every hidden layer, (n, units, …) each.

    Raises:
        ValueError: the net does not take x, or returns NaN or infinity.
        TypeError: `activations` that do not fit the declared hidden layers.
    """
    try:
        if isinstance(net, HomogeneousNet):
            layers = net.activations(x)
        else:
            layers = _of_sequential(net, x, hidden)
    except MirrorFlowError:
        raise
    except Exception as error:
        raise ValueError(
            f"x: the net does not take points of shape {tuple(x.shape)}, {x.dtype}: {error}"
        ) from error
    units = [h.units for h in hidden]
    if [h.shape[1] for h in layers] != units:
        raise TypeError(
            f"net (a {type(net).__name__}) returns activations of shapes "
            f"{[tuple(h.shape) for h in layers]}, but declares hidden layers of {units} units"
        )
    if not all(bool(torch.isfinite(h).all()) for h in layers):
        raise ValueError(
            "the features of net hold NaN or infinity on x; check x and the parameters"
        )
    return layers


def _of_sequential(net: nn.Sequential, x: Tensor, hidden: tuple[Units, ...]) -> tuple[Tensor, ...]:
    """After the last activation before the next weights; pooling afterwards is not counted."""
    waiting = list(hidden)
    out: list[Tensor] = []
    h, inside, units, form = x, False, 0, ""
    for place, module in steps(net):
        h = module(h.clone() if getattr(module, "inplace", False) else h)
        if isinstance(module, nn.Flatten) and form == "map":
            form = "flat"
        elif isinstance(module, nn.Unflatten):
            form = "map"
        if hasattr(module, "weight"):
            inside = bool(waiting) and waiting[0].name == f"{place}.weight"
            form = "vector" if isinstance(module, nn.Linear) else "map"
            if inside:
                units = waiting.pop(0).units
                out.append(_by_unit(h, units, form))
        elif isinstance(module, nn.ReLU | nn.LeakyReLU) and inside:
            out[-1] = _by_unit(h, units, form)
    return tuple(out)


def _by_unit(h: Tensor, units: int, form: str) -> Tensor:
    """(n, units, …): from the last entries of a vector, the channels of a map, the flat map."""
    h = h.movedim(-1, 1) if form == "vector" else h
    return h if h.shape[1] == units else h.reshape(len(h), units, -1, *h.shape[2:])


class _Sums:
    """Sums over points of one hidden layer."""

    def __init__(self, hidden: Units) -> None:
        self.hidden = hidden
        self.points = self.entries = self.zeros = 0
        self.active = torch.zeros(hidden.units, dtype=torch.bool)
        self.gram = torch.zeros(hidden.units, hidden.units, dtype=torch.float64)
        self.cross: list[Tensor] = []
        self.means: list[Tensor] = []
        self.scales: list[float] = []  # of the first batch: squares can leave the float range

    def add(self, h: Tensor, other: Tensor | None) -> None:
        both = [v.to(torch.float64) for v in (h, other) if v is not None]
        if not self.scales:
            self.scales = [largest([v]) or 1.0 for v in both]
        both = [v / scale for v, scale in zip(both, self.scales, strict=True)]
        rows = both[0]
        rows = rows.movedim(1, -1).reshape(-1, self.hidden.units)
        self.active |= (rows != 0).any(0).cpu()
        self.zeros += int((rows == 0).sum())
        self.entries += rows.numel()
        self.gram = self.gram.to(rows.device) + rows.T @ rows
        if other is None:
            return
        self.points += len(h)
        a, b = (v.flatten(2).mean(2) if v.ndim > 2 else v for v in both)
        cross, means = [a.T @ a, b.T @ b, a.T @ b], [a.sum(0), b.sum(0)]
        if not self.cross:
            self.cross, self.means = cross, means
        else:
            self.cross = [u + v for u, v in zip(self.cross, cross, strict=True)]
            self.means = [u + v for u, v in zip(self.means, means, strict=True)]

    def result(self, parameters: dict[str, Tensor]) -> HiddenFeatures:
        peak = max(float(p.abs().max()) for p in parameters.values()) or 1.0
        squares = {k: (p / peak).square() for k, p in parameters.items()}
        s = (self.hidden.fan_in(squares) * self.hidden.fan_out(squares)).sqrt().cpu()
        alive = self.active & (s > _SMALL * s.max())
        total = float(s.square().sum())
        values = torch.linalg.eigvalsh(self.gram).clamp(min=0).sqrt()
        weights = values / values.sum() if float(values.sum()) > 0 else values
        entropy = float(-(torch.special.xlogy(weights, weights)).sum())
        return HiddenFeatures(
            units=self.hidden.units,
            alive=float(alive.double().mean()),
            zero_activations=self.zeros / self.entries,
            participation=float(s.sum()) ** 2 / (len(s) * total) if total > 0 else 0.0,
            effective_rank=math.exp(entropy) if float(values.sum()) > 0 else 0.0,
            cka_movement=self._movement(),
            strengths=s * peak * peak,
        )

    def _movement(self) -> float | None:
        if not self.cross:
            return None
        n, (u, v) = self.points, self.means
        centred = [
            c - torch.outer(p, q) / n
            for c, (p, q) in zip(self.cross, [(u, u), (v, v), (u, v)], strict=True)
        ]
        sizes = [float(c.norm()) for c in centred]
        own = sizes[0] * sizes[1]
        return 1.0 - sizes[2] ** 2 / own if own > 0 else float(sizes[0] != sizes[1])

"""Sparse or dense: what the hidden layers of a network look like on data, for any network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_integer, as_net
from mirrorflow.diagnostics.geometry import check_parameters
from mirrorflow.diagnostics.readers import Reading, out_norms, watching
from mirrorflow.diagnostics.structure import Units, hidden_units, steps
from mirrorflow.errors import MirrorFlowError
from mirrorflow.nets import HomogeneousNet
from mirrorflow.nets.evaluate import copied, largest, points, undisturbed
from mirrorflow.roles import roles
from mirrorflow.tabular import aligned

__all__ = ["Features", "HiddenFeatures", "WeightFeatures", "features"]

_SMALL = 1e-3
_RANKED = 4096  # units up to which the matrix of their products is kept


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
        alive: share of units that are ever active on the data and whose strength is above 1e-3 of
            the largest.
        zero_activations: share of exact zeros among all activations.
        participation: `(Σ s_j)²/(m Σ s_j²)` of the strengths, between 1/m and 1.
        effective_rank: `exp(H)`, H the entropy of the normalised singular values of the feature
            matrix (for a convolution every position is a row); NaN for more than 4096 units.
        cka_movement: `1 − CKA` (linear kernel of the features, centred; for a convolution of
            their mean over positions) against the initial net; None without one. 0 where both
            are constant over the points, 1 where one is.
        strengths: `s_j = ‖in_j‖₂ ‖out_j‖₂`, (m,). Where the weights into a unit are not known
            (normalisation, branches), the root mean square of its activations stands for the
            first factor; neither changes when a unit is scaled up and its readers down.
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
    weight tensor. Frozen weights are measured as the others are. Printed, two tables.

    Attributes:
        hidden: by the incoming weight or, if `readers`, by the weight that reads the layer.
        weights: of every parameter.
        readers: True where the hidden layers are what the layers with weights read.
    """

    hidden: dict[str, HiddenFeatures]
    weights: dict[str, WeightFeatures]
    readers: bool = False

    def __str__(self) -> str:
        moved = any(h.cka_movement is not None for h in self.hidden.values())
        header = ["read by" if self.readers else "hidden layer behind", "units", "alive"]
        header += ["zero activations", "participation", "effective rank", *["movement"] * moved]
        rows = [
            [
                name,
                str(h.units),
                f"{h.alive:.1%}",
                f"{h.zero_activations:.1%}",
                f"{h.participation:.3f}",
                f"{h.effective_rank:.2f}",
                *([f"{h.cka_movement:.3f}" if h.cka_movement is not None else ""] * moved),
            ]
            for name, h in self.hidden.items()
        ]
        parts = [aligned(header, rows) if rows else "no hidden layer was seen"]
        lines = [[name, f"{w.above:.1%}", f"{w.hoyer:.3f}"] for name, w in self.weights.items()]
        return "\n\n".join([*parts, aligned(["parameter", "> 1e-3 max", "Hoyer"], lines)])


@undisturbed
def features(
    net: nn.Module, x: Tensor, *, initial: nn.Module | None = None, batch_size: int = 1024
) -> Features:
    """Measure sparsity and rank of the hidden layers on the points x, batch by batch.

    Only sums over points are kept: memory is `O(batch·units + units²)`. A copy of the net is
    called, in its own dtype and in eval mode; your net is left as it was.

    Args:
        net: any module. A `HomogeneousNet` declares its hidden layers, those of a plain
            `Sequential` are read off; of any other net (normalisation, biases, branches, attention)
            they are what each linear, convolution or attention layer but the first reads.
        x: (n, …) points.
        initial: the net at initialisation, for the movement of the feature kernel.
        batch_size: points at a time.

    Returns:
        A `Features`; print it. Only a net of one layer has no hidden ones.

    Raises:
        TypeError: a `HomogeneousNet` that declares no hidden layers, or a net without any that can
            be seen; the message says why.
        ValueError: no points, parameters that are NaN or infinite, weights that are computed
            (pruning masks, weight norm), or an `initial` of other hidden layers.

    Source: effective rank: Roy & Vetterli, EUSIPCO 2007; CKA: Kornblith et al., ICML 2019.
    """
    check_parameters(net)
    batch_size = as_integer(batch_size, "batch_size", least=1)
    nets = [copied(net)]
    x = points(nets[0], x)
    if initial is not None:
        as_net(initial, "initial")
        check_parameters(initial, "initial")
        nets.append(copied(initial))
    declared = _declared(nets[0])
    if declared is None:
        return _of_readers(nets, x, batch_size)
    if initial is not None:
        other = _declared(nets[1])
        if other is None or [h.units for h in declared] != [h.units for h in other]:
            raise ValueError(
                f"initial has hidden layers of {[h.units for h in other or ()]} units, net of "
                f"{[h.units for h in declared]}; pass the same net at its start"
            )
    sums = [_Sums(units.units) for units in declared]
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        layers = [_activations(each, batch, declared) for each in nets]
        for i, total in enumerate(sums):
            total.add(layers[0][i], layers[1][i] if initial is not None else None)
    parameters = _in_double(nets[0])
    hidden = {
        units.name: total.result(_strengths(units, parameters))
        for units, total in zip(declared, sums, strict=True)
    }
    return Features(hidden, {k: _weight(p) for k, p in parameters.items()})


def _declared(net: nn.Module) -> tuple[Units, ...] | None:
    """The hidden layers that a net declares or shows; None if it does neither."""
    if isinstance(net, HomogeneousNet):
        return hidden_units(net)
    if not isinstance(net, nn.Sequential):
        return None
    try:
        return hidden_units(net)
    except TypeError:
        return None


def _in_double(net: nn.Module) -> dict[str, Tensor]:
    return {k: p.detach().to(torch.float64) for k, p in net.named_parameters()}


def _strengths(units: Units, parameters: dict[str, Tensor]) -> Tensor:
    """`‖in_j‖₂ ‖out_j‖₂`."""
    peak = max(float(p.abs().max()) for p in parameters.values()) or 1.0
    squares = {k: (p / peak).square() for k, p in parameters.items()}
    return (units.fan_in(squares) * units.fan_out(squares)).sqrt().cpu() * peak * peak


def _of_readers(nets: list[nn.Module], x: Tensor, batch_size: int) -> Features:
    """Measured on what each layer with weights reads."""
    sums: dict[str, _Sums] = {}
    for start in range(0, len(x), batch_size):
        readings = [_read(each, x[start : start + batch_size]) for each in nets]
        for name, h in readings[0].items():
            if any(name not in r or r[name].shape != h.shape for r in readings):
                raise ValueError(
                    f"initial does not read what net reads at {name!r}; pass the same net at its "
                    "start"
                )
            total = sums.setdefault(name, _Sums(h.shape[1]))
            total.add(h, readings[1][name] if len(nets) > 1 else None)
    weights = {k: _weight(p) for k, p in _in_double(nets[0]).items()}
    hidden = {
        name: total.result(total.root_mean_square() * out_norms(nets[0], name).cpu())
        for name, total in sums.items()
    }
    if not hidden and sum(role.kind == "weight" for role in roles(nets[0])) > 1:
        raise TypeError(
            f"net is a {type(nets[0]).__name__} with several weights, none of which is read by a "
            "Linear, Conv or MultiheadAttention module behind another, so that no hidden layer "
            "can be seen; use such modules, or derive the net from mirrorflow.nets.HomogeneousNet "
            "with `junctions` and `activations`"
        )
    return Features(hidden, weights, readers=True)


def _read(net: nn.Module, batch: Tensor) -> Reading:
    with watching(net) as seen:
        try:
            net(batch)
        except MirrorFlowError:
            raise
        except Exception as error:
            raise ValueError(
                f"x: the net does not take points of shape {tuple(batch.shape)}, {batch.dtype}: "
                f"{error}"
            ) from error
    for name, h in seen.items():
        if not bool(torch.isfinite(h).all()):
            raise ValueError(
                f"what {name!r} of net reads holds NaN or infinity on x; check x and the parameters"
            )
    return seen


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


def _activations(net: nn.Module, x: Tensor, hidden: tuple[Units, ...]) -> tuple[Tensor, ...]:
    """Features of every hidden layer, (n, units, …) each.

    Raises:
        ValueError: the net does not take x, or returns NaN or infinity.
        TypeError: `activations` that do not fit the declared hidden layers.
    """
    try:
        if isinstance(net, HomogeneousNet):
            layers = net.activations(x)
        else:
            assert isinstance(net, nn.Sequential)  # `_declared` has read it
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

    def __init__(self, units: int) -> None:
        self.units = units
        self.points = self.entries = self.zeros = 0
        self.active = torch.zeros(units, dtype=torch.bool)
        self.squares = torch.zeros(units, dtype=torch.float64)
        small = units <= _RANKED
        self.gram = torch.zeros(units, units, dtype=torch.float64) if small else None
        self.cross: list[Tensor] = []
        self.means: list[Tensor] = []
        self.scales: list[float] = []  # of the first batch: squares can leave the float range

    def add(self, h: Tensor, other: Tensor | None) -> None:
        both = [v.to(torch.float64) for v in (h, other) if v is not None]
        if not self.scales:
            self.scales = [largest([v]) or 1.0 for v in both]
        both = [v / scale for v, scale in zip(both, self.scales, strict=True)]
        rows = both[0]
        rows = rows.movedim(1, -1).reshape(-1, self.units)
        self.active |= (rows != 0).any(0).cpu()
        self.zeros += int((rows == 0).sum())
        self.entries += rows.numel()
        self.squares += rows.square().sum(0).cpu()
        if self.gram is None:
            return
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

    def root_mean_square(self) -> Tensor:
        """Of the activations of every unit, (units,)."""
        return (self.squares / (self.entries / self.units)).sqrt() * self.scales[0]

    def result(self, strengths: Tensor) -> HiddenFeatures:
        alive = self.active & (strengths > _SMALL * strengths.max())
        top = float(strengths.max())
        s = strengths / top if top > 0 else strengths
        total = float(s.square().sum())
        return HiddenFeatures(
            units=self.units,
            alive=float(alive.double().mean()),
            zero_activations=self.zeros / self.entries,
            participation=float(s.sum()) ** 2 / (len(s) * total) if total > 0 else 0.0,
            effective_rank=self._effective_rank(),
            cka_movement=self._movement(),
            strengths=strengths,
        )

    def _effective_rank(self) -> float:
        if self.gram is None:
            return math.nan
        values = torch.linalg.eigvalsh(self.gram).clamp(min=0).sqrt()
        if not float(values.sum()) > 0:
            return 0.0
        weights = values / values.sum()
        return math.exp(float(-(torch.special.xlogy(weights, weights)).sum()))

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

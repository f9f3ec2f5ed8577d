"""The horizon function of a whole network: joint for one map, a product over different maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mirrorflow.arrays import conjugate_order, lp_norm
from mirrorflow.checks import as_tensor, shown
from mirrorflow.diagnostics.structure import Structure, structure
from mirrorflow.maps import (
    Horizon,
    HorizonLike,
    LpHorizon,
    MapLike,
    MaxOverTensors,
    MirrorMap,
    SchattenHorizon,
    assign,
)
from mirrorflow.nets.evaluate import check_plain, points, trained_parameters

__all__ = [
    "Block",
    "Geometry",
    "Group",
    "check_finite",
    "check_parameters",
    "check_tensors",
    "geometry",
    "trained_maps",
]


@dataclass(frozen=True)
class Block:
    """Parameters measured together by one horizon function: a whole group if its map is
    separable, else one tensor. `degree` is their `k` (NaN if unknown)."""

    names: tuple[str, ...]
    horizon: Horizon
    degree: float

    def gather(self, parameters: dict[str, Tensor]) -> Tensor:
        """The parameter itself if it is one (a matrix keeps its shape), else all in one vector."""
        if len(self.names) == 1:
            return parameters[self.names[0]]
        return torch.cat([parameters[name].reshape(-1) for name in self.names])

    def gauge(self, parameters: dict[str, Tensor]) -> float:
        """`Q_b` of these parameters."""
        return float(self.horizon.gauge(self.gather(parameters)))

    def dual_gauge(self, gradients: dict[str, Tensor]) -> float:
        """`Q_b°` of gradients."""
        return float(self.horizon.dual_gauge(self.gather(gradients)))


@dataclass(frozen=True)
class Group:
    """The parameters of one map: `Q_g = (Σ_b Q_b^α)^{1/α}`, α its index; `degree` is `k_g`.

    `mirror_map` is None where a horizon was given instead; `whole` says that one horizon takes all
    entries together, so that any of the parameters can be measured by it.
    """

    blocks: tuple[Block, ...]
    degree: float
    alpha: float
    whole: bool
    mirror_map: MirrorMap | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All its parameters."""
        return tuple(name for block in self.blocks for name in block.names)

    def gauge(self, parameters: dict[str, Tensor]) -> float:
        """`Q_g`."""
        return lp_norm(np.array([block.gauge(parameters) for block in self.blocks]), self.alpha)

    def dual_gauge(self, gradients: dict[str, Tensor]) -> float:
        """`Q_g°`."""
        sizes = [block.dual_gauge(gradients) for block in self.blocks]
        return lp_norm(np.array(sizes), conjugate_order(self.alpha))


@dataclass(frozen=True)
class Geometry:
    """`Q` of a net: joint over parameters of one map, a product `Π_g Q_g^{k_g/L}` over maps.

    Different maps let the norms of their parameters diverge at different rates, so only the
    product is meaningful; the margin is `min q/Q^L` in both cases.
    """

    groups: tuple[Group, ...]
    degree: float

    @property
    def joint(self) -> bool:
        """True if there is one map."""
        return len(self.groups) == 1

    def log_gauges(self, parameters: dict[str, Tensor]) -> tuple[float, ...]:
        """`log Q_g` per group; −inf for a group of zeros."""
        values = [group.gauge(parameters) for group in self.groups]
        return tuple(math.log(v) if v > 0 else -math.inf for v in values)

    def log_gauge(self, logs: tuple[float, ...]) -> float:
        """`log Q` from the `log Q_g`."""
        if self.joint:
            return logs[0]
        parts = zip(self.groups, logs, strict=True)
        return math.fsum(g.degree * log for g, log in parts) / self.degree

    def normalise(self, parameters: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        """θ scaled to `Q_g = 1` for every group, with `log Q` of what came in.

        Raises:
            ValueError: the parameters (all of one map) are zero.
        """
        logs = self.log_gauges(parameters)
        log_gauge = self.log_gauge(logs)
        if math.isinf(log_gauge):
            raise ValueError(
                "the parameters (or, where maps differ, all those of one map) are zero: "
                "there is no direction to speak of; start from other weights"
            )
        scaled = dict(parameters)
        for group, log in zip(self.groups, logs, strict=True):
            half = math.exp(-0.5 * log)  # twice, because exp(−log Q) can leave the float range
            for name in group.names:
                scaled[name] = parameters[name] * half * half
        return scaled, log_gauge


def geometry(
    net: nn.Module,
    mirror_map: MapLike | HorizonLike,
    x: Tensor | None = None,
    *,
    found: Structure | None = None,
) -> Geometry:
    """Group the trained parameters of a net by map; frozen ones are no part of Q.

    A horizon in place of a map is one group: an `LpHorizon` (or one of your own) of all entries
    together, a `SchattenHorizon(p)` as ℓp over the tensors, a `MaxOverTensors` as ℓ∞ over them.

    Raises:
        NoHorizonError: a map without a horizon function.
        TypeError: a mapping that holds horizons.
        ValueError: maps differ, but the degree in the parameters of one of them is unknown; a
            horizon that does not fit the tensors of the net.
    """
    if isinstance(mirror_map, Mapping):
        for key, value in mirror_map.items():
            if isinstance(value, Horizon | MaxOverTensors):
                raise TypeError(
                    f"mirror_map[{shown(key)}] = {value!r} is a horizon, and a mapping is one of "
                    "maps; pass MaxOverTensors({name: horizon, ...}) for the largest of several"
                )
    if isinstance(mirror_map, Horizon | MaxOverTensors):
        found = found or structure(net, x)
        single = _single(found)
        return _measured_by(mirror_map, trained_parameters(net), found.degree, single)
    maps = trained_maps(mirror_map, net)
    found = found or structure(net, x)
    single = _single(found)
    members: dict[MirrorMap, list[str]] = {}
    for name, mirror in maps.items():
        members.setdefault(mirror, []).append(name)
    groups = []
    for mirror, names in members.items():
        whole = found.degree if len(members) == 1 else _degree(names, found)
        horizon = mirror.horizon()
        if mirror.separable:
            blocks = [Block(tuple(names), horizon, whole)]
        else:
            blocks = [Block((name,), horizon, single.get(name, math.nan)) for name in names]
        groups.append(Group(tuple(blocks), whole, mirror.index, mirror.separable, mirror))
    return Geometry(tuple(groups), found.degree)


def _single(found: Structure) -> dict[str, float]:
    """The degrees of the tensors in which the net is homogeneous on their own."""
    return {layer.name: layer.degree for layer in found.layers if len(layer.names) == 1}


def _measured_by(
    horizon: HorizonLike, parameters: dict[str, Tensor], degree: float, single: dict[str, float]
) -> Geometry:
    """One group, measured by a horizon that no map was named for."""
    alpha, whole = math.nan, True
    if isinstance(horizon, MaxOverTensors):
        each = horizon.of(parameters)
        # The largest entry over all tensors: one ℓ∞ norm.
        if all(h == LpHorizon(math.inf) for h in each.values()):
            return _measured_by(LpHorizon(math.inf), parameters, degree, single)
        alpha, whole = math.inf, False
    elif isinstance(horizon, SchattenHorizon):
        # Of the block-diagonal matrix of all tensors.
        each, alpha, whole = dict.fromkeys(parameters, horizon), horizon.p, False
    else:
        block = Block(tuple(parameters), horizon, degree)
        _check_fit(block, parameters)
        return Geometry((Group((block,), degree, 1.0, True),), degree)
    blocks = [Block((name,), h, single.get(name, math.nan)) for name, h in each.items()]
    for block in blocks:
        _check_fit(block, parameters)
    return Geometry((Group(tuple(blocks), degree, alpha, whole),), degree)


def _check_fit(block: Block, parameters: dict[str, Tensor]) -> None:
    """Refuse a horizon that cannot measure these tensors, or measures them as no norm does.

    Raises:
        ValueError: naming the tensors.
    """
    shapes = ", ".join(f"{name} {tuple(parameters[name].shape)}" for name in block.names)
    try:
        tensor = block.gather({k: parameters[k].to(torch.float64) for k in block.names})
        scale = tensor.abs().max()
        unit = tensor / torch.where(scale > 0, scale, 1.0)
        one, two = float(block.horizon.gauge(unit)), float(block.horizon.gauge(2 * unit))
        dual = float(block.horizon.dual_gauge(unit))
        slope = block.horizon.subgradient(unit)
    except Exception as error:
        raise ValueError(
            f"horizon = {block.horizon!r} does not fit the net: it fails on {shapes} "
            f"({type(error).__name__}: {error}); choose one per tensor with "
            "MaxOverTensors({name: horizon, ...})"
        ) from error
    norm = one >= 0 and math.isfinite(two) and abs(two - 2 * one) <= 1e-6 * two and dual >= 0
    if not norm or slope.shape != unit.shape:
        raise ValueError(
            f"horizon = {block.horizon!r} does not fit the net: on {shapes} it is no norm "
            f"(Q(W) = {one:g}, Q(2W) = {two:g}, Q°(W) = {dual:g}, a subgradient of shape "
            f"{tuple(slope.shape)})"
        )


def _degree(names: list[str], found: Structure) -> float:
    layers = [layer for layer in found.layers if set(layer.names) <= set(names)]
    missing = set(names) - {name for layer in layers for name in layer.names}
    total = math.fsum(layer.degree for layer in layers)
    if missing or not total > 0:
        raise ValueError(
            f"maps differ between parameters, but the net is not homogeneous in {names} alone "
            f"(unknown: {sorted(missing) or names}); use one map for all, or for whole layers"
        )
    return total


def trained_maps(mirror_map: MapLike, net: nn.Module) -> dict[str, MirrorMap]:
    """The map of every trained parameter; a mapping may name frozen ones too, or leave them out.

    Raises:
        TypeError, ValueError: see `maps.assign`; all parameters frozen.
    """
    trained = list(trained_parameters(net))
    names = [name for name, _ in net.named_parameters()]
    if len(trained) < len(names):
        try:
            maps = assign(mirror_map, names, net)
        except ValueError:  # the mapping names the trained ones only
            return assign(mirror_map, trained, net)
        return {name: maps[name] for name in trained}
    return assign(mirror_map, names, net)


def check_tensors(net: nn.Module, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Points in float64 and labels as tensors; NumPy arrays are taken.

    Raises:
        TypeError: x or y is neither tensor nor array, or not of real numbers.
        ValueError: no points, or NaN or infinity among them.
    """
    rows = points(net, x, dtype=torch.float64)
    if isinstance(y, list | tuple):
        raise TypeError(f"y is a {type(y).__name__}; pass a torch.Tensor of labels, (n,)")
    labels = as_tensor(y, "y").detach()
    if labels.ndim == 0 or len(labels) != len(rows):
        raise ValueError(
            f"y has shape {tuple(labels.shape)}, but x of shape {tuple(rows.shape)} is "
            f"{len(rows)} points; pass one label a point, shape ({len(rows)},)"
        )
    return rows, labels.clone() if labels.is_inference() else labels


def check_parameters(net: nn.Module, name: str = "net") -> None:
    """Refuse what is no module, and parameters that are missing, computed, NaN or infinite.

    Raises:
        TypeError: not a module.
        ValueError: naming the parameter; no parameters; see `nets.evaluate.check_plain`.
    """
    check_plain(net)
    if not any(True for _ in net.parameters()):
        raise ValueError(f"{name} has no parameters, so there is nothing to measure")
    for key, parameter in net.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(
                f"{name}: the parameter {key!r} holds NaN or infinity; "
                "load the last finite checkpoint"
            )


def check_finite(net: nn.Module) -> None:
    """Refuse NaN and infinite parameters, and a net in train mode whose output is random.

    Raises:
        TypeError: not a module.
        ValueError: naming the parameter, or the module that is in train mode; no parameters.
    """
    check_parameters(net)
    for name, module in net.named_modules():
        if not module.training:
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"net: {name} is a {type(module).__name__} in train mode, so the margins are "
                "random; call net.eval() first"
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"net: {name} is a {type(module).__name__} in train mode, so the margins depend "
                "on the batch; call net.eval() first"
            )

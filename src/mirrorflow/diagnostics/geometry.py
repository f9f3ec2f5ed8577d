"""The horizon function of a whole network: joint for one map, a product where maps differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.diagnostics.structure import Structure, structure
from mirrorflow.maps import Horizon, MapLike, MirrorMap, assign

__all__ = ["Block", "Geometry", "check_finite", "geometry"]


@dataclass(frozen=True)
class Block:
    """Parameters measured together by one horizon function; `degree` is their `k_l`."""

    names: tuple[str, ...]
    mirror_map: MirrorMap
    horizon: Horizon
    degree: float

    def gauge(self, parameters: dict[str, Tensor]) -> float:
        """`Q_l` of these parameters."""
        return float(self.horizon.gauge(self.gather(parameters)))

    def gather(self, parameters: dict[str, Tensor]) -> Tensor:
        """The parameter itself if it is one (a matrix keeps its shape), else all in one vector."""
        if len(self.names) == 1:
            return parameters[self.names[0]]
        return torch.cat([parameters[name].reshape(-1) for name in self.names])


@dataclass(frozen=True)
class Geometry:
    """How `Q` is built from blocks.

    Joint (one map everywhere): `Q = (Σ_l Q_l^α)^{1/α}` with α the index of the map, which for a
    separable map is one block. Product (maps differ): the margin is `min q / Π_l Q_l^{k_l}`, and
    `log_gauge` is `Σ_l (k_l/L) log Q_l`.
    """

    blocks: tuple[Block, ...]
    degree: float
    joint: bool
    alpha: float

    def log_gauges(self, parameters: dict[str, Tensor]) -> tuple[float, ...]:
        """`log Q_l` per block; −inf for a block of zeros."""
        values = [block.gauge(parameters) for block in self.blocks]
        return tuple(math.log(v) if v > 0 else -math.inf for v in values)

    def log_gauge(self, logs: tuple[float, ...]) -> float:
        """`log Q` from the `log Q_l`."""
        if not self.joint:
            parts = zip(self.blocks, logs, strict=True)
            return sum(b.degree * log for b, log in parts if b.degree) / self.degree
        top = max(logs)
        if math.isinf(self.alpha) or math.isinf(top):
            return top
        total = sum(math.exp(self.alpha * (log - top)) for log in logs)
        return top + math.log(total) / self.alpha

    def normalise(self, parameters: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        """θ scaled to `Q = 1` (every `Q_l = 1` for a product), with `log Q` of what came in.

        Raises:
            ValueError: the parameters (a layer, for a product) are zero.
        """
        logs = self.log_gauges(parameters)
        log_gauge = self.log_gauge(logs)
        if math.isinf(log_gauge):
            raise ValueError(
                "the parameters (or, where maps differ, all those of one layer) are zero: "
                "there is no direction to speak of; start from other weights"
            )
        scaled = dict(parameters)
        for block, log in zip(self.blocks, logs, strict=True):
            # A product of two factors, because exp(−log Q) alone can leave the float range.
            half = math.exp(-0.5 * (log_gauge if self.joint else log))
            for name in block.names:
                scaled[name] = parameters[name] * half * half
        return scaled, log_gauge

    @property
    def blocks_by_name(self) -> dict[str, Block]:
        """Blocks by their first parameter."""
        return {block.names[0]: block for block in self.blocks}


def geometry(
    net: nn.Module, mirror_map: MapLike, x: Tensor | None = None, *, found: Structure | None = None
) -> Geometry:
    """Choose between the joint horizon function and the product over layers.

    Raises:
        NoHorizonError: a map without a horizon function.
        ValueError: maps differ, but a parameter has no degree of its own, or one layer two maps.
    """
    names = [name for name, _ in net.named_parameters()]
    maps = assign(mirror_map, names)
    found = found or structure(net, x)
    first = maps[names[0]]
    if all(m == first for m in maps.values()):
        horizon = first.horizon()
        if first.separable:
            block = Block(tuple(names), first, horizon, found.degree)
            return Geometry((block,), found.degree, True, first.index)
        degrees = {name: layer.degree for layer in found.layers for name in layer.names}
        blocks = tuple(Block((n,), first, horizon, degrees.get(n, math.nan)) for n in names)
        return Geometry(blocks, found.degree, True, first.index)
    product = []
    for layer in found.layers:
        own = {maps[name] for name in layer.names}
        mirror = maps[layer.name]
        if len(own) > 1 or (len(layer.names) > 1 and not mirror.separable):
            raise ValueError(
                f"the parameters {list(layer.names)} form one layer and need one separable map, "
                f"got {sorted(map(repr, own))}"
            )
        product.append(Block(layer.names, mirror, mirror.horizon(), layer.degree))
    covered = {name for block in product for name in block.names}
    missing = [name for name in names if name not in covered]
    if missing:
        raise ValueError(
            f"maps differ between parameters, but the net is not homogeneous in {missing} alone; "
            "use one map for all, or a net that declares its layer degrees"
        )
    return Geometry(tuple(product), found.degree, False, math.nan)


def check_finite(net: nn.Module) -> None:
    """Refuse NaN and infinite parameters, and a net in train mode whose output is random.

    Raises:
        ValueError: naming the parameter, or the module that is in train mode.
    """
    for name, parameter in net.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(
                f"the parameter {name!r} holds NaN or infinity; load the last finite checkpoint"
            )
    for name, module in net.named_modules():
        if module.training and isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"{name} is a {type(module).__name__} in train mode, so the margins are random; "
                "call net.eval() first"
            )

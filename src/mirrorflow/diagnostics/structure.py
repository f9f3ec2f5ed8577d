"""Layers and hidden units of a network: declared by our nets, inferred for a plain Sequential."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.errors import NotHomogeneousError
from mirrorflow.nets import HomogeneousNet, check_degree

__all__ = ["Layer", "Structure", "Units", "structure", "weight_modules"]

_PER_UNIT = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.Identity,
    nn.Flatten,
    nn.Dropout,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layer:
    """Parameters in which the net is jointly homogeneous of `degree` (a weight, with its bias)."""

    names: tuple[str, ...]
    degree: float

    @property
    def name(self) -> str:
        """The name of the first parameter."""
        return self.names[0]


@dataclass(frozen=True)
class Units:
    """Hidden units with all their incoming parameters (`nets.Junction`, plus a bias)."""

    incoming: tuple[str, ...]
    outgoing: str
    units: int
    repeat: int = 1
    degree: float = 1.0

    def fan_in(self, entries: dict[str, Tensor]) -> Tensor:
        """Sum over the incoming weights of each unit of what `entries` holds, shape (units,)."""
        parts = [entries[name].reshape(self.units, -1).sum(1) for name in self.incoming]
        return torch.stack(parts).sum(0)

    def fan_out(self, entries: dict[str, Tensor]) -> Tensor:
        """Sum over the outgoing weights of each unit, shape (units,)."""
        value = entries[self.outgoing]
        if value.ndim <= 2:
            value = value.reshape(-1, self.units, self.repeat).sum((0, 2))
        else:
            value = value.transpose(0, 1).reshape(self.units, -1).sum(1)
        return value


@dataclass(frozen=True)
class Structure:
    """`L`, the layers with their `k_l` (empty if unknown) and the hidden units (likewise)."""

    degree: float
    layers: tuple[Layer, ...]
    units: tuple[Units, ...]


def structure(net: nn.Module, x: Tensor | None = None) -> Structure:
    """Find degree, layers and hidden units.

    A `HomogeneousNet` declares them. A `Sequential` of Linear, Conv, ReLU, LeakyReLU, pooling,
    Flatten and Dropout is read off. For any other module the degrees are measured on x by
    `check_degree`, layers are the tensors in which the net is homogeneous on its own, and
    hidden units are unknown.

    Raises:
        NotHomogeneousError: a bias after the first layer, or the measurement fails.
        ValueError: the net declares nothing and x is None.
    """
    if isinstance(net, HomogeneousNet):
        layers = tuple(Layer((k,), float(v)) for k, v in net.layer_degrees.items())
        units = tuple(
            Units((j.incoming,), j.outgoing, j.units, j.repeat, j.degree) for j in net.junctions
        )
        return Structure(net.degree, layers, units)
    if isinstance(net, nn.Sequential):
        found = _sequential(net)
        if found is not None:
            return found
    if x is None:
        raise ValueError(
            f"{type(net).__name__} declares no degrees; pass x, a few points to measure them on, "
            "or derive the net from mirrorflow.nets.HomogeneousNet"
        )
    measured = check_degree(net, x)
    layers = tuple(Layer((k,), v) for k, v in measured.layers.items())
    return Structure(measured.total, layers, ())


def weight_modules(net: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
    """The leaves of a nested Sequential in the order of the data flow."""
    for name, module in net.named_children():
        if isinstance(module, nn.Sequential):
            for inner, leaf in weight_modules(module):
                yield f"{name}.{inner}", leaf
        else:
            yield name, module


def _sequential(net: nn.Sequential) -> Structure | None:
    layers: list[Layer] = []
    units: list[Units] = []
    previous: tuple[tuple[str, ...], int] | None = None
    for name, module in weight_modules(net):
        if isinstance(module, _PER_UNIT):
            continue
        if not isinstance(module, _WEIGHTED) or getattr(module, "groups", 1) != 1:
            return None
        names: tuple[str, ...] = (f"{name}.weight",)
        if module.bias is not None:
            if layers:
                raise NotHomogeneousError(
                    f"{name}.bias is a bias after the first layer, which breaks homogeneity; "
                    f"build that layer with bias=False"
                )
            names += (f"{name}.bias",)
        fan_in, out = module.weight.shape[1], module.weight.shape[0]
        if previous is not None:
            if fan_in % previous[1]:
                return None
            units.append(Units(previous[0], names[0], previous[1], fan_in // previous[1]))
        layers.append(Layer(names, 1.0))
        previous = (names, out)
    return Structure(float(len(layers)), tuple(layers), tuple(units)) if layers else None

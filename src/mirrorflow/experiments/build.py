"""From a configuration to the things it names: data, net and map."""

from __future__ import annotations

import inspect

import torch

from mirrorflow.data import Dataset, load
from mirrorflow.experiments.config import RunConfig
from mirrorflow.maps import MapLike, parse_map
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer

__all__ = ["build_data", "build_map", "build_net"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build_data(config: RunConfig) -> Dataset:
    """The data set in the dtype of the run.

    Raises:
        ValueError, DataError: see `data.load`.
    """
    return load(config.data, **config.data_options).to(_DTYPES[config.dtype])


def build_map(config: RunConfig) -> MapLike:
    """The map, or the mapping from layer names to maps.

    Raises:
        ValueError: see `maps.parse_map`.
    """
    if isinstance(config.mirror_map, str):
        return parse_map(config.mirror_map)
    return {name: parse_map(text) for name, text in config.mirror_map.items()}


def build_net(config: RunConfig, data: Dataset) -> HomogeneousNet:
    """The net for the data, its initial weights drawn from the seed of the run.

    Raises:
        ValueError: an option that the net does not take.
    """
    options = dict(config.net_options)
    options["generator"] = torch.Generator().manual_seed(config.seed)
    d, classes = data.features, data.classes
    hidden = options.pop("hidden", None)
    if config.net == "linear":
        if hidden is not None:
            raise ValueError(f"net_options.hidden = {hidden}: a linear net has no hidden layer")
        _known(Linear, options, config)
        net: HomogeneousNet = Linear(d, classes, **options)
    elif config.net == "two_layer":
        widths = [100] if hidden is None else list(hidden)
        if len(widths) != 1:
            raise ValueError(f"net_options.hidden = {hidden}: a two-layer net has one hidden layer")
        _known(TwoLayer, options, config)
        net = TwoLayer(d, widths[0], classes=classes, **options)
    else:
        _known(MLP, options, config)
        widths = [64, 64] if hidden is None else list(hidden)
        net = MLP((d, *widths, classes or 1), **options)
    return net.to(_DTYPES[config.dtype])


def _known(net: type, options: dict[str, object], config: RunConfig) -> None:
    allowed = set(inspect.signature(net).parameters) - {"d", "m", "classes", "sizes", "generator"}
    unknown = sorted(set(options) - allowed - {"generator"})
    if unknown:
        raise ValueError(
            f"net_options has no key {unknown} for the net {config.net!r}; "
            f"it takes {sorted(allowed | {'hidden'})}"
        )

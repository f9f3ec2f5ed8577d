"""From a configuration to the things it names: data, net, map and optimizer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch

from mirrorflow.data import Dataset, load
from mirrorflow.experiments.config import RunConfig
from mirrorflow.maps import MapLike, parse_map
from mirrorflow.nets import CNN, MLP, VGG, HomogeneousNet, Linear, ResidualNet, TwoLayer
from mirrorflow.optim import LossScaled, MirrorAdamW, MirrorDescent

__all__ = ["build_data", "build_map", "build_net", "build_optimizer", "schedule"]

_IMAGE_NETS: dict[str, Callable[..., HomogeneousNet]] = {
    "cnn": CNN,
    "vgg": VGG,
    "residual": ResidualNet,
}
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "mirror_descent": MirrorDescent,
    "mirror_adamw": MirrorAdamW,
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build_data(config: RunConfig, device: torch.device | str = "cpu") -> Dataset:
    """The data set in the dtype of the run, on a device.

    Raises:
        ValueError, DataError: see `data.load`.
    """
    return load(config.data, **config.data_options).to(_DTYPES[config.dtype], device)


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
    if config.net in _IMAGE_NETS:
        make = _IMAGE_NETS[config.net]
        image = tuple(data.x.shape[1:])
        if len(image) != 3:
            raise ValueError(
                f"net = {config.net!r} takes images (channels, height, width); the points of "
                f"{data.name} have shape {image}"
            )
        _known(make, options, config)
        return make(image, classes=classes, **options).to(_DTYPES[config.dtype])
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


def build_optimizer(
    config: RunConfig, net: HomogeneousNet, mirror_map: MapLike, n: int
) -> torch.optim.Optimizer:
    """The optimizer of a run on n training points.

    Raises:
        ValueError: an option that it does not take.
    """
    make, options = _OPTIMIZERS[config.optimizer], dict(config.optimizer_options)
    mirror = config.optimizer in ("mirror_descent", "mirror_adamw")
    lr: Any = config.lr
    if lr == "auto":
        minibatches = config.is_minibatch(n)
        eta = options.pop("eta", 0.01 if minibatches else 0.02)
        lr = LossScaled(eta)
        if minibatches:
            lr = LossScaled(eta, "linear", config.main_steps(n), reject=False)
    allowed = set(inspect.signature(make).parameters) - {"params", "lr", "mirror_map"}
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise ValueError(
            f"optimizer_options has no key {unknown} for {config.optimizer!r} with lr = "
            f"{config.lr!r}; it takes {sorted(allowed)}" + (" and eta" if lr != config.lr else "")
        )
    if mirror:
        options["mirror_map"] = mirror_map
    return make(net.named_parameters(), lr=lr, **options)


def schedule(config: RunConfig, step: int, total: int) -> float:
    """The learning rate's factor at a step: 1, `1 − t/T` or `(1 + cos(πt/T))/2`."""
    if config.schedule == "constant":
        return 1.0
    share = min(1.0, step / total)
    return 1 - share if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))


def _known(
    net: Callable[..., HomogeneousNet], options: dict[str, object], config: RunConfig
) -> None:
    given = {"d", "m", "classes", "sizes", "image", "generator"}
    allowed = set(inspect.signature(net).parameters) - given
    if config.net not in _IMAGE_NETS:
        allowed.add("hidden")
    unknown = sorted(set(options) - allowed - {"generator"})
    if unknown:
        raise ValueError(
            f"net_options has no key {unknown} for the net {config.net!r}; "
            f"it takes {sorted(allowed)}"
        )

"""From a configuration to the things it names: data, net, map and optimizer."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mirrorflow.checks import as_integer, shown
from mirrorflow.data import Dataset, load
from mirrorflow.data.fingerprint import fingerprint
from mirrorflow.maps import MapLike, parse_map
from mirrorflow.nets import CNN, MLP, VGG, HomogeneousNet, Linear, ResidualNet, TwoLayer
from mirrorflow.optim import MirrorAdamW, MirrorDescent, RelativeStep
from mirrorflow.runs.config import RunConfig, unknown_keys

__all__ = [
    "available_memory",
    "build_data",
    "build_map",
    "build_net",
    "build_optimizer",
    "schedule",
]

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
_COPIES = 5  # weights, gradient, dual, momentum, and what a step needs
_LARGE = 10_000  # a width from which on memory is estimated
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def build_data(
    config: RunConfig, device: torch.device | str = "cpu", *, source: str | None = None
) -> tuple[Dataset, str]:
    """The data set in the dtype of the run, on a device, and its fingerprint.

    Args:
        config: the run.
        device: where the points are to be.
        source: a data set to take in place of that of the configuration.

    Raises:
        ValueError, DataError: see `data.load`; a size that does not fit into memory.
    """
    options = {} if source is not None else config.data_options
    _require_points_fit(options)
    name, square = config.data if source is None else source, config.loss == "square"
    try:
        points = load(name, targets=square, **options)
    except (TypeError, ValueError) as error:
        if square and "class labels" in str(error):
            raise type(error)(f'loss = "square" fits real targets: {error}') from error
        raise
    if points.targets and not square:
        raise ValueError(
            f"data = {name!r} has real targets, but loss = {config.loss!r} is for classes; pass "
            'loss = "square"'
        )
    return points.to(_DTYPES[config.dtype], device), fingerprint(points)


def _require_points_fit(options: dict[str, Any]) -> None:
    """Sizes in `data_options` (`n`, `n_test`, `d`) against the memory of this machine."""
    sizes = {k: v for k, v in options.items() if isinstance(v, int) and not isinstance(v, bool)}
    points = sizes.get("n", 0) + sizes.get("n_test", 0)
    need, there = 8 * points * max(sizes.get("d", 1), 1), available_memory()
    if need > there:
        raise ValueError(
            f"data_options = {shown(options)}: the points would take {need:.3g} bytes, and "
            f"{there:.3g} are available here; take a smaller n or d"
        )


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
        ValueError: an option that the net does not take, or a size that does not fit into memory.
    """
    _require_net_fits(config, data)
    return _net(config, data).to(_DTYPES[config.dtype])


def _require_net_fits(config: RunConfig, data: Dataset) -> None:
    """Weights, their gradients, duals and momentum, and one batch of hidden values, against the
    memory of this machine; the net is laid out without memory for that."""
    sizes = [data.features, *_integers(config.net_options)]
    if max(sizes) < _LARGE and sum(sizes) < 10 * _LARGE:
        return  # at most gigabytes; laying the net out takes a second the first time
    from torch._subclasses.fake_tensor import FakeTensorMode

    weights: float
    try:
        with FakeTensorMode():
            weights = sum(p.numel() for p in _net(config, data).parameters())
    except ValueError as error:  # the net refuses sizes that nobody has memory for
        raise ValueError(f"net_options = {shown(config.net_options)}: {error}") from error
    except (RuntimeError, OverflowError) as error:
        if "overflow" not in str(error).lower():
            return  # its initial weights need real numbers
        weights = math.inf
    widths = sum(_integers({"hidden": config.net_options.get("hidden", [])}))
    points = min(config.batch_size or len(data.x), len(data.x))
    need = 4.0 * (_COPIES * weights + 2 * points * widths)
    need *= 2 if config.dtype == "float64" else 1
    there = available_memory()
    if need > there:
        raise ValueError(
            f"net_options = {shown(config.net_options)} makes a net of {weights:.3g} weights: to "
            f"train it takes about {need:.3g} bytes, and {there:.3g} are available here; make the "
            "net smaller" + (", or set batch_size" if weights < math.inf else "")
        )


def _integers(options: dict[str, Any]) -> list[int]:
    found = [
        v for value in options.values() for v in (value if isinstance(value, list) else [value])
    ]
    return [v for v in found if isinstance(v, int) and not isinstance(v, bool)]


def _net(config: RunConfig, data: Dataset) -> HomogeneousNet:
    options = dict(config.net_options)
    options["generator"] = torch.Generator().manual_seed(config.seed)
    d, classes = math.prod(data.x.shape[1:]), data.classes  # no operation: see FakeTensorMode
    if config.net in _IMAGE_NETS:
        make = _IMAGE_NETS[config.net]
        image = tuple(data.x.shape[1:])
        if len(image) != 3:
            raise ValueError(
                f"net = {config.net!r} takes images (channels, height, width); the points of "
                f"{data.name} have shape {image}"
            )
        _known(make, options, config)
        return make(image, classes=classes, **options)
    widths = _widths(options.pop("hidden", None))
    if config.net == "linear":
        if widths is not None:
            raise ValueError(f"net_options.hidden = {widths}: a linear net has no hidden layer")
        _known(Linear, options, config)
        return Linear(d, classes, **options)
    if config.net == "two_layer":
        widths = [100] if widths is None else widths
        if len(widths) != 1:
            raise ValueError(f"net_options.hidden = {widths}: a two-layer net has one hidden layer")
        _known(TwoLayer, options, config)
        return TwoLayer(d, widths[0], classes=classes, **options)
    _known(MLP, options, config)
    widths = [64, 64] if widths is None else widths
    return MLP((d, *widths, classes or 1), **options)


def _widths(hidden: Any) -> list[int] | None:
    if hidden is None:
        return None
    if not isinstance(hidden, list):
        raise TypeError(
            f"net_options.hidden = {shown(hidden)} is a {type(hidden).__name__}; pass a list of "
            "widths, such as [64, 64]"
        )
    return [as_integer(width, "net_options.hidden", least=1) for width in hidden]


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
        lr = RelativeStep(eta)
        if minibatches:
            lr = RelativeStep(eta, "linear", config.main_steps(n), reject=False)
    allowed = set(inspect.signature(make).parameters) - {"params", "lr", "mirror_map"}
    wrong = unknown_keys(options, sorted(allowed))
    if wrong:
        raise ValueError(
            f"optimizer_options for {config.optimizer!r} with lr = {config.lr!r} has {wrong}"
            + (" and eta" if lr != config.lr else "")
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
    wrong = unknown_keys(set(options) - {"generator"}, sorted(allowed))
    if wrong:
        raise ValueError(f"net_options for the net {config.net!r} has {wrong}")


def available_memory() -> float:
    """Bytes that a process can have here without swapping; infinite where nothing tells."""
    limits = [math.inf]
    for name, pattern in (
        ("/proc/meminfo", r"MemAvailable:\s+(\d+) kB"),
        ("/sys/fs/cgroup/memory.max", r"(\d+)"),
    ):
        try:
            found = re.search(pattern, Path(name).read_text())
        except OSError:
            continue
        if found is not None:
            limits.append(float(found[1]) * (1024 if "kB" in pattern else 1))
    if len(limits) == 1 and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(limits)

"""The nets of the commands: a user's own by the name of its function, or a random one."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.errors import RunError

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from torch import nn

    from mirrorflow.data import Dataset
    from mirrorflow.nets import MLP, Linear

__all__ = ["factory", "random_net"]


def factory(text: str) -> nn.Module:
    """The net that `module:factory` names, a module or a function that returns one.

    Raises:
        ValueError: no such module or name.
        RunError: the function fails.
        TypeError: it gives something else.
    """
    from torch import nn

    name, _, attribute = text.partition(":")
    if not name or not attribute:
        raise ValueError(f"{text!r} is no module:factory, such as mypackage.models:trained")
    with _importable_from_here():
        try:
            made = importlib.import_module(name)
        except ImportError as error:
            raise ValueError(f"the module {name!r} cannot be imported: {error}") from error
    for part in attribute.split("."):
        if not hasattr(made, part):
            raise ValueError(f"the module {name!r} has no {attribute!r}")
        made = getattr(made, part)
    try:
        net: Any = made if isinstance(made, nn.Module) else made() if callable(made) else made
    except Exception as error:  # whatever a user's own function raises
        raise RunError(f"{text} failed with {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise TypeError(f"{text} gave a {type(net).__name__}; it has to give a torch.nn.Module")
    return net


@contextlib.contextmanager
def _importable_from_here() -> Iterator[None]:
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)


def random_net(
    points: Dataset, hidden: list[int], bias: bool, init_scale: float, eps: float, seed: int
) -> Linear | MLP:
    """A net in float64 for these points: linear without `hidden` widths, else smooth ReLU."""
    import torch

    from mirrorflow.nets import MLP, Linear

    generator = torch.Generator().manual_seed(seed)
    if not hidden:
        net: Linear | MLP = Linear(points.features, points.classes, bias=bias, generator=generator)
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(init_scale)
    else:
        net = MLP(
            (points.features, *hidden, points.classes or 1),
            "smooth_relu",
            eps=eps,
            bias=bias,
            init_scale=init_scale,
            generator=generator,
        )
    return net.to(torch.float64)

"""A user's own net by the name of the function that makes it."""

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

__all__ = ["factory"]


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

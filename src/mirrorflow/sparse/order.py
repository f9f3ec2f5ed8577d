"""A parameter that changes its name keeps its place in `named_parameters()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_place_of"]


@contextmanager
def in_place_of(module: nn.Module, old: str, new: str) -> Iterator[None]:
    """Around code that takes the parameter `old` away and puts `new` at the end of the module.

    torch's pruning does so, and what lists parameters by position (an exponential moving average,
    an old optimizer state) would pair weights with biases.
    """
    before = list(module._parameters)
    yield
    if new not in module._parameters:
        return
    order = [new if key == old else key for key in before]
    taken = {key: module._parameters.pop(key) for key in list(module._parameters)}
    for key in [key for key in order if key in taken] + [k for k in taken if k not in order]:
        module._parameters[key] = taken[key]

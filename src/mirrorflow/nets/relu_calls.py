"""Every ReLU of a forward pass, wherever it stands in a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["ReplacedReLU"]

_RELU: set[Any] = {
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    functional.relu,
    functional.relu_,
}


class ReplacedReLU(TorchFunctionMode):
    """A context in which `relu(z)` is `rule(k, z)`, k the number of the call from 0."""

    def __init__(self, rule: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule, self.calls = rule, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RELU:
            self.calls += 1
            return self.rule(self.calls - 1, args[0] if args else kwargs["input"])
        return func(*args, **(kwargs or {}))

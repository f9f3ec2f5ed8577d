"""ReLU inside any module, smoothed without taking the module apart.

Every call of `relu` under `SmoothedReLU` becomes

    h(z) = (z + sqrt(z^2 + eps^2 m)) / 2,    m the mean of z^2 over the features of a point,

which is of degree 1 in z, so that the module keeps its degree, smooth, and within
`eps sqrt(m) / 2` of `relu`. The scale of a point is shared by the features of a layer: whole layers
keep their balance, single units do not. A layer of one feature shares it with all points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mirrorflow.nets.activation import rounded_relu

__all__ = ["SmoothedReLU"]

_RELU = (
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
    functional.relu,
    functional.relu_,
)
_DEAD = 1e-200  # keeps the root differentiable where a point has no signal at all


class SmoothedReLU(TorchFunctionMode):
    """A context in which `relu` is smooth; `eps` is its width relative to the features' size."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RELU:
            return _smooth(args[0] if args else kwargs["input"], self.eps)
        return func(*args, **kwargs)


def _smooth(z: Tensor, eps: float) -> Tensor:
    own = z.ndim > 1 and z[0].numel() > 1
    mean = z.square().mean(dim=tuple(range(1, z.ndim)) if own else None, keepdim=own)
    return rounded_relu(z, eps * eps * mean + _DEAD)

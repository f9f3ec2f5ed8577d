"""What a flow followed, kept beside its record so that the record can go on being used."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mirrorflow.flow.margins.smoothed_relu import smoothed_relu
from mirrorflow.flow.options import Smooth
from mirrorflow.nets import MLP, Linear

__all__ = ["FlowProblem", "SmoothedNet"]

S = TypeVar("S")


class SmoothedNet(nn.Module):
    """A module in which every `relu` is `(z + √(z² + eps² m))/2`, as the flow followed it."""

    def __init__(self, net: nn.Module, eps: float) -> None:
        super().__init__()
        self.net, self.eps = net, eps

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own output, with smoothed `relu`."""
        with smoothed_relu(self.eps):
            return self.net(*args, **kwargs)


@dataclass(frozen=True)
class FlowProblem(Generic[S]):
    """A copy of the net at its start, the points (n, …), the labels (n,) and the settings."""

    net: nn.Module
    x: Tensor
    y: Tensor
    settings: S

    @classmethod
    def of(cls, net: nn.Module, x: Tensor, y: Tensor, settings: S) -> FlowProblem[S]:
        """With copies of the net and of the data."""
        return cls(deepcopy(net), x.detach().clone(), y.detach().clone(), settings)

    def followed(self, weights: Tensor) -> nn.Module:
        """A new net with these weights (d,): a "relu" net as the smooth one that was followed."""
        net: nn.Module = deepcopy(self.net)
        with torch.no_grad():
            start = 0
            for p in net.parameters():
                p.copy_(weights[start : start + p.numel()].reshape(p.shape))
                start += p.numel()
        relu = getattr(self.settings, "relu", None)
        if not isinstance(relu, Smooth) or relu.eps == 0 or isinstance(net, Linear):
            return net
        if isinstance(net, MLP):
            if net.activation == "relu":
                net.activation, net.eps = "smooth_relu", relu.eps
            return net
        return SmoothedNet(net, relu.eps)

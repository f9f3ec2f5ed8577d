"""The hidden layers of any net: what its linear and convolution layers read.

Where a net does not declare its hidden layers and they cannot be read off (normalisation, biases,
branches, attention), a hidden layer is the input of a layer with weights, as it stands in the
forward pass. That takes hooks and no knowledge of the net.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

__all__ = ["Reading", "out_norms", "watching"]

Reading = dict[str, Tensor]
_READERS = (nn.Linear, nn.MultiheadAttention, _ConvNd)


@contextmanager
def watching(net: nn.Module) -> Iterator[Reading]:
    """Collect what every layer but the first reads, under the name of its weight.

    The dictionary fills during a call of the net, (n, units, …) each; a layer that is called again
    adds `name#2`. Clear it between calls.
    """
    seen: Reading = {}
    calls: dict[str, int] = {"": 0}

    def look(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        h = args[0] if args else kwargs.get("input", kwargs.get("query"))
        calls[""] += 1
        calls[name] = calls.get(name, 0) + 1
        if calls[""] == 1 or not isinstance(h, Tensor):
            return  # the first layer reads the data
        # A copy: what follows may write into the tensor.
        h = h.detach().clone()
        if not isinstance(module, _ConvNd):
            if isinstance(module, nn.MultiheadAttention) and h.ndim == 3 and not module.batch_first:
                h = h.transpose(0, 1)
            h = h.movedim(-1, 1) if h.ndim > 1 else h[None]
        times = calls[name]
        seen[name if times == 1 else f"{name}#{times}"] = h

    handles = []
    for path, module in net.named_modules():
        key = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if isinstance(module, _READERS) and getattr(module, key, None) is not None:
            name = f"{path}.{key}".strip(".")

            def hook(m: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                look(name, m, args, kwargs)

            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def begin(*_: Any) -> None:
        calls.clear()
        calls[""] = 0

    start = net.register_forward_pre_hook(begin)
    try:
        yield seen
    finally:
        for handle in (*handles, start):
            handle.remove()


@torch.no_grad()
def out_norms(net: nn.Module, name: str) -> Tensor:
    """`‖out_j‖₂` of every unit that the layer reads, (units,), in float64."""
    path, _, key = name.partition("#")[0].rpartition(".")
    module = net.get_submodule(path)
    w: Tensor = getattr(module, key).detach().double()
    top = float(w.abs().max()) or 1.0
    squares = (w / top).square()
    if isinstance(module, _ConvTransposeNd):
        sums = squares.flatten(1).sum(1)
    elif isinstance(module, _ConvNd):
        groups = squares.reshape(module.groups, -1, squares.shape[1], squares[0, 0].numel())
        sums = groups.sum((1, 3)).flatten()
    else:
        sums = squares.sum(0)
    return sums.sqrt() * top

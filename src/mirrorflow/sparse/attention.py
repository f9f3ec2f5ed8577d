"""Masks inside attention: torch reads the output projection's weight without calling the module."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils.prune import BasePruningMethod

__all__ = ["follow", "unfollow"]


def follow(net: nn.Module) -> None:
    """Let every attention module refresh the mask of its output projection before it runs.

    `nn.MultiheadAttention` never calls `out_proj`, so the hook of torch's pruning would not run:
    training would use the graph of a pass long gone.
    """
    unfollow(net)
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention) and _masking(module.out_proj):
            module.register_forward_pre_hook(_refresh)


def unfollow(net: nn.Module) -> None:
    """Take the hooks of `follow` away."""
    for module in net.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is _refresh:
                del module._forward_pre_hooks[key]


def _masking(module: nn.Module) -> list[BasePruningMethod]:
    return [h for h in module._forward_pre_hooks.values() if isinstance(h, BasePruningMethod)]


def _refresh(module: nn.MultiheadAttention, inputs: Any) -> None:  # noqa: ARG001
    for hook in _masking(module.out_proj):
        hook(module.out_proj, ())

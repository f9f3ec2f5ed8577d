"""Masks made permanent: a plain net again, with zeros in its weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from mirrorflow.checks import as_net
from mirrorflow.sparse.attention import unfollow
from mirrorflow.sparse.order import in_place_of
from mirrorflow.sparse.report import Sparsity, report
from mirrorflow.sparse.weights import acting

__all__ = ["finalize"]


@torch.no_grad()
def finalize(net: nn.Module) -> Sparsity:
    """Put `weight_orig * weight_mask` in the place of `weight`, and take mask and hook away.

    Afterwards the state dict has the names that it had before pruning, and loads into the plain net
    without this library. Nothing holds the zeros any more: a further step of training moves them.

    Args:
        net: a net with masks of `prune` or of torch's own pruning; changed in place. Without masks
            it stays as it is.

    Returns:
        What `report` says of the net now.

    Raises:
        TypeError: not a module.
        ValueError: see `report`.
    """
    as_net(net)
    acting(net)  # refuses what masks cannot be made permanent for, before anything has changed
    for module in net.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, torch_prune.BasePruningMethod):
                key = str(hook._tensor_name)
                with in_place_of(module, f"{key}_orig", key):
                    torch_prune.remove(module, key)  # type: ignore[no-untyped-call]
    unfollow(net)
    return report(net)

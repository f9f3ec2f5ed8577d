"""Parameters that are sharded over processes (DTensor, `fully_shard`)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "inner",
    "is_flattened",
    "is_sharded",
    "largest_over_ranks",
    "local",
    "sharded_like",
    "whole",
]


def is_sharded(x: Tensor) -> bool:
    """True for a DTensor, which holds this process's part of a larger tensor."""
    return hasattr(x, "full_tensor")


def is_flattened(x: Tensor) -> bool:
    """True for a parameter that FSDP1 keeps as a piece of one flat vector, its shape lost."""
    return bool(getattr(x, "_fsdp_flattened", False))


def inner(a: Tensor, b: Tensor) -> float:
    """`⟨a, b⟩` over all entries, also of sharded tensors."""
    if is_sharded(a):
        return float(whole((a * b).sum()))
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def local(x: Tensor) -> Tensor:
    """The entries of a DTensor that this process holds."""
    part: Tensor = x.to_local()  # type: ignore[attr-defined]
    return part


def whole(x: Tensor) -> Tensor:
    """All entries, gathered: one collective call."""
    full: Tensor = x.full_tensor()  # type: ignore[attr-defined]
    return full


def sharded_like(value: Tensor, like: Any, *, of_whole: bool) -> Tensor:
    """`value` (this process's entries, or all of them) as a DTensor placed as `like`."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = like.device_mesh, like.placements
    if of_whole:
        spread = [Replicate()] * mesh.ndim
        return DTensor.from_local(value, mesh, spread, run_check=False).redistribute(
            mesh, placements
        )
    return DTensor.from_local(
        value, mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def largest_over_ranks(value: float) -> float:
    """The largest value over all processes, so that all decide alike."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    together = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(together, op=dist.ReduceOp.MAX)
    return together.item()

"""Several maps and starts side by side, one process each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.flow.api import mirror_flow
from mirrorflow.flow.trajectory import Trajectory
from mirrorflow.maps import MapLike

__all__ = ["compare_maps"]


def compare_maps(
    nets: nn.Module | Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    mirror_maps: Sequence[MapLike],
    *,
    workers: int = 1,
    **options: Any,
) -> list[list[Trajectory]]:
    """`mirror_flow` for every map (rows) and every starting net (columns).

    The runs are independent and take different steps, so they are spread over processes rather
    than batched: `workers = 1` runs them here, one after the other.

    Args:
        nets: one start, or several (seeds).
        x: (n, …) points.
        y: (n,) labels.
        mirror_maps: the maps.
        workers: processes.
        **options: further arguments of `mirror_flow`.

    Returns:
        `result[i][j]` for `mirror_maps[i]` and `nets[j]`.

    Raises:
        ValueError: no map, no net or no worker, and all that `mirror_flow` raises.
    """
    starts = [nets] if isinstance(nets, nn.Module) else list(nets)
    if not mirror_maps or not starts:
        raise ValueError("mirror_maps and nets must hold at least one each")
    if workers < 1:
        raise ValueError(f"workers = {workers} must be at least 1")
    jobs = [(net, x, y, m, options) for m in mirror_maps for net in starts]
    if workers == 1:
        flat = [_run(job) for job in jobs]
    else:
        context = get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            flat = list(pool.map(_run_alone, jobs))
    width = len(starts)
    return [flat[k : k + width] for k in range(0, len(flat), width)]


def _run(job: tuple[nn.Module, Tensor, Tensor, MapLike, dict[str, Any]]) -> Trajectory:
    net, x, y, mirror_map, options = job
    return mirror_flow(net, x, y, mirror_map, **options)


def _run_alone(job: tuple[nn.Module, Tensor, Tensor, MapLike, dict[str, Any]]) -> Trajectory:
    torch.set_num_threads(1)
    return _run(job)

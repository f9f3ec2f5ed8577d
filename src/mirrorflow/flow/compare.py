"""Several maps and starts side by side, one process each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_integer, as_net, shown
from mirrorflow.flow.api import mirror_flow
from mirrorflow.flow.record.trajectory import Trajectory
from mirrorflow.maps import MapLike, MirrorMap

__all__ = ["compare_maps"]

_Job = tuple[nn.Module, Tensor, Tensor, MapLike, dict[str, Any]]


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
        workers: processes; on an interrupt, or an error in one flow, all are ended.
        **options: further arguments of `mirror_flow`, except `checkpoint`.

    Returns:
        `result[i][j]` for `mirror_maps[i]` and `nets[j]`.

    Raises:
        ValueError: no map, no net or no worker, and all that `mirror_flow` raises.
    """
    starts = [nets] if isinstance(nets, nn.Module) else _listed(nets, "nets")
    mirror_maps = _listed(mirror_maps, "mirror_maps")
    for k, net in enumerate(starts):
        as_net(net, f"nets[{k}]")
    for k, each in enumerate(mirror_maps):
        if not isinstance(each, (MirrorMap, Mapping)):
            raise TypeError(
                f"mirror_maps[{k}] = {shown(each)} is not a MirrorMap; pass a list of maps such as "
                "[maps.Quadratic(), maps.Cosh()]"
            )
    workers = as_integer(workers, "workers", least=1)
    if options.get("checkpoint") is not None:
        raise ValueError(
            "checkpoint: one file cannot hold several flows; call mirror_flow for each with its own"
        )
    jobs = [(net, x, y, m, options) for m in mirror_maps for net in starts]
    if min(workers, len(jobs)) == 1:
        flat = [_run(job) for job in jobs]
    else:
        flat = _spread(jobs, workers)
    width = len(starts)
    return [flat[k : k + width] for k in range(0, len(flat), width)]


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, (str, Mapping, Tensor)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass a list")
    if not (items := list(value)):
        raise ValueError(f"{name} is empty; pass at least one")
    return items


def _spread(jobs: list[_Job], workers: int) -> list[Trajectory]:
    context = get_context("spawn")  # torch's threads do not survive a fork
    others = set(active_children())
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = [pool.submit(_run_alone, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # an interrupt must not wait for flows that may take hours
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(active_children()) - others:
                child.terminate()
            raise


def _run(job: _Job) -> Trajectory:
    net, x, y, mirror_map, options = job
    return mirror_flow(net, x, y, mirror_map, **options)


def _run_alone(job: _Job) -> Trajectory:
    torch.set_num_threads(1)
    return _run(job)

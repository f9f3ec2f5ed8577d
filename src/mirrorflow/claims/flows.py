"""One flow as a task: integrate, certify, keep the trajectory and a table of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.claims.tasks import Record
from mirrorflow.data import Dataset
from mirrorflow.diagnostics import certify
from mirrorflow.files import make_folder
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.maps import MirrorMap
from mirrorflow.nets import HomogeneousNet

__all__ = ["degrees_between", "flow_record", "set_direction", "thin"]


def thin(trajectory: Trajectory, points: int = 200) -> list[dict[str, Any]]:
    """Rows for a table and a figure: about `points` times, evenly in the steps, ends included."""
    count = len(trajectory.log_t)
    chosen = np.unique(np.linspace(0, count - 1, min(points, count)).round().astype(int))
    names = (
        *("log_t", "log_loss", "log_gauge", "margin", "gap"),
        *("natural_epsilon", "mean_excess", "balance_drift"),
    )
    columns = {name: getattr(trajectory, name)[chosen] for name in names}
    return [{name: float(columns[name][k]) for name in names} for k in range(len(chosen))]


def degrees_between(a: Tensor, b: Tensor) -> float:
    """The angle of two vectors (d,), exact for small ones too, where the arc cosine is not."""
    a, b = a / a.norm(), b / b.norm()
    return math.degrees(2 * math.atan2(float((a - b).norm()), float((a + b).norm())))


def set_direction(net: HomogeneousNet, direction: Tensor) -> HomogeneousNet:
    """Put `direction` (d,), in the order of `net.parameters()`, into the net."""
    with torch.no_grad():
        start = 0
        for p in net.parameters():
            p.copy_(direction[start : start + p.numel()].reshape(p.shape))
            start += p.numel()
    return net


def flow_record(
    folder: Path,
    name: str,
    net: HomogeneousNet,
    data: Dataset,
    mirror_map: MirrorMap,
    log_t_end: float,
    **options: Any,
) -> tuple[Record, Trajectory]:
    """Follow the flow to `log_t_end`, certify its end, save it as `folder/flows/NAME.npz`.

    Args:
        folder: of the experiment.
        name: of the record and of the file.
        net: where the flow starts; it is left at the last direction `θ/Q(θ)`.
        data: the training set.
        mirror_map: the geometry.
        log_t_end: natural logarithm of the last time.
        **options: further arguments of `mirror_flow`.
    """
    begun = time.perf_counter()
    trajectory = mirror_flow(net, data.x, data.y, mirror_map, log_t_end=log_t_end, **options)
    seconds = time.perf_counter() - begun
    make_folder(folder / "flows")
    trajectory.save(folder / "flows" / f"{name}.npz")
    set_direction(net, torch.as_tensor(trajectory.direction[-1]))
    certificate = certify(net, data.x, data.y, mirror_map)
    summary = {
        "order": mirror_map.index,
        "outcome": trajectory.outcome,
        "log_t": float(trajectory.log_t[-1]),
        "margin": float(trajectory.margin[-1]),
        "gap": float(trajectory.gap[-1]),
        "epsilon": certificate.epsilon,
        "delta": certificate.delta,
        "support": len(certificate.support),
        "drift": float(np.nanmax(trajectory.balance_drift, initial=0.0)),
        "steps": len(trajectory.log_t) - 1,
        "seconds": round(seconds, 2),
    }
    return Record(name, summary, thin(trajectory)), trajectory

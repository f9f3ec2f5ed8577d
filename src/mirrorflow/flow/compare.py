"""Several maps and starts side by side, one process each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_flag, as_integer, as_net, as_path, shown
from mirrorflow.errors import RunError
from mirrorflow.files import make_folder, read_json, write_json
from mirrorflow.flow.api import flow_problem, follow_problem
from mirrorflow.flow.follow import Settings, public_settings
from mirrorflow.flow.record.problem import FlowProblem
from mirrorflow.flow.record.trajectory import Trajectory
from mirrorflow.maps import MapLike, as_map
from mirrorflow.processes import CallResult, local_processes, this_process
from mirrorflow.progress import progress_bar
from mirrorflow.tabular import data_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "FailedFlow", "compare_maps"]


_OPTIONS = {"log_t_end", "loss", "stepper", "relu", "tol", "stop", "max_steps"}


@dataclass(frozen=True)
class FailedFlow:
    """A flow that ended in an error.

    Args:
        error: the message.
        kind: the class of the error.
    """

    error: str
    kind: str

    @property
    def outcome(self) -> str:
        """ "failed", where a trajectory has its own outcome."""
        return "failed"


@dataclass(frozen=True)
class Comparison:
    """The flows of every map (rows) from every start (columns): `result[i][j]`.

    Args:
        mirror_maps: the maps.
        flows: a `Trajectory`, or a `FailedFlow`, for every map and start.
    """

    mirror_maps: tuple[MapLike, ...]
    flows: tuple[tuple[Trajectory | FailedFlow, ...], ...]

    def __len__(self) -> int:
        return len(self.flows)

    def __getitem__(self, i: int) -> tuple[Trajectory | FailedFlow, ...]:
        return self.flows[as_integer(i, "i")]

    @property
    def failed(self) -> tuple[tuple[int, int, FailedFlow], ...]:
        """`(i, j, flow)` of those that ended in an error."""
        each = ((i, j, flow) for i, row in enumerate(self.flows) for j, flow in enumerate(row))
        return tuple((i, j, flow) for i, j, flow in each if isinstance(flow, FailedFlow))

    def to_pandas(self) -> pd.DataFrame:
        """One row a flow: map, start, outcome, and the numbers at its end.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = []
        for mirror_map, flows in zip(self.mirror_maps, self.flows, strict=True):
            for start, flow in enumerate(flows):
                row = {"map": repr(mirror_map), "start": start, "outcome": flow.outcome}
                rows.append(row | _end_of(flow))
        return data_frame(rows)


def _end_of(flow: Trajectory | FailedFlow) -> dict[str, Any]:
    if isinstance(flow, FailedFlow):
        return {"error": flow.error}
    last = flow[-1]
    names = ("log_t", "log_log_t", "log_gauge", "margin", "gap", "residual")
    values = {name: getattr(last, name) for name in names}
    return {**values, "steps": flow.stats.steps, "seconds": flow.stats.seconds}


def compare_maps(
    nets: nn.Module | Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    mirror_maps: Sequence[MapLike | str],
    *,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> Comparison:
    """`mirror_flow` for every map (rows) and every starting net (columns).

    The runs are independent and take different steps, so they are spread over processes rather
    than batched: `workers = 1` runs them here, one after the other. A flow that ends in an error
    is a `FailedFlow` in the result, and the others go on.

    Args:
        nets: one start, or several (seeds).
        x: (n, …) points.
        y: (n,) labels.
        mirror_maps: the maps, or their texts.
        workers: processes; on an interrupt all are ended.
        folder: keeps every flow that is done; the same call with the same folder takes it from
            there. A flow that failed is tried again.
        progress: show a bar over the flows.
        **options: further arguments of `mirror_flow`, except `checkpoint` and `callback`.

    Raises:
        ValueError: no map, no net or no worker, and all that `mirror_flow` refuses.
        RunError: the folder holds flows of another call, or cannot be written.
    """
    starts = [nets] if isinstance(nets, nn.Module) else _listed(nets, "nets")
    chosen = [
        as_map(each, f"mirror_maps[{k}]")
        for k, each in enumerate(_listed(mirror_maps, "mirror_maps"))
    ]
    for k, net in enumerate(starts):
        as_net(net, f"nets[{k}]")
    workers = as_integer(workers, "workers", least=1)
    for name in ("checkpoint", "callback"):
        if options.pop(name, None) is not None:
            raise ValueError(
                f"{name}: one cannot serve several flows; pass folder=…, or call mirror_flow for "
                f"each with its own {name}"
            )
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise TypeError(f"{unknown[0]} is not an option of compare_maps; it has {sorted(_OPTIONS)}")
    if "log_t_end" not in options:
        raise TypeError("log_t_end is missing; pass the natural logarithm of the last time")
    problems = [flow_problem(net, x, y, m, **options) for m in chosen for net in starts]
    kept = _Kept(as_path(folder, "folder"), problems) if folder is not None else None
    flows: list[Trajectory | FailedFlow | None] = [None] * len(problems)
    if kept is not None:
        flows = [kept.load(k, problem) for k, problem in enumerate(problems)]
    todo = [k for k, flow in enumerate(flows) if flow is None]
    engine = this_process if min(workers, len(todo)) <= 1 else local_processes
    calls = [(follow_problem, (problems[k],)) for k in todo]
    total = len(problems)
    with progress_bar(
        as_flag(progress, "progress"), total, "flows", initial=total - len(todo)
    ) as bar:
        for outcome in engine(calls, workers):
            k = todo[outcome.position]
            flow = flows[k] = _flow_of(outcome)
            if kept is not None and isinstance(flow, Trajectory):
                kept.save(k, flow)
            bar.set_postfix_str(f"{chosen[k // len(starts)]!r}: {flow.outcome}")
            bar.update(1)
    done = tuple(flow for flow in flows if flow is not None)
    width = len(starts)
    rows = tuple(done[k : k + width] for k in range(0, total, width))
    return Comparison(tuple(chosen), rows)


def _flow_of(outcome: CallResult) -> Trajectory | FailedFlow:
    if outcome.error is not None:
        return FailedFlow(str(outcome.error), type(outcome.error).__name__)
    flow: Trajectory = outcome.value
    return flow


class _Kept:
    """A folder with one file a flow, and a fingerprint of the call."""

    def __init__(self, folder: Path, problems: list[FlowProblem[Settings]]) -> None:
        make_folder(folder)
        self.folder = folder
        key, path = _fingerprint(problems), folder / "comparison.json"
        if path.exists():
            found = read_json(path, "a comparison of maps", "choose another folder")
            if found.get("key") != key:
                raise RunError(
                    f"folder = {str(folder)!r} holds flows of another call (other nets, points, "
                    "maps or options); choose another folder"
                )
        elif any(folder.iterdir()):
            raise RunError(f"folder = {str(folder)!r} holds other files; choose an empty folder")
        else:
            write_json(path, {"key": key})

    def _path(self, k: int) -> Path:
        return self.folder / f"flow-{k:04d}.npz"

    def load(self, k: int, problem: FlowProblem[Settings]) -> Trajectory | None:
        """The flow at place k, if it is done."""
        path = self._path(k)
        return replace(Trajectory.load(path), problem=problem) if path.exists() else None

    def save(self, k: int, flow: Trajectory) -> None:
        """Keep a flow that is done."""
        flow.save(self._path(k))


def _fingerprint(problems: list[FlowProblem[Settings]]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(
            repr((public_settings(problem.settings), problem.settings.max_steps)).encode()
        )
        digest.update(repr(problem.net).encode())
        with torch.no_grad():
            # The text of a net does not say all that it does; its outputs do.
            outputs = problem.net(problem.x.to(next(problem.net.parameters()).dtype))
        inside = (*problem.net.parameters(), *problem.net.buffers())
        for tensor in (*inside, problem.x, problem.y, outputs):
            digest.update(tensor.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, (str, Mapping, Tensor)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass a list")
    if not (items := list(value)):
        raise ValueError(f"{name} is empty; pass at least one")
    return items

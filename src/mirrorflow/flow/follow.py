"""One call of the flow: settings, start, the loop with its checkpoint, and the verdict."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch

from mirrorflow.arrays import Array
from mirrorflow.flow.integrate import Ending, integrate
from mirrorflow.flow.logscale.base import ScaledMap
from mirrorflow.flow.margins.base import LARGE, Margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.options import Exact, Smooth
from mirrorflow.flow.record.checkpoint import Checkpoint, fingerprint
from mirrorflow.flow.record.recorder import Recorder
from mirrorflow.flow.record.trajectory import FlowPoint, FlowStats, Outcome, Trajectory
from mirrorflow.flow.steppers.base import Position, State, Stepper
from mirrorflow.flow.steppers.dense import DenseSolver
from mirrorflow.flow.steppers.explicit import ExplicitStepper
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.implicit import ImplicitStepper
from mirrorflow.flow.steppers.matrix_free import MatrixFreeSolver
from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, MirrorMap

MethodName = Literal["auto", "implicit", "krylov", "explicit"]
_DENSE = 1500  # weights in one Hessian block beyond which none is formed by default
_SHORT = 1.0  # log t up to which large nets take explicit steps by default
_STATIONARY = 1e-9  # relative size of the gradient at which a loss that is not small is at rest


_PROBE = torch.tensor([[0.1, 0.7, 1.3, 2.9]], dtype=torch.float64)


@dataclass(frozen=True)
class Settings:
    """What decides a flow, besides the net and the data."""

    mirror_map: MapLike
    log_t_end: float | None
    log_log_t_end: float
    loss: Loss
    method: MethodName
    order: int
    tol: float
    delta: float
    max_step: float
    max_steps: int
    stop_at: float | None
    relu: Smooth | Exact


def follow(
    margins: Margins,
    scaled: ScaledMap,
    theta: Array,
    s: Settings,
    checkpoint: str | os.PathLike[str] | None,
    callback: Callable[[FlowPoint], None] | None,
) -> tuple[Trajectory, Ending]:
    """Integrate from `theta` (d,), in the internal order of `margins`, to the end of `s`."""
    frame = Frame(margins, scaled, FlowLoss(s.loss, margins.point))
    recorder = Recorder(frame, s.tol)
    position, counts = start(frame, theta, s.delta), None
    method = _choose(margins, s) if s.method == "auto" else s.method
    stepper = _stepper(method, s)
    keeper = None
    if checkpoint is not None:
        q, jac = margins.values(theta), margins.pull(theta, np.ones(len(margins.point)))
        keeper = Checkpoint(checkpoint, fingerprint(public_settings(s), theta, q, jac))
        if (found := keeper.load(recorder)) is not None:
            position, counts = found

    def watch(position: Position, recorder: Recorder, counts: dict[str, int]) -> None:
        if callback is not None:
            callback(recorder.point())
        if keeper is not None and keeper.due():
            keeper.save(position, recorder, counts)

    counts = counts or {"steps": 0, "rejected": 0, "failed": 0, "newton": 0}
    try:
        ending, stats = integrate(
            frame,
            stepper,
            position,
            recorder,
            log_t_end=math.inf if s.log_t_end is None else s.log_t_end,
            log_log_t_end=math.inf if s.log_t_end is not None else s.log_log_t_end,
            max_steps=s.max_steps,
            delta=s.delta,
            stop=_stopping(s.stop_at),
            watch=watch,
            counts=counts,
        )
    except KeyboardInterrupt:
        if keeper is not None:
            keeper.save(position, recorder, counts)
        raise
    if keeper is not None:
        keeper.save(position, recorder, counts)
    trajectory = recorder.finish(
        FlowStats(
            **stats, reason=ending.reason, method=method, order=stepper.order, tol=s.tol,
            map=repr(s.mirror_map), thinned=recorder.thinned,
        )
    )  # fmt: skip
    if s.log_t_end is not None:
        trajectory = trajectory.ending_at(s.log_t_end)
    else:
        trajectory = trajectory.ending_at(log_log_t=s.log_log_t_end)
    return trajectory, ending


def _choose(margins: Margins, s: Settings) -> MethodName:
    if margins.kinked:
        return "implicit"
    if margins.blocks[1] <= _DENSE and margins.size * len(margins.point) <= LARGE:
        return "implicit"
    return "explicit" if s.log_t_end is not None and s.log_t_end <= _SHORT else "krylov"


def _stepper(method: MethodName, s: Settings) -> Stepper:
    if method == "explicit":
        return ExplicitStepper(s.tol, s.delta, s.max_step)
    linear = MatrixFreeSolver() if method == "krylov" else DenseSolver()
    return ImplicitStepper(s.order, s.tol, s.delta, s.max_step, min(0.2, s.max_step), linear)


def public_settings(s: Settings) -> dict[str, str]:
    named = {f.name: repr(getattr(s, f.name)) for f in fields(s) if f.name != "max_steps"}
    maps = s.mirror_map.values() if isinstance(s.mirror_map, Mapping) else [s.mirror_map]
    # Two maps of one's own may have one name: their duals tell them apart.
    duals = [each.to_dual(_PROBE).tolist() for each in maps if isinstance(each, MirrorMap)]
    return {**named, "duals": repr(duals)}


def start(frame: Frame, theta: Array, delta: float) -> Position:
    """The position at t = 0 from weights (d,) in the internal order."""
    size = frame.map.gauge(theta)
    rho = math.log(size) if size > 1.0 else 0.0
    x = theta / math.exp(rho)
    frame.set_level(rho, x, 0.0, delta)
    return Position(
        rho=rho,
        x=x,
        u=frame.map.dual(x),
        p=None,
        log_t=-math.inf,
        log_log_t=-math.inf,
        h=1e-3,
        error=1.0,
        steps=0,
    )


def _stopping(tol: float | None) -> Callable[[State, Recorder], str | None]:
    def stop(state: State, recorder: Recorder) -> str | None:
        latest = recorder.latest
        if tol is not None and latest.worst <= tol:
            return f"stop = KKT({tol}) was reached"
        if float(state.q.min()) <= 0.0:
            map_ = recorder.frame.map
            if map_.dual_gauge(state.g) <= _STATIONARY * _pulls(recorder.frame, state):
                return "the loss is at rest with a margin that is not positive"
        return None

    return stop


def _pulls(frame: Frame, state: State) -> float:
    """The size of a single point's gradient, which the sum has when nothing cancels: the largest
    among the points of most weight (all of them would be the whole Jacobian)."""
    at = frame.margins.linearise(state.x)
    sizes = []
    for i in np.argsort(-state.p)[:3]:
        alone = np.zeros(len(state.p))
        alone[i] = 1.0
        sizes.append(frame.map.dual_gauge(at.pull(alone)))
    return max(sizes)


def judge(trajectory: Trajectory, ending: Ending, tol: float) -> Outcome:
    """The outcome, from the last record and the way the loop ended."""
    if trajectory.margin[-1] <= 0:
        if "at rest" in ending.reason or (ending.done and _slowed(trajectory)):
            return "not_separable"
        return "reached" if ending.done else "stalled"
    last = trajectory[-1]
    if last.residual <= tol:
        if ending.done or "KKT(" in ending.reason:
            return "converged"
        return "stalled"
    if not ending.done:
        return "stalled"
    return "plateau" if _flat(trajectory) else "reached"


def _slowed(trajectory: Trajectory) -> bool:
    """True if the loss falls at less than a tenth of its fastest, per log t."""
    fall = -np.diff(trajectory.log_loss[1:]) / np.diff(trajectory.log_t[1:])
    return len(fall) > 1 and bool(fall[-1] < 0.1 * fall.max())


def _flat(trajectory: Trajectory) -> bool:
    """True if the margin moved by less than 1e-5 over the last twentieth of log log t."""
    z = trajectory.log_log_t
    if not z[-1] > 1:
        return False
    late = trajectory.margin[z >= 0.95 * z[-1]]
    return len(late) > 1 and float(np.ptp(late)) <= 1e-5 * float(trajectory.margin[-1])

"""The one loop: try a step, judge it, advance, record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mirrorflow.flow.record.recorder import Recorder
from mirrorflow.flow.steppers.base import Failed, Position, State, Stepper, make_state
from mirrorflow.flow.steppers.clock import Segment, log_elapsed
from mirrorflow.flow.steppers.control import Controller
from mirrorflow.flow.steppers.frame import Frame

_SMALLEST_STEP = 1e-13
_SMALLEST_JUMP = 1e-18  # slaved weights jump while Q stands still to the last digit
_NO_PULL = 1e-80  # a gradient, in units of the weights, that is no gradient


@dataclass(frozen=True)
class Ending:
    """Why the loop ended: `done` if the time was reached; `reason` in words."""

    done: bool
    reason: str


def integrate(
    frame: Frame,
    stepper: Stepper,
    position: Position,
    recorder: Recorder,
    *,
    log_t_end: float,
    log_log_t_end: float,
    max_steps: int,
    delta: float,
    stop: Callable[[State, Recorder], str | None] | None = None,
    watch: Callable[[Position, Recorder, dict[str, int]], None] | None = None,
    counts: dict[str, int] | None = None,
) -> tuple[Ending, dict[str, Any]]:
    """Advance `position` to the earlier of the two ends, in at most `max_steps` attempts."""
    control = Controller(stepper.error_order, position.error, position.ceiling, position.rise)
    counts = counts or {"steps": 0, "rejected": 0, "failed": 0, "newton": 0}
    newton = counts["newton"]
    smallest = _SMALLEST_JUMP if frame.map.slaved else _SMALLEST_STEP
    begin = time.perf_counter()
    frame.set_level(position.rho, position.x, 0.0, delta)
    state = make_state(frame, position.x, position.u, position.p)
    if not recorder.rows:
        recorder.add(state, position.log_t, position.log_log_t)
    ending = None
    if _past(position.log_t, log_t_end) or _past(position.log_log_t, log_log_t_end):
        ending = Ending(True, "log_t_end was reached")
    if ending is None and not float(np.abs(state.g).max()) > _NO_PULL:
        ending = Ending(False, "the gradient vanishes at the start; begin from other weights")
    while ending is None:
        if counts["steps"] + counts["rejected"] + counts["failed"] >= max_steps:
            ending = Ending(False, f"max_steps = {max_steps} was used up")
            break
        trial = stepper.step(frame, position.rho, state, position.h)
        counts["newton"] = newton + frame.newton_count
        if isinstance(trial, Failed) or not trial.error <= 1.0:
            frame.set_level(position.rho, position.x, 0.0, delta)
        if isinstance(trial, Failed):
            counts["failed"] += 1
            position.h = control.failed(trial.h) if stepper.remembers else 0.25 * position.h
            position.ceiling, position.rise = control.ceiling, control.rise
        elif not trial.error <= 1.0:
            counts["rejected"] += 1
            position.h = control.retry(trial.h, trial.error)
        else:
            counts["steps"] += 1
            position.steps += 1
            for point, since in trial.within:
                there = replace(position)
                _advance_time(there, since)
                point = _rescale(frame, there, point, delta)
                recorder.add(point, there.log_t, there.log_log_t)
                frame.set_level(position.rho, position.x, 0.0, delta)
            _advance_time(position, trial.segment)
            position.h = control.next(trial.h, trial.error)
            position.error = control.last
            position.ceiling, position.rise = control.ceiling, control.rise
            state = _rescale(frame, position, trial.state, delta)
            recorder.add(state, position.log_t, position.log_log_t)
            if watch is not None:
                watch(position, recorder, counts)
            if _past(position.log_t, log_t_end) or _past(position.log_log_t, log_log_t_end):
                ending = Ending(True, "log_t_end was reached")
            elif stop is not None and (why := stop(state, recorder)):
                ending = Ending(False, why)
            elif position.rho > (reach := frame.map.reach()):
                ending = Ending(
                    False,
                    f"log Q = {position.rho:.4g} is past {reach:.4g}, where the log-scale form of "
                    "this map leaves the doubles; end the flow before",
                )
        if ending is None and position.h < smallest:
            ending = Ending(
                False,
                f"the step size fell to {position.h:.1e}: none was solved and accurate enough; "
                "another tol or start may pass",
            )
    stats = {**counts, "seconds": time.perf_counter() - begin}
    return ending, stats


def _past(value: float, end: float) -> bool:
    """An infinite end is never reached, not even by a time beyond the doubles."""
    return value >= end and end < np.inf


def _advance_time(position: Position, segment: Segment) -> None:
    level, excess = log_elapsed(segment)
    unit = segment.log_unit
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        step = level * float(np.exp(unit)) + excess if unit < 709 else np.inf
        if np.isfinite(step):
            position.log_t = float(np.logaddexp(position.log_t, step))
            position.log_log_t = float(np.log(position.log_t)) if position.log_t > 0 else -np.inf
        else:
            scaled = level + excess * float(np.exp(-unit))
            position.log_t, position.log_log_t = np.inf, unit + float(np.log(scaled))


def _rescale(frame: Frame, position: Position, state: State, delta: float) -> State:
    """Put the level of `state` back to unit gauge; the truth does not move."""
    size = frame.map.gauge(state.x)
    before = frame.map.scale
    if size > 0.0 and (position.rho != 0.0 or size > 1.0):
        position.rho += float(np.log(size))
    else:
        size = 1.0
    x = state.x / size
    frame.set_level(position.rho, x, 0.0, delta)
    u = frame.map.carried(x, state.u, before)
    position.x, position.u, position.p = x, u, state.p
    return make_state(frame, x, u, state.p)

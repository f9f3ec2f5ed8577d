"""What every stepper takes and gives: the state of a flow, a step, the place in its course."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.steppers.clock import Segment
from mirrorflow.flow.steppers.control import RISE
from mirrorflow.flow.steppers.frame import Frame


@dataclass(frozen=True)
class State:
    """A point of the flow: `x`, `u` (d,), normalised weights `p` (n,), margins, `J' p`."""

    x: Array
    u: Array
    p: Array
    q: Array
    g: Array
    phi_rate: float  # d phi / d tau


@dataclass(frozen=True)
class Step:
    """A step that was taken, not yet accepted: `error` is relative, per unit of tolerance;
    `within` are points on the way, each with the clock from the beginning of the step."""

    state: State
    error: float
    segment: Segment
    h: float
    within: tuple[tuple[State, Segment], ...] = ()


@dataclass(frozen=True)
class Failed:
    """A step of relative length h that could not be made."""

    h: float


def make_state(frame: Frame, x: Array, u: Array, p: Array | None) -> State:
    """Evaluate margins and gradient; `p` None takes the loss's own weights."""
    q = frame.margins.values(x)
    if p is None:
        b = frame.barrier(q)
        p = np.exp(-np.minimum((b - b.min()) / max(frame.one(), 1e-300), 700.0))
        p = p / p.sum()
    g = frame.margins.pull(x, p)
    bend = frame.barrier_jacobian(q)
    lead = g if bend is None else frame.margins.pull(x, bend.T @ p)
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.where(g == 0.0, 0.0, lead * frame.map.mobilise(x, u, g))
    return State(x, u, p, q, g, float(moved.sum()))


class Stepper(Protocol):
    """What a method declares and does."""

    order: int
    error_order: int
    remembers: bool  # whether a step that failed bounds those after it

    def step(self, frame: Frame, rho: float, state: State, h: float) -> Step | Failed:
        """One step of relative length at most h, or what could not be made."""


@dataclass
class Position:
    """Where the integration stands; enough to continue it."""

    rho: float
    x: Array
    u: Array
    p: Array | None
    log_t: float
    log_log_t: float
    h: float
    error: float
    steps: int
    ceiling: float = math.inf
    rise: float = RISE

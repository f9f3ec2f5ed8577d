"""`mirror_flow`: the continuous flow of a network under a mirror map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from torch import Tensor, nn

from mirrorflow.flow.frame import Frame
from mirrorflow.flow.geometry import scaled_map
from mirrorflow.flow.implicit import ImplicitStepper, State
from mirrorflow.flow.integrate import Ending, Position, integrate
from mirrorflow.flow.network import flat_parameters, net_margins
from mirrorflow.flow.recorder import Recorder
from mirrorflow.flow.scaled import Array
from mirrorflow.flow.trajectory import Outcome, Trajectory
from mirrorflow.flow.weights import FlowLoss
from mirrorflow.losses import Loss
from mirrorflow.maps import MirrorMap

__all__ = ["mirror_flow"]

Method = Literal["auto", "implicit", "explicit"]
_STATIONARY = 1e-9  # relative size of the gradient at which a loss that is not small is at rest


def mirror_flow(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MirrorMap,
    *,
    log_t_end: float | None = None,
    log_log_t_end: float | None = None,
    loss: Loss = "exponential",
    order: int = 3,
    tol: float = 1e-4,
    relative_temperature: float = 1e-7,
    max_step: float | None = None,
    max_steps: int = 10_000,
    kkt_tol: float = 1e-3,
    smoothing: float = 1e-2,
    stop_when_converged: bool = False,
) -> Trajectory:
    """Follow `d∇R(θ_t)/dt = −∇ℓ(θ_t)` from the net's weights at t = 0 to `t = exp(log_t_end)`.

    The loss is the sum over the points. Everything is kept in logarithms and in units that move
    with the solution, so t = exp(1e100) is as near as t = 1e10. The net is left as it is.

    Args:
        net: homogeneous of positive degree: a net of `mirrorflow.nets`, or any module that passes
            `check_degree`; (n,) outputs for two classes, (n, C) for C.
        x: (n, …) points.
        y: (n,) labels, ±1 or class indices.
        mirror_map: one separable map for all weights.
        log_t_end: natural logarithm of the last time.
        log_log_t_end: instead of `log_t_end`, its logarithm, for times beyond `exp(1e308)`.
        loss: "exponential", "logistic" or "cross_entropy" (the last two are one formula).
        order: of the implicit Runge-Kutta method, 1 to 4.
        tol: local error per step, relative in the horizon norm and in the dual.
        relative_temperature: the softmax over margins is never sharper than this share of the
            smallest margin; the margin of the limit is then off by about half of it, relatively.
        max_step: largest growth of `log Q` in a step; None is `0.4 (tol/1e-4)^(1/4)`, at which
            values between steps are as accurate as those at steps.
        max_steps: bound on the attempted steps.
        kkt_tol: `epsilon` and `delta` below which the end counts as converged.
        smoothing: a "relu" net is followed as the "smooth_relu" net with this eps.
        stop_when_converged: end as soon as both residuals are below `kkt_tol`.

    Returns:
        A `Trajectory` whose last row is at `log_t_end`. Its `outcome` is

        - "converged": a KKT point to within `kkt_tol`;
        - "plateau": the time was reached, the margin is flat, but the residual is not small;
        - "reached": the time was reached, the margin still moves;
        - "not_separable": the loss has come to rest, or the time is over, with a margin ≤ 0;
        - "stalled": ended before its time; `stats["reason"]` says why.

    Raises:
        ValueError: an argument outside what is allowed.
        NotHomogeneousError: the net has no positive degree.
    """
    _check(log_t_end, log_log_t_end, loss, order, tol, relative_temperature, max_step, max_steps)
    margins = net_margins(net, x, y, smoothing)
    scaled = scaled_map(mirror_map)
    frame = Frame(margins, scaled, FlowLoss(loss, margins.point))
    position = _start(frame, flat_parameters(net)[margins.order], relative_temperature)
    recorder = Recorder(frame)
    if max_step is None:
        max_step = min(0.4 * (tol / 1e-4) ** 0.25, 0.4)
    stepper = ImplicitStepper(order, tol, relative_temperature, max_step, min(0.2, max_step))
    ending, stats = integrate(
        frame,
        stepper,
        position,
        recorder,
        log_t_end=math.inf if log_t_end is None else log_t_end,
        log_log_t_end=math.inf if log_log_t_end is None else log_log_t_end,
        max_steps=max_steps,
        delta=relative_temperature,
        stop=_stopping(kkt_tol if stop_when_converged else None),
    )
    stats |= {"reason": ending.reason, "order": order, "tol": tol, "map": repr(mirror_map)}
    trajectory = recorder.finish(stats)
    if log_t_end is not None:
        trajectory = trajectory.ending_at(log_t_end)
    return trajectory.judged(_outcome(trajectory, ending, kkt_tol))


def _check(
    log_t_end: float | None,
    log_log_t_end: float | None,
    loss: str,
    order: int,
    tol: float,
    delta: float,
    max_step: float | None,
    max_steps: int,
) -> None:
    if (log_t_end is None) == (log_log_t_end is None):
        raise ValueError("pass one of log_t_end and log_log_t_end, natural logarithms of the time")
    if log_t_end is not None and not -math.inf < log_t_end < math.inf:
        raise ValueError(
            f"log_t_end = {log_t_end} is not a time; pass a finite number, or log_log_t_end"
        )
    if log_log_t_end is not None and not math.isfinite(log_log_t_end):
        raise ValueError(f"log_log_t_end = {log_log_t_end} is not a time; pass a finite number")
    if loss not in get_args(Loss):
        raise ValueError(f"loss = {loss!r} is unknown; choose one of {list(get_args(Loss))}")
    if order not in (1, 2, 3, 4):
        raise ValueError(f"order = {order!r} is not implemented; choose 1, 2, 3 or 4")
    if not 1e-13 <= tol <= 0.1:
        raise ValueError(f"tol = {tol} cannot be kept; choose 1e-13 <= tol <= 0.1")
    if not 1e-12 <= delta <= 1e-2:
        raise ValueError(
            f"relative_temperature = {delta} is outside [1e-12, 1e-2]: below, margins that differ "
            "by rounding compete; above, the limit is blurred"
        )
    if max_step is not None and not 0 < max_step <= 2:
        raise ValueError(f"max_step = {max_step} is outside (0, 2], in units of log Q")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps = {max_steps!r} must be an int >= 1")


def _start(frame: Frame, theta: Array, delta: float) -> Position:
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


def _stopping(kkt_tol: float | None) -> Callable[[State, Recorder], str | None]:
    def stop(state: State, recorder: Recorder) -> str | None:
        latest = recorder.latest
        if kkt_tol is not None and max(latest.epsilon, latest.delta) <= kkt_tol:
            return f"the KKT residual fell below kkt_tol = {kkt_tol}"
        if float(state.q.min()) <= 0.0:
            frame = recorder.frame
            scale = frame.map.dual_gauge(np.abs(frame.margins.jacobian(state.x)[1]).T @ state.p)
            if frame.map.dual_gauge(state.g) <= _STATIONARY * scale:
                return "the loss is at rest with a margin that is not positive"
        return None

    return stop


def _outcome(trajectory: Trajectory, ending: Ending, kkt_tol: float) -> Outcome:
    if trajectory.margin[-1] <= 0:
        at_rest = "at rest" in ending.reason
        return "not_separable" if ending.done or at_rest else "stalled"
    if trajectory.epsilon[-1] <= kkt_tol and trajectory.delta[-1] <= kkt_tol:
        if ending.done or "kkt_tol" in ending.reason:
            return "converged"
        return "stalled"
    if not ending.done:
        return "stalled"
    return "plateau" if _flat(trajectory) else "reached"


def _flat(trajectory: Trajectory) -> bool:
    """True if the margin moved by less than 1e-5 over the last twentieth of log log t."""
    z = trajectory.log_log_t
    if not z[-1] > 1:
        return False
    late = trajectory.margin[z >= 0.95 * z[-1]]
    return len(late) > 1 and float(np.ptp(late)) <= 1e-5 * float(trajectory.margin[-1])

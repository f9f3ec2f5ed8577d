"""`mirror_flow`: the continuous flow of a network under a mirror map."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from mirrorflow.checks import as_flag
from mirrorflow.flow.arguments import check_coupled, check_data, check_files, flow_settings
from mirrorflow.flow.follow import Settings, follow, judge
from mirrorflow.flow.logscale.base import ScaledMap
from mirrorflow.flow.logscale.build import scaled_maps
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.options import KKT, Exact, Explicit, Implicit, Krylov, LogLog, Smooth
from mirrorflow.flow.record.problem import FlowProblem
from mirrorflow.flow.record.trajectory import FlowPoint, Trajectory
from mirrorflow.flow.square import follow_square
from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, as_map
from mirrorflow.progress import progress_bar

__all__ = ["flow_problem", "follow_problem", "mirror_flow"]


def mirror_flow(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MapLike | str,
    *,
    log_t_end: float | LogLog,
    loss: Loss = "exponential",
    stepper: Literal["auto"] | Implicit | Krylov | Explicit = "auto",
    relu: Smooth | Exact = Smooth(),  # noqa: B008  a frozen value
    tol: float | None = None,
    stop: KKT | None = None,
    max_steps: int = 30_000,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[FlowPoint], None] | None = None,
) -> Trajectory:
    """Follow `d∇R(θ_t)/dt = −∇ℓ(θ_t)` from the net's weights at t = 0 to `t = exp(log_t_end)`.

    The loss is the sum over the points. Everything is kept in logarithms and in units that move
    with the solution, so t = exp(1e100) is as near as t = 1e10. The net is left as it is.

    Args:
        net: homogeneous of positive degree: a net of `mirrorflow.nets`, or any module that passes
            `check_degree`; (n,) outputs for two classes, (n, C) for C.
        x: (n, …) points.
        y: (n,) labels, ±1 or class indices; for "square" real targets, shaped like the outputs.
        mirror_map: one map for all weights, or a map per parameter as `maps.assign` takes it; a map
            or its text, such as "cosh(0.5)": any separable map, `PNorm`, `Spectral`. With several
            (of which one may vary rapidly) `Q = Π Q_l^{k_l/L}`, the margin `min q / Π Q_l^{k_l}`.
        log_t_end: natural logarithm of the last time; `LogLog(z)` is `t = exp(exp(z))`.
        loss: "exponential", "logistic" or "cross_entropy" (the last two are one formula), or
            "square", `½ Σ (f − y)²`, see below.
        stepper: `Implicit(…)` (any time), `Krylov(…)` (the same equations without a Jacobian or
            Hessian array), `Explicit(…)` (large nets and short times), or "auto", which chooses by
            the size of the net, the number of points and the time.
        relu: `Smooth(eps)` follows a "relu" net as a smooth one; `Exact()` a two-layer "relu" net
            with one output as it is.
        tol: local error per step, relative in the horizon norm and in the dual; None is 1e-4, and
            1e-5 for maps of finite index above 2, where 1e-4 can end at another KKT point; 1e-6 for
            "square".
        stop: `KKT(tol)` ends the flow as soon as its residuals are below `tol`.
        max_steps: bound on the attempted steps.
        progress: show a bar over `log log t`.
        checkpoint: a file written every 30 seconds, on interruption and at the end; the same call
            with the same file continues bit for bit.
        callback: called after every step with the latest record.

    Returns:
        A `Trajectory` whose last row is at the time asked for. Its `outcome` is

        - "converged": a KKT point: all three residuals are below 1e-3, or the `tol` of `stop`;
        - "plateau": the time was reached, the margin is flat, but the residual is not small;
        - "reached": the time was reached, the margin (or, before separation, the loss) still moves;
        - "not_separable": the loss has come to rest with a margin ≤ 0, or the time is over and its
          decay has slowed to a tenth;
        - "stalled": ended before its time; `stats.reason` says why;
        - "interpolates": with "square", every target is fitted and the flow is at rest.

    With `loss="square"` the flow ends at rest, in ordinary time and at finite weights: `log_t_end`
    (at most 600) is a bound. For a linear model the end is `exact.min_bregman`; for other nets no
    limit problem is known here. Any map and any net will do, homogeneous or not. At rest above zero
    (targets that this net does not fit) the outcome is "plateau". In the record `log_gauge` is
    `log ‖θ‖₂` and `direction` is `θ/‖θ‖₂`; `margins` are `−|f(x_i) − y_i|`, output by output, and
    not divided by anything (`degree` is 0); `multipliers` are ν of `∇R(θ) − ∇R(θ₀) ≈ Jᵀν`,
    `natural_epsilon` what that leaves, `mean_excess` the largest residual over the largest target,
    `gap` is NaN. `LogLog`, `stop`, `checkpoint`, `relu=Exact()` and the options of steppers do not
    apply and are refused.

    Raises:
        ValueError: an argument outside what is allowed, or weights outside the map's domain.
        TypeError: x or y cannot be a tensor, net is no module, a number that is none.
        NotHomogeneousError: the net has no positive degree.
    """
    checkpoint = check_files(checkpoint, callback)
    problem = flow_problem(
        net, x, y, mirror_map, log_t_end=log_t_end, loss=loss, stepper=stepper, relu=relu, tol=tol,
        stop=stop, max_steps=max_steps,
    )  # fmt: skip
    return follow_problem(problem, as_flag(progress, "progress"), checkpoint, callback)


def flow_problem(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MapLike | str,
    *,
    log_t_end: float | LogLog,
    loss: Loss = "exponential",
    stepper: Literal["auto"] | Implicit | Krylov | Explicit = "auto",
    relu: Smooth | Exact = Smooth(),  # noqa: B008  a frozen value
    tol: float | None = None,
    stop: KKT | None = None,
    max_steps: int = 30_000,
) -> FlowProblem[Settings]:
    """The arguments of `mirror_flow` that decide the flow, checked and copied.

    Raises:
        TypeError, ValueError: as `mirror_flow`.
    """
    mirror_map = as_map(mirror_map)
    x, y = check_data(net, x, y, mirror_map)
    settings = flow_settings(
        mirror_map,
        log_t_end=log_t_end,
        loss=loss,
        stepper=stepper,
        relu=relu,
        tol=tol,
        stop=stop,
        max_steps=max_steps,
    )
    return FlowProblem.of(net, x, y, settings)


def follow_problem(
    problem: FlowProblem[Settings],
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[FlowPoint], None] | None = None,
) -> Trajectory:
    """`mirror_flow` of what was checked before."""
    settings, net = problem.settings, problem.net
    if settings.loss == "square":
        return _follow_square(problem, progress, checkpoint, callback)
    exact = isinstance(settings.relu, Exact)
    eps = settings.relu.eps if isinstance(settings.relu, Smooth) else 0.0
    margins = net_margins(net, problem.x, problem.y, eps, exact)
    theta = flat_parameters(net)[margins.order]
    form: ScaledMap = scaled_maps(settings.mirror_map, net, margins.order)
    if margins.kinked and (form.slaved or form.coupled):
        why = "inside the cube are not resolved" if form.slaved else "need a map that is separable"
        raise ValueError(
            f"relu = Exact() does not hold for {settings.mirror_map!r}: sliding modes {why}; use "
            "relu = Smooth(eps) with a small eps"
        )
    if form.coupled:
        margins.balance_layers()
        check_coupled(settings.mirror_map, settings.method, margins.size, form.dense)
    total = _stretch(settings.log_log_t_end)
    with progress_bar(progress, total, "flow", bar_format=_BAR) as bar:

        def report(point: FlowPoint) -> None:
            bar.update(max(min(_stretch(point.log_log_t), total) - bar.n, 0.0))
            bar.set_postfix_str(f"margin {point.margin:.4g}, gap {point.gap:.1e}", refresh=False)
            if callback is not None:
                callback(point)

        watched = report if progress else callback
        first, ending = follow(margins, form, theta, settings, checkpoint, watched)
    outcome = judge(first, ending, 1e-3 if settings.stop_at is None else settings.stop_at)
    return replace(first, outcome=outcome, problem=problem)


def _follow_square(
    problem: FlowProblem[Settings],
    progress: bool,
    checkpoint: str | os.PathLike[str] | None,
    callback: Callable[[FlowPoint], None] | None,
) -> Trajectory:
    if checkpoint is not None:
        raise ValueError(
            f'checkpoint = {str(checkpoint)!r} with loss = "square", whose flows are short and '
            "keep none; leave it out and save the trajectory"
        )
    with progress_bar(progress, _DIGITS, "flow", bar_format=_SQUARE_BAR) as bar:

        def report(point: FlowPoint) -> None:
            digits = -math.log10(max(point.mean_excess, 1e-99))
            bar.update(max(min(digits, _DIGITS) - bar.n, 0.0))
            if callback is not None:
                callback(point)

        return follow_square(problem, report if progress else callback)


_DIGITS = 12.0  # of the residual, at which the flow of the square loss rests
_SQUARE_BAR = "{desc}: {n:.1f} of 12 digits of the targets |{bar}| {elapsed}"
_BAR = "{desc}: {percentage:3.0f}% of log log t |{bar}| {elapsed}{postfix}"


def _stretch(log_log_t: float) -> float:
    """`log(1 + log t)`, 0 at t = 1."""
    return math.log1p(math.exp(log_log_t)) if log_log_t < 30.0 else log_log_t

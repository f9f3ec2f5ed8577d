"""`mirror_flow`: the continuous flow of a network under a mirror map."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

from torch import Tensor, nn

from mirrorflow.checks import as_choice, as_flag, as_number
from mirrorflow.flow.arguments import check_coupled, check_data, check_files, flow_settings
from mirrorflow.flow.follow import Method, compare, follow, judge
from mirrorflow.flow.logscale.base import ScaledMap
from mirrorflow.flow.logscale.build import scaled_maps
from mirrorflow.flow.margins.build import Kinks, flat_parameters, net_margins
from mirrorflow.flow.record.trajectory import FlowPoint, Trajectory
from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, SeparableMap

__all__ = ["mirror_flow"]


def mirror_flow(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MapLike,
    *,
    log_t_end: float | None = None,
    log_log_t_end: float | None = None,
    loss: Loss = "exponential",
    method: Method = "auto",
    order: int = 3,
    tol: float | None = None,
    relative_temperature: float = 1e-7,
    max_step: float | None = None,
    max_steps: int = 30_000,
    kkt_tol: float = 1e-3,
    smoothing: float = 1e-2,
    kinks: Kinks = "smooth",
    stop_when_converged: bool = False,
    verify: bool = False,
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
        y: (n,) labels, ±1 or class indices.
        mirror_map: one map for all weights, or a map per parameter as `maps.assign` takes it: any
            separable map, `PNorm`, `Spectral`; with several (of which one may vary rapidly)
            `Q = Π Q_l^{k_l/L}`, and the margin is `min q / Π Q_l^{k_l}`.
        log_t_end: natural logarithm of the last time.
        log_log_t_end: instead of `log_t_end`, its logarithm, for times beyond `exp(1e308)`.
        loss: "exponential", "logistic" or "cross_entropy" (the last two are one formula).
        method: "implicit" (primal-dual SDIRK, any time), "krylov" (the same equations by
            Newton-Krylov, without a Jacobian or Hessian array), "explicit" (Dormand-Prince, large
            nets and short times), or "auto": implicit unless the Hessian would be one dense block
            of more than 1500 weights, or the Jacobian hold more than 2e7 numbers; then krylov, or
            explicit up to `log_t_end = 1`.
        order: of the implicit Runge-Kutta method, 1 to 4, also for "krylov".
        tol: local error per step, relative in the horizon norm and in the dual; None is 1e-4, and
            1e-5 for maps of finite index above 2, where 1e-4 can end at another KKT point.
        relative_temperature: the softmax over margins is never sharper than this share of the
            smallest margin; the margin of the limit is then off by about half of it, relatively.
        max_step: largest growth of `log Q` in a step; None is `0.4 (tol/1e-4)^(1/4)`, at which
            values between steps are as accurate as those at steps.
        max_steps: bound on the attempted steps; `verify` may take four times as many again.
        kkt_tol: `epsilon`, `delta` and `slack` below which the end counts as converged.
        smoothing: a "relu" net is followed as the "smooth_relu" net with this eps; `relu` in a
            module of other layers (the convolutional nets, your own) as `(z + √(z² + eps² m))/2`, m
            the mean of z² over the features of a point. 0 takes such a module as it is, kinks and
            all, where implicit steps may end.
        kinks: "exact" follows a two-layer "relu" net with one output without smoothing: at a kink
            the derivative in [0, 1] is an unknown of the stage, so sliding modes are followed.
        stop_when_converged: end as soon as all three are below `kkt_tol`.
        verify: follow the flow a second time at `tol/10` and report in `stats["verify"]` whether
            it ends at the same point: the relative differences of the margin and of the margins of
            all points, and `same`, true below 1e-2. Needed for p > 2, where a loose tolerance can
            end on another KKT point with a residual of zero. A flow that stalled is not repeated.
        checkpoint: a file written every 30 seconds and on interruption; the same call with the same
            file continues bit for bit.
        callback: called after every step with the latest record.

    Returns:
        A `Trajectory` whose last row is at the time asked for. Its `outcome` is

        - "converged": a KKT point to within `kkt_tol`;
        - "plateau": the time was reached, the margin is flat, but the residual is not small;
        - "reached": the time was reached, the margin (or, before separation, the loss) still moves;
        - "not_separable": the loss has come to rest with a margin ≤ 0, or the time is over and its
          decay has slowed to a tenth;
        - "stalled": ended before its time; `stats["reason"]` says why.

    Raises:
        ValueError: an argument outside what is allowed, or weights outside the map's domain.
        TypeError: x or y no tensor, net no module, a number that is none.
        NotHomogeneousError: the net has no positive degree.
    """
    verify = as_flag(verify, "verify")
    x, y = check_data(net, x, y, mirror_map)
    settings = flow_settings(
        mirror_map, log_t_end=log_t_end, log_log_t_end=log_log_t_end, loss=loss, method=method,
        order=order, tol=_default_tol(mirror_map) if tol is None else tol,
        relative_temperature=relative_temperature, max_step=max_step, max_steps=max_steps,
        kkt_tol=kkt_tol, stop_when_converged=stop_when_converged,
    )  # fmt: skip
    smoothing = as_number(smoothing, "smoothing", least=0, below=1)
    checkpoint = check_files(checkpoint, callback)
    as_choice(kinks, "kinks", get_args(Kinks))
    if kinks == "exact" and method in ("explicit", "krylov"):
        raise ValueError(
            f'kinks = "exact" needs method = "implicit", not {method!r}: the others do not know '
            'sliding modes; leave method out, or use kinks = "smooth"'
        )
    margins = net_margins(net, x, y, smoothing, kinks)
    theta = flat_parameters(net)[margins.order]

    def scaled() -> ScaledMap:
        return scaled_maps(mirror_map, net, margins.order)  # a map carries the level of its run

    form = scaled()
    if margins.kinked and (form.slaved or form.coupled):
        why = "inside the cube are not resolved" if form.slaved else "need a map that is separable"
        raise ValueError(
            f'kinks = "exact" does not hold for {mirror_map!r}: sliding modes {why}; use kinks = '
            '"smooth" with a smaller smoothing'
        )
    if form.coupled:
        margins.balance_layers()
        check_coupled(mirror_map, method, margins.size, form.dense)
    first, ending = follow(margins, form, theta, settings, checkpoint, callback)
    first = first.judged(judge(first, ending, as_number(kkt_tol, "kkt_tol")))
    if not verify or first.outcome == "stalled":
        return first
    finer = replace(
        settings, tol=settings.tol / 10, max_step=settings.max_step / 10**0.25,
        max_steps=4 * settings.max_steps,
    )  # fmt: skip
    second, _ = follow(margins, scaled(), theta, finer, None, None)
    return replace(first, stats={**first.stats, "verify": compare(first, second)})


def _default_tol(mirror_map: MapLike) -> float:
    maps = mirror_map.values() if isinstance(mirror_map, Mapping) else [mirror_map]
    steep = [m for m in maps if isinstance(m, SeparableMap) and 2 < m.index < math.inf]
    return 1e-5 if steep else 1e-4

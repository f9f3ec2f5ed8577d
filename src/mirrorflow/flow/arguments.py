"""What `mirror_flow` takes and refuses, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from mirrorflow.checks import (
    as_choice,
    as_function,
    as_integer,
    as_net,
    as_number,
    as_path,
    as_points,
    as_tensor,
    shown,
)
from mirrorflow.flow.follow import MethodName, Settings
from mirrorflow.flow.options import KKT, Exact, Explicit, Implicit, Krylov, LogLog, Smooth
from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, MirrorMap, SeparableMap, assign

__all__ = ["check_coupled", "check_data", "check_files", "flow_settings"]

_LAST = 600.0  # log t up to which t is a double with room above it
_SQUARE_TOL = 1e-6
_DENSE = 1500  # weights beyond which no d x d array is formed


def check_coupled(mirror_map: MapLike, method: str, size: int, dense: bool) -> None:
    """What maps that couple the entries of a tensor cannot have.

    Raises:
        ValueError: `method` is "krylov"; or too many weights where `du/dx` is `dense`.
    """
    if method == "krylov":
        raise ValueError(
            f"stepper = Krylov() does not hold for {mirror_map!r}, which couples the entries of a "
            "tensor; use stepper = Implicit(), or Explicit() for short times"
        )
    if dense and method != "explicit" and size > _DENSE:
        raise ValueError(
            f"mirror_map = {mirror_map!r} needs a matrix of {size} x {size} in each step, beyond "
            f"{_DENSE}; use a smaller net, a separable map, or Explicit() for short times"
        )


def check_data(net: Any, x: Any, y: Any, mirror_map: Any) -> tuple[Tensor, Tensor]:
    """Types, shapes, values, and the domain of the map at the net's weights.

    Returns:
        x and y as tensors.

    Raises:
        TypeError: no module, no arrays, or complex numbers.
        ValueError: no points, NaN or infinity, points of value zero, weights outside the domain.
    """
    net = as_net(net)
    x, y = as_points(x, "x"), as_tensor(y, "y")
    top = float(x.detach().abs().max())
    if not 1e-100 < top < 1e100:
        raise ValueError(
            f"the largest entry of x is {top:g}; scale the points so that it is of order one"
        )
    parameters = dict(net.named_parameters())
    if not parameters:
        raise ValueError("net has no parameters; there is nothing to follow")
    frozen = [name for name, p in parameters.items() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"the parameters {frozen} do not require a gradient, and the flow moves all; make them "
            "buffers (net.register_buffer) to keep them fixed, or set requires_grad"
        )
    chosen = assign(mirror_map, list(parameters), net)
    for name, p in parameters.items():
        if not bool(torch.isfinite(p).all()):
            raise ValueError(
                f"the net's parameters hold NaN or infinity (in {name}); start from finite weights"
            )
        chosen[name].require_domain(p.detach(), name)
    return x, y


def check_files(checkpoint: Any, callback: Any) -> Path | None:
    """The checkpoint as a path whose folder exists, and a callback that can be called.

    Raises:
        TypeError: no path, or no function.
        FileNotFoundError: the folder of the checkpoint.
    """
    if callback is not None:
        as_function(callback, "callback", "a FlowPoint")
    if checkpoint is None:
        return None
    path = as_path(checkpoint, "checkpoint")
    if path.is_dir():
        raise IsADirectoryError(f"checkpoint = {str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint = {str(path)!r}: there is no folder {str(path.parent)!r}; create it first"
        )
    return path


def flow_settings(
    mirror_map: MapLike,
    *,
    log_t_end: Any,
    loss: Any,
    stepper: Any,
    relu: Any,
    tol: float | None,
    stop: Any,
    max_steps: int,
) -> Settings:
    """Numbers in their ranges, names that are known; NumPy values become plain ones.

    Raises:
        TypeError: an object of another kind than is allowed.
        ValueError: a value outside what is allowed.
    """
    loss = as_choice(loss, "loss", get_args(Loss))
    if loss == "square":
        return _square_settings(mirror_map, log_t_end, stepper, relu, tol, stop, max_steps)
    late = log_t_end.value if isinstance(log_t_end, LogLog) else None
    if late is None:
        log_t_end = _time(log_t_end)
    if not isinstance(relu, Smooth | Exact):
        raise TypeError(f"relu = {shown(relu)} is unknown; pass Smooth(eps) or Exact()")
    if stop is not None and not isinstance(stop, KKT):
        raise TypeError(f"stop = {shown(stop)} is not a rule; pass KKT(tol) or None")
    chosen = Implicit() if isinstance(stepper, str) and stepper == "auto" else stepper
    if not isinstance(chosen, Implicit | Explicit):
        raise TypeError(
            f'stepper = {shown(stepper)} is unknown; pass "auto", Implicit(…), Krylov(…) or '
            "Explicit(…)"
        )
    method = "auto" if chosen is not stepper else _METHODS[type(chosen)]
    if isinstance(relu, Exact) and method in ("explicit", "krylov"):
        raise ValueError(
            f"relu = Exact() needs stepper = Implicit(…), not {chosen!r}: the others do not know "
            "sliding modes; leave stepper out, or use relu = Smooth(eps)"
        )
    order = chosen.order if isinstance(chosen, Implicit) else 5
    tol = as_number(_default_tol(mirror_map) if tol is None else tol, "tol")
    least = 1e-13 if method == "explicit" else 1e-9
    if not least <= tol <= 0.1:
        raise ValueError(
            f"tol = {tol} cannot be kept; choose {least:g} <= tol <= 0.1 (steps of order "
            f"{order} become too short to arrive; stepper = Explicit() goes to 1e-13)"
        )
    longest = min(0.4 * (tol / 1e-4) ** 0.25, 0.4) if chosen.max_step is None else chosen.max_step
    return Settings(
        mirror_map=mirror_map,
        log_t_end=log_t_end if late is None else None,
        log_log_t_end=late if late is not None else _log(log_t_end),
        loss=loss,
        method=method,
        order=order,
        tol=tol,
        delta=chosen.temperature,
        max_step=longest,  # in units of log Q
        max_steps=as_integer(max_steps, "max_steps", least=1),
        stop_at=None if stop is None else stop.tol,
        relu=relu,
    )


def _square_settings(
    mirror_map: MapLike,
    log_t_end: Any,
    stepper: Any,
    relu: Any,
    tol: float | None,
    stop: Any,
    max_steps: int,
) -> Settings:
    """What the square loss leaves of the options: its time is ordinary and ends at rest."""
    if isinstance(log_t_end, LogLog):
        raise ValueError(
            f'log_t_end = {log_t_end!r} is not a time of loss = "square", which comes to rest in '
            f"ordinary time; pass a natural logarithm of at most {_LAST:g}"
        )
    log_t_end = _time(log_t_end)
    if log_t_end > _LAST:
        raise ValueError(
            f'log_t_end = {log_t_end:g} with loss = "square", which comes to rest in ordinary '
            f"time; pass a natural logarithm of at most {_LAST:g}, and the flow ends where it rests"
        )
    if stop is not None:
        raise ValueError(
            f'stop = {shown(stop)} with loss = "square", which has no max-margin problem whose KKT '
            "point it could reach; leave stop out, the flow ends where it rests"
        )
    if not isinstance(relu, Smooth):
        raise ValueError(
            f'relu = {shown(relu)} with loss = "square": sliding modes are those of margins; use '
            "relu = Smooth(eps)"
        )
    chosen: MethodName = "auto"
    if stepper == Implicit() and type(stepper) is Implicit:
        chosen = "implicit"
    elif stepper == Explicit():
        chosen = "explicit"
    elif not (isinstance(stepper, str) and stepper == "auto"):
        raise ValueError(
            f'stepper = {shown(stepper)} with loss = "square"; pass "auto", Implicit() or '
            "Explicit() without options, which are those of the flow of margins"
        )
    tol = as_number(_SQUARE_TOL if tol is None else tol, "tol", least=1e-13, most=0.1)
    return Settings(
        mirror_map=mirror_map,
        log_t_end=log_t_end,
        log_log_t_end=_log(log_t_end),
        loss="square",
        method=chosen,
        order=8 if chosen == "explicit" else 5,
        tol=tol,
        delta=0.0,
        max_step=math.inf,
        max_steps=as_integer(max_steps, "max_steps", least=1),
        stop_at=None,
        relu=relu,
    )


def _default_tol(mirror_map: MapLike) -> float:
    maps = mirror_map.values() if isinstance(mirror_map, Mapping) else [mirror_map]
    flat = [m for m in maps if isinstance(m, MirrorMap)]
    steep = [m for m in flat if isinstance(m, SeparableMap) and 2 < m.index < math.inf]
    return 1e-5 if steep else 1e-4


_METHODS: dict[type, MethodName] = {Implicit: "implicit", Krylov: "krylov", Explicit: "explicit"}


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _time(value: Any) -> float:
    nan = isinstance(value, float) and math.isnan(value)
    time = math.nan if nan else as_number(value, "log_t_end", infinite=True)
    if not math.isfinite(time):
        raise ValueError(
            f"log_t_end = {time} is not a time; pass a finite number, or LogLog(z) for exp(exp(z))"
        )
    return time

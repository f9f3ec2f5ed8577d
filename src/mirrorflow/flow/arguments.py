"""What `mirror_flow` takes and refuses, before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from mirrorflow.checks import (
    as_choice,
    as_flag,
    as_function,
    as_integer,
    as_net,
    as_number,
    as_path,
    as_points,
    as_tensor,
    shown,
)
from mirrorflow.flow.follow import Method, Settings
from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, assign

__all__ = ["check_coupled", "check_data", "check_files", "flow_settings"]

_DENSE = 1500  # weights beyond which no d x d array is formed


def check_coupled(mirror_map: MapLike, method: str, size: int, dense: bool) -> None:
    """What maps that couple the entries of a tensor cannot have.

    Raises:
        ValueError: `method` is "krylov"; or too many weights where `du/dx` is `dense`.
    """
    if method == "krylov":
        raise ValueError(
            f'method = "krylov" does not hold for {mirror_map!r}, which couples the entries of a '
            'tensor; use method = "implicit", or "explicit" for short times'
        )
    if dense and method != "explicit" and size > _DENSE:
        raise ValueError(
            f"mirror_map = {mirror_map!r} needs a matrix of {size} x {size} in each step, beyond "
            f'{_DENSE}; use a smaller net, a separable map, or method = "explicit" for short times'
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
    log_t_end: float | None,
    log_log_t_end: float | None,
    loss: Any,
    method: Any,
    order: int,
    tol: float,
    relative_temperature: float,
    max_step: float | None,
    max_steps: int,
    kkt_tol: float,
    stop_when_converged: bool,
) -> Settings:
    """Numbers in their ranges, names that are known; NumPy values become plain ones.

    Raises:
        TypeError: a number, a flag or a name that is none.
        ValueError: a value outside what is allowed.
    """
    if (log_t_end is None) == (log_log_t_end is None):
        raise ValueError(
            f"log_t_end = {shown(log_t_end)} and log_log_t_end = {shown(log_log_t_end)}; pass one "
            "of the two, natural logarithms of the time"
        )
    if log_t_end is not None:
        log_t_end = _time("log_t_end", log_t_end, ", or log_log_t_end")
    if log_log_t_end is not None:
        log_log_t_end = _time("log_log_t_end", log_log_t_end, "")
    method = as_choice(method, "method", get_args(Method))
    order = as_integer(order, "order", least=1, most=4)
    tol = as_number(tol, "tol")
    least = 1e-13 if method == "explicit" else 1e-9
    if not least <= tol <= 0.1:
        raise ValueError(
            f"tol = {tol} cannot be kept; choose {least:g} <= tol <= 0.1 (steps of order "
            f"{order} become too short to arrive; method = 'explicit' goes to 1e-13)"
        )
    temperature = as_number(relative_temperature, "relative_temperature")
    if not 1e-12 <= temperature <= 1e-2:
        raise ValueError(
            f"relative_temperature = {temperature} is outside [1e-12, 1e-2]: below, "
            "margins that differ by rounding compete; above, the limit is blurred"
        )
    if max_step is None:
        max_step = min(0.4 * (tol / 1e-4) ** 0.25, 0.4)
    max_step = as_number(max_step, "max_step", above=0, most=2)  # in units of log Q
    kkt_tol = as_number(kkt_tol, "kkt_tol", above=0, below=1)
    stop = as_flag(stop_when_converged, "stop_when_converged")
    return Settings(
        mirror_map, log_t_end, log_log_t_end, as_choice(loss, "loss", get_args(Loss)), method,
        order, tol, temperature, max_step, as_integer(max_steps, "max_steps", least=1),
        kkt_tol if stop else None,
    )  # fmt: skip


def _time(name: str, value: Any, cure: str) -> float:
    nan = isinstance(value, float) and math.isnan(value)
    time = math.nan if nan else as_number(value, name, infinite=True)
    if not math.isfinite(time):
        raise ValueError(f"{name} = {time} is not a time; pass a finite number{cure}")
    return time

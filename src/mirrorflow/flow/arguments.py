"""What `mirror_flow` refuses, before anything is computed."""

from __future__ import annotations

import math
import os
from numbers import Real
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mirrorflow.losses import Loss
from mirrorflow.maps import MapLike, assign

__all__ = ["check_coupled", "check_data", "check_settings"]


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


def check_data(net: nn.Module, x: Tensor, y: Tensor, mirror_map: MapLike) -> None:
    """Types, shapes, values, and the domain of the map at the net's weights.

    Raises:
        TypeError: no module, no tensors, or complex numbers.
        ValueError: no points, NaN or infinity, points of value zero, weights outside the domain.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net is a {type(net).__name__}; pass a torch.nn.Module")
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} is a {type(value).__name__}; pass a torch.Tensor (torch.as_tensor)"
            )
        if value.is_complex():
            raise TypeError(f"{name} is complex ({value.dtype}); pass real numbers")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(
            f"x has shape {tuple(x.shape)}: there are no points; pass shape (n, ...) with n >= 1"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds NaN or infinity; clean the data first")
    top = float(x.abs().max())
    if not 1e-100 < top < 1e100:
        raise ValueError(
            f"the largest entry of x is {top:g}; scale the points so that it is of order one"
        )
    parameters = dict(net.named_parameters())
    frozen = [name for name, p in parameters.items() if not p.requires_grad]
    if frozen:
        raise ValueError(
            f"the parameters {frozen} do not require a gradient, and the flow moves all; make them "
            "buffers (net.register_buffer) to keep them fixed, or set requires_grad"
        )
    chosen = assign(mirror_map, list(parameters))
    for name, p in parameters.items():
        if not bool(torch.isfinite(p).all()):
            raise ValueError(
                f"the net's parameters hold NaN or infinity (in {name}); start from finite weights"
            )
        chosen[name].require_domain(p.detach(), name)


def check_settings(
    *,
    log_t_end: float | None,
    log_log_t_end: float | None,
    loss: str,
    method: str,
    order: int,
    tol: float,
    relative_temperature: float,
    max_step: float | None,
    max_steps: int,
    kkt_tol: float,
    smoothing: float,
    checkpoint: str | os.PathLike[str] | None,
    callback: object,
) -> None:
    """Numbers in their ranges, names that are known, a folder that exists.

    Raises:
        TypeError: a number or a function that is none.
        ValueError: a value outside what is allowed.
        FileNotFoundError: the folder of the checkpoint.
    """
    if (log_t_end is None) == (log_log_t_end is None):
        raise ValueError("pass one of log_t_end and log_log_t_end, natural logarithms of the time")
    for name, time in (("log_t_end", log_t_end), ("log_log_t_end", log_log_t_end)):
        if time is not None and not math.isfinite(_number(name, time)):
            cure = ", or log_log_t_end" if name == "log_t_end" else ""
            raise ValueError(f"{name} = {time} is not a time; pass a finite number{cure}")
    if loss not in get_args(Loss):
        raise ValueError(f"loss = {loss!r} is unknown; choose one of {list(get_args(Loss))}")
    if order not in (1, 2, 3, 4):
        raise ValueError(f"order = {order!r} is not implemented; choose 1, 2, 3 or 4")
    least = 1e-13 if method == "explicit" else 1e-9
    if not least <= _number("tol", tol) <= 0.1:
        raise ValueError(
            f"tol = {tol} cannot be kept; choose {least:g} <= tol <= 0.1 (steps of order "
            f"{order} become too short to arrive; method = 'explicit' goes to 1e-13)"
        )
    if not 1e-12 <= _number("relative_temperature", relative_temperature) <= 1e-2:
        raise ValueError(
            f"relative_temperature = {relative_temperature} is outside [1e-12, 1e-2]: below, "
            "margins that differ by rounding compete; above, the limit is blurred"
        )
    if max_step is not None and not 0 < _number("max_step", max_step) <= 2:
        raise ValueError(f"max_step = {max_step} is outside (0, 2], in units of log Q")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps = {max_steps!r} must be an int >= 1")
    if not 0 < _number("kkt_tol", kkt_tol) < 1:
        raise ValueError(f"kkt_tol = {kkt_tol} is no relative residual; choose 0 < kkt_tol < 1")
    if not 0 <= _number("smoothing", smoothing) < 1:
        raise ValueError(
            f"smoothing = {smoothing} is outside [0, 1); it is the eps of smooth_relu, say 1e-2"
        )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is a {type(callback).__name__}; pass a function of a FlowPoint")
    if checkpoint is not None and not Path(checkpoint).parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint = {os.fspath(checkpoint)!r}: there is no folder "
            f"{str(Path(checkpoint).parent)!r}; create it first"
        )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is a {type(value).__name__}; pass a number")
    return float(value)

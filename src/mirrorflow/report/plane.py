"""Flows of a net in the plane, at common times: the numbers behind the explorer."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.checks import as_integer, shown
from mirrorflow.claims.finding import map_label
from mirrorflow.data import check_points
from mirrorflow.errors import MirrorFlowError
from mirrorflow.flow import FlowPoint, Trajectory
from mirrorflow.maps import MirrorMap, as_map
from mirrorflow.nets import MLP, Linear
from mirrorflow.report.unit_balls import ANGLES, ball_radii, horizon_radii

__all__ = ["Frames", "frames_of", "plane_data"]

_LN10 = math.log(10)
_EARLY = -2.0  # log10 log10 (1 + t) of the first time after the start, t = 0.023
_TICKS = (-2, -1, 0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_LEVEL = 1e300  # beyond it a level is no double any more, and Q_c looks like Q


@dataclass(frozen=True)
class Frames:
    """Common times of several flows: t = 0, then `frames` times evenly in `asinh z`.

    `z = log10 log10 (1 + t)`, which is log10 log10 t wherever the two can be told apart. The
    asinh is even in z near the start, where most moves, and in log z far out.
    """

    z: Array

    @property
    def texts(self) -> list[str]:
        """Each time as a person reads it."""
        return ["0", *(_time_text(float(z)) for z in self.z[1:])]

    @property
    def ticks(self) -> list[dict[str, Any]]:
        """Marks of the axis: where (0 to 1) and the z there."""
        low, high = np.arcsinh(self.z[1]), np.arcsinh(self.z[-1])
        step = 1 / (len(self.z) - 1)
        marks = []
        for z in _TICKS:
            share = (math.asinh(z) - low) / (high - low) if high > low else 0.0
            if -1e-9 <= share <= 1 + 1e-9:
                marks.append({"at": round(float(step + (1 - step) * share), 5), "z": z})
        return marks

    def at(self, flow: Trajectory, frame: int) -> FlowPoint:
        """The flow at a frame; where it ended before, its end."""
        z = float(self.z[frame])
        if frame == 0 or z >= _end(flow):
            return flow[0] if frame == 0 else flow[-1]
        if z > 2:
            return flow.at(log_log_t=z * _LN10 + math.log(_LN10))
        return flow.at(_log_t(z))


def frames_of(flows: Mapping[str, Trajectory], frames: int = 120) -> Frames:
    """Times from the start to the end of the longest flow.

    Raises:
        MirrorFlowError: no flow got anywhere.
    """
    last = max(_end(flow) for flow in flows.values())
    if not last > _EARLY:
        raise MirrorFlowError(
            "no flow came past t = 0.02, so there is nothing to see; look at "
            "trajectory.stats.reason, and try another start"
        )
    z = np.sinh(np.linspace(math.asinh(_EARLY), math.asinh(last), frames))
    z[0], z[-1] = _EARLY, last
    return Frames(np.concatenate([[-math.inf], z]))


def _end(flow: Trajectory) -> float:
    log_log_t, log_t = float(flow.log_log_t[-1]), float(flow.log_t[-1])
    if log_t > 50:
        return (log_log_t - math.log(_LN10)) / _LN10
    log_1_t = float(np.logaddexp(0.0, log_t))
    return math.log10(log_1_t / _LN10) if log_1_t > 0 else -math.inf


def _log_t(z: float) -> float:
    log_1_t = float(10.0**z * _LN10)
    return log_1_t + math.log(-math.expm1(-log_1_t))


def _time_text(z: float) -> str:
    log10_t = 10.0**z if z > 1 else _log_t(z) / _LN10
    if log10_t < 3:
        return f"{10**log10_t:.3g}"
    return f"10^{log10_t:.3g}" if z < 4 else f"10^(10^{z:.3g})"


def plane_data(
    flows: Mapping[str, Trajectory],
    net: MLP | Linear,
    x: Tensor,
    y: Tensor,
    *,
    frames: int = 120,
) -> dict[str, Any]:
    """What the explorer draws, as JSON values; arrays are little-endian float32 in base64.

    Args:
        flows: trajectories by the text of their map, of this net on these points.
        net: the net they belong to; it is left as it is.
        x: (n, 2) points.
        y: (n,) labels, ±1 or class indices.
        frames: times after the start.

    Raises:
        TypeError, ValueError: a net of another kind, points outside the plane, flows of another
            net, fewer than 2 frames.
        MirrorFlowError: no flow got anywhere.
    """
    frames = as_integer(frames, "frames", least=2, most=1000)
    flows = _checked(flows, net)
    x, y = check_points(x, y, None if net.binary else _outputs(net))
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; the explorer draws points in the plane, (n, 2)"
        )
    each = 1 if net.binary else _outputs(net) - 1  # constraints of a point
    for text, flow in flows.items():
        if flow.margins.shape[1] != each * len(x):
            raise ValueError(
                f"flows[{text!r}] has {flow.margins.shape[1]} margins, which x with {len(x)} "
                "points does not give; pass the points that the flow was followed on"
            )
    times = frames_of(flows, frames)
    low, high = x.min(0).values, x.max(0).values
    half = 0.62 * max(float((high - low).max()), 1e-9 * float(x.abs().max()), 1e-300)
    smooth = isinstance(net, MLP) and net.activation in ("relu", "smooth_relu")
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "classes": 0 if net.binary else _outputs(net),
        "centre": (0.5 * (low + high)).tolist(),
        "half": half,
        "net": {
            "shapes": [list(_matrix(p)) for p in net.parameters()],
            "activation": "relu" if smooth else getattr(net, "activation", "linear"),
            "eps": _eps(net, flows),
            "bias": bool(net.bias),
        },
        "times": times.texts,
        "z": [None, *(round(float(z), 7) for z in times.z[1:])],
        "ticks": times.ticks,
        "angles": ANGLES,
        "maps": [
            _map_data(text, name, flow, times, len(x))
            for (text, flow), name in zip(flows.items(), _names(list(flows)), strict=True)
        ],
    }


def _checked(flows: Any, net: Any) -> dict[str, Trajectory]:
    if not isinstance(net, MLP | Linear):
        raise TypeError(
            f"net = {shown(net)} is a {type(net).__name__}; the explorer draws nets of "
            "mirrorflow.nets that are linear or fully connected (Linear, MLP, TwoLayer)"
        )
    if not isinstance(flows, Mapping) or not flows:
        raise TypeError(f"flows = {shown(flows)}; pass at least one trajectory by its map's text")
    size = sum(p.numel() for p in net.parameters())
    for text, flow in flows.items():
        if not isinstance(text, str) or not isinstance(flow, Trajectory):
            raise TypeError(f"flows[{shown(text)}] = {shown(flow)} is not a Trajectory")
        as_map(text)
        if flow.direction.shape[1] != size:
            raise ValueError(
                f"flows[{text!r}] has {flow.direction.shape[1]} weights and the net {size}; pass "
                "the net that was followed"
            )
    return dict(flows)


def _names(texts: list[str]) -> list[str]:
    """As a legend says them, or the texts themselves where two would sound alike."""
    short = [map_label(text) if "=" in text else text for text in texts]
    return short if len(set(short)) == len(short) else texts


def _outputs(net: MLP | Linear) -> int:
    return int(list(net.parameters())[-1].shape[0])


def _matrix(p: Tensor) -> tuple[int, int]:
    return (1, p.numel()) if p.ndim == 1 else (p.shape[0], p.shape[1])


def _eps(net: MLP | Linear, flows: Mapping[str, Trajectory]) -> float:
    """The smoothing that the flow followed: a "relu" net is followed as a smooth one."""
    if isinstance(net, MLP) and net.activation == "smooth_relu":
        return net.eps
    problem = next(iter(flows.values())).problem
    followed = getattr(getattr(problem, "settings", None), "relu", None)
    return float(getattr(followed, "eps", 0.0))


def _map_data(text: str, name: str, flow: Trajectory, times: Frames, n: int) -> dict[str, Any]:
    chosen = as_map(text)
    points = [times.at(flow, frame) for frame in range(len(times.z))]
    levels = _levels(chosen, points)
    balls = [levels[-1]] if chosen.homogeneous else levels
    return {
        "map": text,
        "name": name,
        "outcome": flow.outcome,
        "last": int(np.searchsorted(times.z, _end(flow))),
        "weights": _packed([point.direction for point in points]),
        # with several classes a point has a constraint for each wrong one
        "margins": _packed([point.margins.reshape(n, -1).min(1) for point in points]),
        "multipliers": _packed([point.multipliers.reshape(n, -1).sum(1) for point in points]),
        "margin": _packed([np.array([point.margin]) for point in points]),
        "levels": [f"{level:.3g}" if level < _LEVEL else "∞" for level in levels],
        "balls": _packed(list(ball_radii(chosen, balls))),
        "horizon": _packed([horizon_radii(chosen)]),
        "order": chosen.index if chosen.index < math.inf else "∞",
    }


def _levels(chosen: MirrorMap, points: list[FlowPoint]) -> list[float]:
    """`c = R(θ)` at each point; a start at 0 takes that of the next."""
    levels = []
    for point in points:
        size = math.exp(min(point.log_gauge, 700.0))
        value = float(chosen.potential(torch.from_numpy(point.direction * size)))
        levels.append(min(value, _LEVEL) if value == value else _LEVEL)
    least = min((level for level in levels if level > 1e-300), default=1.0)
    return [max(level, least) for level in levels]


def _packed(rows: list[Array]) -> str:
    return base64.b64encode(np.stack(rows).astype("<f4").tobytes()).decode()

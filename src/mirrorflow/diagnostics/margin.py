"""Margins measured by the horizon function, in the log domain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_integer
from mirrorflow.diagnostics.geometry import check_finite, check_tensors, geometry
from mirrorflow.labels import as_labels
from mirrorflow.losses import check_labels, output_classes, pairwise_margins
from mirrorflow.maps import HorizonLike, MapLike
from mirrorflow.nets.evaluate import copied, evaluate, fixed_names, trained_parameters, undisturbed

__all__ = ["Margin", "batched_margins", "margin"]


@dataclass(frozen=True)
class Margin:
    """The margin of a network at one point θ; nothing overflows at `q = 1e300` and beyond.

    Attributes:
        degree: `L`, in the trained parameters.
        margin: the Q-margin `γ_Q = min_i q_i/Q(θ)^L`, or `min q/Π_g Q_g^{k_g}` where maps differ.
        smoothed: `log(1/ℓ)/Q^L` with the exponential loss `ℓ = Σ exp(−q)`; at most `margin`.
        q_min: `min_i q_i` (±inf if it leaves the float range: see `log_q_min`).
        log_q_min: its logarithm, NaN if `q_min <= 0`.
        log_gauge: `log Q(θ)`; where maps differ `Σ_g (k_g/L) log Q_g`.
        log_scale: `L log Q`, so that `q = γ_Q exp(log_scale)`.
        log_loss: `log Σ exp(−q)` over points (and wrong classes), −inf beyond the float range.
        log_gauges: `log Q_g` of the parameters of each map, by the first of them.
        joint: True if one horizon function measures all parameters.
        misclassified: number of points with `q_i <= 0`.
        fixed: the frozen parameters (`requires_grad=False`): constants of the net, not part of Q.
    """

    degree: float
    margin: float
    smoothed: float
    q_min: float
    log_q_min: float
    log_gauge: float
    log_scale: float
    log_loss: float
    log_gauges: dict[str, float]
    joint: bool
    misclassified: int
    fixed: tuple[str, ...] = ()

    @property
    def separated(self) -> bool:
        """True if every point has a positive margin."""
        return self.misclassified == 0


@torch.no_grad()
def batched_margins(
    net: nn.Module, parameters: dict[str, Tensor], x: Tensor, y: Tensor, batch_size: int
) -> Tensor:
    """`q_{ik}` of every point at other parameters, (n, 1) or (n, C−1), in float64.

    An output of shape (n, 1) counts as binary.

    Raises:
        ValueError: labels or outputs of a wrong kind, or outputs that are not finite.
    """
    parts: list[Tensor] = []
    dtype = next(iter(parameters.values())).dtype
    for start in range(0, len(x), batch_size):
        points = x[start : start + batch_size]
        points = points.to(dtype) if points.is_floating_point() else points
        outputs = evaluate(net, parameters, points)
        if outputs.ndim == 2 and outputs.shape[1] == 1:
            outputs = outputs[:, 0]
        if not parts:
            y = as_labels(y, output_classes(outputs), points=len(x))
        labels = check_labels(outputs, y[start : start + batch_size])
        parts.append(pairwise_margins(outputs.to(torch.float64), labels))
    if not parts:
        raise ValueError(f"x has shape {tuple(x.shape)}: there are no points to measure on")
    q = torch.cat(parts)
    if not bool(torch.isfinite(q).all()):
        raise ValueError("the net returns NaN or infinity on x; check x and the parameters")
    return q


@undisturbed
def margin(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    mirror_map: MapLike | HorizonLike,
    *,
    batch_size: int = 4096,
) -> Margin:
    """The Q-margin `γ_Q(θ) = min_i q_i(θ)/Q(θ)^L` and its smoothed form.

    The net is evaluated at `θ/Q(θ)`, where nothing overflows; homogeneity gives the rest. With
    one map for all parameters Q is its horizon function of all of θ; where maps differ the
    margin is `min q/Π_g Q_g^{k_g}`, g over the maps. For the quadratic map it is the normalised
    margin `min q/‖θ‖₂^L`.

    Args:
        net: a homogeneous net, of which a copy is evaluated in float64. Parameters with
            `requires_grad=False` are held fixed: L and Q are those of the others. A net that
            declares its degrees, or a Sequential, is not checked for homogeneity here.
        x: (n, …) points.
        y: (n,) labels, ±1 or class indices.
        mirror_map: one map, or a mapping from parameter names to maps; or a horizon itself, where
            no map is meant: `LpHorizon(p)` of all entries, `SchattenHorizon(p)` of all tensors,
            `MaxOverTensors(horizon)`.
        batch_size: points at a time.

    Raises:
        ValueError: bad labels, NaN parameters, zero parameters, dropout or BatchNorm in train mode,
            all parameters frozen, weights that are computed (pruning masks, weight norm), or a
            horizon that does not fit the tensors.
        NotHomogeneousError: a bias after the first layer, or the degree cannot be measured.
        TypeError: no net, no points, no map, or a net that returns something else than a tensor.
        NoHorizonError: a map without a horizon function.

    Source: arXiv 2605.19458; smoothed margin: Lyu & Li, ICLR 2020.
    """
    batch_size = as_integer(batch_size, "batch_size", least=1)
    check_finite(net)
    net = copied(net, torch.float64)
    x, y = check_tensors(net, x, y)
    shape = geometry(net, mirror_map, x[:8])
    parameters = trained_parameters(net)
    logs = shape.log_gauges(parameters)
    scaled, log_gauge = shape.normalise(parameters)
    q = batched_margins(net, scaled, x, y, batch_size)
    least = float(q.min())
    log_scale = shape.degree * log_gauge
    scale = math.exp(min(log_scale, 709.0)) if log_scale < 709.0 else math.inf
    excess = float(torch.logsumexp(_times(-(q - least), scale).reshape(-1), 0))
    return Margin(
        degree=shape.degree,
        margin=least,
        smoothed=least - excess / scale if scale > 0 else -math.inf,
        q_min=least * scale if least != 0 else 0.0,
        log_q_min=math.log(least) + log_scale if least > 0 else math.nan,
        log_gauge=log_gauge,
        log_scale=log_scale,
        log_loss=(-least * scale if least != 0 else 0.0) + excess,
        log_gauges={g.names[0]: v for g, v in zip(shape.groups, logs, strict=True)},
        joint=shape.joint,
        misclassified=int((q.amin(1) <= 0).sum()),
        fixed=fixed_names(net),
    )


def _times(values: Tensor, scale: float) -> Tensor:
    """`values·scale` with `0·inf = 0`."""
    return torch.where(values == 0, values, values * scale)

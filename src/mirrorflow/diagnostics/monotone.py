"""The smoothed margin along a run, and the check that it never decreases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_number, shown
from mirrorflow.diagnostics.geometry import check_parameters
from mirrorflow.diagnostics.structure import structure
from mirrorflow.maps import MirrorMap, as_map
from mirrorflow.nets.evaluate import trained_parameters, undisturbed

__all__ = ["Energy", "Monotone", "check_monotone", "energy"]


@dataclass(frozen=True)
class Energy:
    """`log E(θ)` and the local index `ᾱ(θ) = ⟨θ, ∇²R(θ) θ⟩/E(θ)`; `degree` is `L`."""

    log_energy: float
    local_index: float
    degree: float


@dataclass(frozen=True)
class Monotone:
    """The logarithm of the smoothed margin along a run.

    Attributes:
        log_margin: (T,) `log log(1/ℓ) − L ∫ d log E/ᾱ`, ᾱ the running maximum of the local index,
            up to a constant; NaN where ℓ >= 1. For a p-homogeneous map `log(log(1/ℓ)/E^{L/p})`.
        largest_drop: the largest fall below an earlier value (of a logarithm: relative).
        where: the index at which it was reached, −1 if there is no fall.
        holds: `largest_drop <= tolerance`.
        tolerance: what was allowed.
    """

    log_margin: Array
    largest_drop: float
    where: int
    holds: bool
    tolerance: float


@undisturbed
def energy(net: nn.Module, mirror_map: MirrorMap | str, *, x: Tensor | None = None) -> Energy:
    """Dual energy and local index of all trained parameters under one map, in float64.

    `ᾱ = p` exactly for a p-homogeneous map; it tends to the index of a map of regular variation.

    Args:
        net: a homogeneous net; parameters with `requires_grad=False` are held fixed and left out.
        mirror_map: one map for all parameters.
        x: points to measure the degree on, for a net that declares none.

    Raises:
        TypeError: a mapping of maps: the inequality is about one map; not a net.
        ValueError: NaN parameters, all of them frozen or (for a map that is not homogeneous) zero,
            computed weights, an energy beyond doubles, or a net that declares no degree, and no x.
        NotHomogeneousError: see `structure`.
    """
    check_parameters(net)
    if isinstance(mirror_map, str):
        mirror_map = as_map(mirror_map)
    if not isinstance(mirror_map, MirrorMap):
        raise TypeError(
            f"mirror_map is a {type(mirror_map).__name__}; the monotone quantity needs one "
            "MirrorMap for all parameters"
        )
    trained = trained_parameters(net)
    parameters = [p.to(torch.float64) for p in trained.values()]
    for name, p in zip(trained, parameters, strict=True):
        mirror_map.require_domain(p, name)
    total = math.fsum(float(mirror_map.dual_energy(p)) for p in parameters)
    degree = structure(net, x).degree
    if mirror_map.homogeneous:
        log_energy = (
            math.log(total) if 0 < total < math.inf else _log_homogeneous(mirror_map, parameters)
        )
        return Energy(log_energy, mirror_map.index, degree)
    if total == 0:
        raise ValueError("net: all parameters are zero, where the local index is 0/0")
    second = math.fsum(_curvature(mirror_map, p) for p in parameters)
    if not math.isfinite(total + second):
        raise ValueError(
            f"net: the dual energy of its parameters under {mirror_map!r} leaves the float range; "
            "measure it where the weights are smaller"
        )
    return Energy(math.log(total), second / total, degree)


def check_monotone(
    log_loss: ArrayLike,
    log_energy: ArrayLike,
    degree: float,
    local_index: float | ArrayLike,
    *,
    tolerance: float = 1e-6,
) -> Monotone:
    """Check that the smoothed margin never decreases along a run of mirror flow.

    For the exponential loss below 1, `d log log(1/ℓ) >= (L/ᾱ) d log E` along the flow. For
    a p-homogeneous map so `log(1/ℓ)/E^{L/p}` never decreases (p = 2: Lyu & Li 2020).

    Args:
        log_loss: (T,) logarithm of the summed exponential loss, in the order of time.
        log_energy: (T,) `log E`; of a trajectory under a p-homogeneous map `p·log_gauge` will do.
        degree: `L`.
        local_index: ᾱ, one number (p) or (T,) values, of which the running maximum is taken.
        tolerance: allowed fall; a discrete run is monotone only up to its step.

    Returns:
        A `Monotone`.

    Raises:
        ValueError: arrays of different lengths, or with NaN; a degree or index that is not
            positive; a negative tolerance.
        TypeError: not arrays of real numbers, or not numbers.
    """
    loss, log_e = _array(log_loss, "log_loss"), _array(log_energy, "log_energy")
    if as_number(degree, "degree") <= 0:
        raise ValueError(f"degree = {shown(degree)} must be positive; pass the L of the net")
    degree = float(degree)
    tolerance = as_number(tolerance, "tolerance", least=0)
    if loss.ndim != 1 or loss.shape != log_e.shape or len(loss) == 0:
        raise ValueError(
            f"log_loss has shape {loss.shape} and log_energy {log_e.shape}; pass two (T,) arrays"
        )
    if not bool(np.isfinite(log_e).all()):
        raise ValueError("log_energy holds infinity; leave out the rows where E is 0 or overflows")
    index = _array(local_index, "local_index")
    if index.shape not in ((), (1,), loss.shape) or not bool((index > 0).all()):
        raise ValueError(
            f"local_index = {shown(local_index)} is not positive, or neither a number nor an "
            f"array of shape {loss.shape}"
        )
    index = np.broadcast_to(index, loss.shape)
    running = np.maximum.accumulate(index)
    if len(running) and np.ptp(running) == 0:
        drag = log_e / running
    else:
        # The right-hand index is the larger: for a growing energy this is the weaker claim.
        drag = np.concatenate([[0.0], np.cumsum(np.diff(log_e) / running[1:])])
    with np.errstate(all="ignore"):
        value = np.where(loss < 0, np.log(np.maximum(-loss, 1e-300)) - degree * drag, np.nan)
    value = np.where(np.isfinite(value), value, np.nan)
    best = np.fmax.accumulate(value) if len(value) else value
    drop = np.nan_to_num(best - value, nan=0.0)
    where = int(drop.argmax()) if len(drop) else -1
    largest = float(drop[where]) if len(drop) else 0.0
    return Monotone(value, largest, where if largest > 0 else -1, largest <= tolerance, tolerance)


def _array(value: ArrayLike, name: str) -> Array:
    """Real numbers without NaN, in float64; infinities are values."""
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass numbers")
    try:
        array = np.asarray(value)
        array = array if array.dtype.kind in "fiu" else np.asarray(value, dtype=object)
        out: Array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(
            f"{name} = {shown(value)} is not an array of real numbers; pass (T,) floats"
        ) from error
    if bool(np.isnan(out).any()):
        raise ValueError(f"{name} holds NaN; leave out the rows that were not measured")
    return out


def _curvature(mirror_map: MirrorMap, p: Tensor) -> float:
    if mirror_map.separable:
        return float((p.square() * mirror_map.hessian(p)).sum())
    with torch.enable_grad():
        c = torch.ones((), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad((p * mirror_map.to_dual(c * p)).sum(), c)
    return float(slope)


def _log_homogeneous(mirror_map: MirrorMap, parameters: list[Tensor]) -> float:
    """`E(cθ) = c^p E(θ)` where E itself leaves the float range."""
    peak = max(float(p.abs().max()) for p in parameters)
    if peak == 0:
        return -math.inf
    scaled = math.fsum(float(mirror_map.dual_energy(p / peak)) for p in parameters)
    return mirror_map.index * math.log(peak) + math.log(scaled)

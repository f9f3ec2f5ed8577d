"""The record of a flow, and its values at any time."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mirrorflow.errors import RunError
from mirrorflow.flow.interpolate import (
    hermite,
    loglog,
    loglog_slope,
    pace_of,
    pace_slope,
    plausible,
)

__all__ = ["FlowPoint", "Outcome", "Trajectory"]

Array = NDArray[np.float64]
Outcome = Literal["reached", "converged", "plateau", "not_separable", "stalled"]


@dataclass(frozen=True)
class FlowPoint:
    """The flow at one time; the fields are those of `Trajectory`, one row of each."""

    log_t: float
    log_log_t: float
    log_loss: float
    log_gauge: float
    margin: float
    gap: float
    epsilon: float
    delta: float
    slack: float
    balance_drift: float
    direction: Array
    multipliers: Array
    margins: Array


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Mirror flow at the times that the integrator chose, `T` of them.

    Args:
        log_t: (T,) natural logarithm of time; the first is −inf, infinite beyond `exp(1e308)`.
        log_log_t: (T,) `log log t`, finite where `log_t` no longer is; NaN before t = 1.
        log_loss: (T,) logarithm of the summed loss.
        log_gauge: (T,) `log Q(θ)`.
        margin: (T,) `min_i q_i / Q^L`.
        gap: (T,) Hölder gap `1 − ⟨g, θ⟩/(Q°(g) Q(θ))`, `g = Σ p_i ∇q_i`.
        epsilon: (T,) relative stationarity residual with the flow's multipliers.
        delta: (T,) `Σ p_i (q_i/min q − 1)`, complementarity.
        slack: (T,) `1 − ⟨s, θ⟩/Q`, how far the subgradient s of epsilon is from θ's own (0 unless
            Q has kinks); ε, δ and slack are small together at a KKT point, as in `certify`.
        balance_drift: (T,) largest change of a conserved difference of dual energies, relative to
            the energy; NaN where the net has no hidden units.
        direction: (T, d) `θ/Q(θ)`, flattened in the order of `net.parameters()`.
        multipliers: (T, n) normalised weights of the constraints, each row summing to 1.
        margins: (T, n) `q_i / Q^L`, constraint by constraint.
        rate: (T, d + n + 2) derivatives of direction, margins, log gauge and `log_loss/log t`
            against `log t` times `log t`, for the interpolation.
        outcome: see `mirror_flow`.
        stats: counts, reasons and settings.
    """

    log_t: Array
    log_log_t: Array
    log_loss: Array
    log_gauge: Array
    margin: Array
    gap: Array
    epsilon: Array
    delta: Array
    slack: Array
    balance_drift: Array
    direction: Array
    multipliers: Array
    margins: Array
    rate: Array
    degree: float
    outcome: Outcome
    stats: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.log_t)

    def __repr__(self) -> str:
        end = f"log_t={self.log_t[-1]:.6g}, margin={self.margin[-1]:.7g}, gap={self.gap[-1]:.2g}"
        return f"Trajectory({self.outcome!r}, {end}, {len(self)} times)"

    def __getitem__(self, k: int) -> FlowPoint:
        """The record at step k."""
        row = {f.name: getattr(self, f.name)[k] for f in fields(FlowPoint)}
        return FlowPoint(**row)

    def at(self, log_t: float) -> FlowPoint:
        """The flow at time `exp(log_t)`: cubic Hermite interpolation in log log t.

        Args:
            log_t: natural logarithm of time, within the trajectory.

        Raises:
            ValueError: outside what was integrated.
        """
        last = float(self.log_t[-1])
        if not log_t <= last * (1 + 1e-15) or np.isnan(log_t):
            raise ValueError(
                f"log_t = {log_t} is outside the trajectory, which ends at {last}; "
                "integrate with a later log_t_end"
            )
        k = int(np.searchsorted(self.log_t, log_t, side="right")) - 1
        k = min(max(k, 0), len(self) - 2) if len(self) > 1 else 0
        if len(self) == 1 or log_t == self.log_t[k]:
            return self[k]
        if log_t == self.log_t[k + 1]:
            return self[k + 1]
        return self._between(k, log_t)

    def _between(self, k: int, log_t: float) -> FlowPoint:
        return self._row(k, log_t)[0]

    def _row(self, k: int, log_t: float) -> tuple[FlowPoint, Array]:
        """Interpolated record in step k, and its `rate`."""
        ends = self.log_t[k : k + 2]
        d, n = self.direction.shape[1], self.margins.shape[1]
        # rows on either side, to judge the slopes by
        low = max(k - 2, 0)
        rows = np.arange(low, min(k + 4, len(self)))
        rows = rows[np.isfinite(self.log_t[rows]) | (rows == k)]
        at = int(np.searchsorted(rows, k))
        pace = pace_of(self.log_t[rows])
        values = np.concatenate(
            [
                self.direction[rows],
                self.margins[rows],
                self.log_gauge[rows, None],
                (self.log_loss[rows] / pace)[:, None],
            ],
            1,
        )
        pair = values[at : at + 2]
        # slopes against log t; a cubic follows the ratio of log loss to log t better than the loss
        slopes = self.rate[k : k + 2] / np.maximum(ends, 1.0)[:, None]
        slopes[:, -1] = slopes[:, -1] / pace[at : at + 2] - pair[:, -1] * pace_slope(ends)
        if np.isneginf(ends[0]):
            # the first step starts at t = 0: a parabola in t, with the slope of its end
            s = float(np.exp(log_t - ends[1]))
            if np.isneginf(pair[0, d + n]):  # from the origin Q grows in proportion to t
                pair[0] = pair[1]
                pair[0, d + n] = pair[1, d + n] - 1.0
            slopes[0] = 2.0 * (pair[1] - pair[0]) - slopes[1]
            per_log_t = s
        else:
            z = loglog(self.log_t[rows])
            width = float(z[at + 1] - z[at])
            s = float(loglog(np.array(log_t)) - z[at]) / width
            slopes = width * plausible(slopes / loglog_slope(ends)[:, None], z, values, at)
            per_log_t = float(loglog_slope(log_t)) / width
        v, dv = hermite(pair, slopes, s)
        dv = dv * per_log_t
        here = pace_of(log_t)
        dv[-1] = (dv[-1] + v[-1] * pace_slope(log_t)) * here
        mix = {
            name: float((1 - s) * getattr(self, name)[k] + s * getattr(self, name)[k + 1])
            for name in _MIXED
            if np.isfinite(getattr(self, name)[k])
        }
        mix |= {name: float(getattr(self, name)[k + 1]) for name in _MIXED if name not in mix}
        point = FlowPoint(
            log_t=float(log_t),
            log_log_t=float(np.log(log_t)) if log_t > 0 else -np.inf,
            log_loss=float(v[-1] * here),
            log_gauge=float(v[-2]),
            margin=float(v[d : d + n].min()),
            direction=v[:d],
            multipliers=(1 - s) * self.multipliers[k] + s * self.multipliers[k + 1],
            margins=v[d : d + n],
            **mix,
        )
        return point, dv * max(log_t, 1.0)

    def judged(self, outcome: Outcome) -> Trajectory:
        """The same record with this outcome."""
        return replace(self, outcome=outcome)

    def ending_at(self, log_t: float) -> Trajectory:
        """The part up to `log_t`, its last row interpolated."""
        if not log_t < self.log_t[-1]:
            return self
        k = int(np.searchsorted(self.log_t, log_t, side="left")) - 1
        point, rate = self._row(k, log_t)
        columns: dict[str, Any] = {}
        for f in fields(self):
            if f.name in _SCALARS:
                continue
            last = rate if f.name == "rate" else getattr(point, f.name)
            columns[f.name] = np.concatenate(
                [getattr(self, f.name)[: k + 1], np.asarray(last, dtype=np.float64)[None]]
            )
        return replace(self, **columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one compressed `.npz` file, atomically: readers see the old one or the new one."""
        target = Path(path)
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _SCALARS}
        head = {"outcome": self.outcome, "degree": self.degree, "stats": dict(self.stats)}
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, corrupt or something else.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                arrays = {f.name: file[f.name] for f in fields(cls) if f.name not in _SCALARS}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as cause:
            raise RunError(f"{path} does not hold a trajectory: {cause}") from cause
        return cls(**arrays, **head)


_MIXED = ("gap", "epsilon", "delta", "slack", "balance_drift")  # linear between steps
_SCALARS = ("outcome", "degree", "stats")

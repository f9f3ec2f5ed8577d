"""The record of a flow, and its values at any time."""

from __future__ import annotations

import math
import os
from dataclasses import Field, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_integer, as_number, as_path
from mirrorflow.errors import RunError
from mirrorflow.flow.record.arrays_file import read_arrays, write_arrays
from mirrorflow.flow.record.interpolate import (
    hermite,
    loglog,
    loglog_slope,
    pace_of,
    pace_slope,
    plausible,
)
from mirrorflow.flow.record.problem import FlowProblem
from mirrorflow.tabular import data_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FlowPoint", "FlowStats", "Outcome", "Trajectory"]

Outcome = Literal["reached", "converged", "plateau", "not_separable", "stalled", "interpolates"]


@dataclass(frozen=True)
class FlowStats:
    """How a flow went.

    Args:
        steps: accepted steps.
        rejected: steps whose error was too large.
        failed: steps that could not be solved.
        newton: Newton iterations.
        seconds: of wall time.
        reason: why it ended, in words.
        method: "implicit", "krylov" or "explicit".
        order: of the method.
        tol: local error per step.
        map: the mirror map as text.
        thinned: how often every second row was dropped, for the sake of memory.
    """

    steps: int
    rejected: int
    failed: int
    newton: int
    seconds: float
    reason: str
    method: str
    order: int
    tol: float
    map: str
    thinned: int


@dataclass(frozen=True, repr=False, eq=False)
class FlowPoint:
    """The flow at one time; the fields are those of `Trajectory`, one row of each."""

    log_t: float
    log_log_t: float
    log_loss: float
    log_gauge: float
    margin: float
    gap: float
    natural_epsilon: float
    mean_excess: float
    natural_slack: float
    balance_drift: float
    direction: Array
    multipliers: Array
    margins: Array

    @property
    def residual(self) -> float:
        """The largest of `natural_epsilon`, `mean_excess` and `natural_slack`."""
        return max(self.natural_epsilon, self.mean_excess, self.natural_slack)

    def __repr__(self) -> str:
        return (
            f"FlowPoint(log_t={self.log_t:.6g}, margin={self.margin:.7g}, gap={self.gap:.2g}, "
            f"residual={self.residual:.2g})"
        )

    def __eq__(self, other: object) -> bool:
        return _same(self, other) if isinstance(other, FlowPoint) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory:
    """Mirror flow at the times that the integrator chose, `T` of them.

    Args:
        log_t: (T,) natural logarithm of time; the first is −inf, infinite beyond `exp(1e308)`.
        log_log_t: (T,) `log log t`, finite where `log_t` no longer is; −inf up to t = 1.
        log_loss: (T,) logarithm of the summed loss.
        log_gauge: (T,) `log Q(θ)`.
        margin: (T,) `min_i q_i / Q^L`.
        gap: (T,) Hölder gap `1 − ⟨g, θ⟩/(Q°(g) Q(θ))`, `g = Σ p_i ∇q_i`.
        natural_epsilon: (T,) `‖s − λg‖/‖s‖`, stationarity with the flow's own multipliers p and
            the subgradient s nearest to them; `certify` fits both, and finds a smaller ε.
        mean_excess: (T,) `Σ p_i (q_i/min q − 1)`, complementarity on average; the δ of `certify`
            is a largest excess.
        natural_slack: (T,) `1 − ⟨s, θ⟩/Q`, how far that s is from θ's own subgradients (0 unless Q
            has kinks). The three are small together at a KKT point.
        balance_drift: (T,) largest change of a conserved difference of dual energies, relative to
            the energy; NaN where the net has no hidden units.
        direction: (T, d) `θ/Q(θ)`, flattened in the order of `net.parameters()`.
        multipliers: (T, n) normalised weights of the constraints, each row summing to 1.
        margins: (T, n) `q_i / Q^L`, constraint by constraint.
        rate: (T, d + n + 2) derivatives of direction, margins, log gauge and `log_loss/log t`
            against `log t` times `log t`, for the interpolation.
        outcome: see `mirror_flow`.
        stats: counts, reasons and settings.
        problem: what was followed, for `net` and `verify`; None after `load`.

    What the fields hold with `loss="square"`, where there are no margins, says `mirror_flow`.

    `flow[k]` is the record at step k, `flow[a:b]` the trajectory of those steps; two trajectories
    are equal if every entry is (NaN equals NaN).
    """

    log_t: Array
    log_log_t: Array
    log_loss: Array
    log_gauge: Array
    margin: Array
    gap: Array
    natural_epsilon: Array
    mean_excess: Array
    natural_slack: Array
    balance_drift: Array
    direction: Array
    multipliers: Array
    margins: Array
    rate: Array
    degree: float
    outcome: Outcome
    stats: FlowStats
    problem: FlowProblem[Any] | None = None

    def __len__(self) -> int:
        return len(self.log_t)

    def __repr__(self) -> str:
        end = f"log_t={self.log_t[-1]:.6g}, margin={self.margin[-1]:.7g}, gap={self.gap[-1]:.2g}"
        return f"Trajectory({self.outcome!r}, {end}, {len(self)} times)"

    def __eq__(self, other: object) -> bool:
        return _same(self, other) if isinstance(other, Trajectory) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    @overload
    def __getitem__(self, k: int) -> FlowPoint: ...
    @overload
    def __getitem__(self, k: slice) -> Trajectory: ...
    def __getitem__(self, k: int | slice) -> FlowPoint | Trajectory:
        """The record at step k, or the trajectory of several steps.

        Raises:
            TypeError: neither an int nor a slice.
            IndexError: no such step, or a slice without any.
        """
        if isinstance(k, slice):
            if not len(range(*k.indices(len(self)))):
                raise IndexError(f"[{k.start}:{k.stop}] holds no step; there are {len(self)}")
            columns = {f.name: getattr(self, f.name)[k] for f in fields(self) if _is_column(f)}
            return replace(self, **columns)
        k = as_integer(k, "k")
        if not -len(self) <= k < len(self):
            raise IndexError(f"k = {k} is not a step; there are {len(self)}")
        row = {f.name: getattr(self, f.name)[k] for f in fields(FlowPoint)}
        return FlowPoint(**row)

    def to_pandas(self) -> pd.DataFrame:
        """The columns of one number a time as a `pandas.DataFrame`, one row a time.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        names = [f.name for f in fields(self) if _is_column(f) and getattr(self, f.name).ndim == 1]
        return data_frame({name: getattr(self, name) for name in names})

    def plot(
        self, show: str = "margin", *, exact: float | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw one quantity against log log t; the same as `mirrorflow.plot.flow(trajectory)`.

        Args:
            show: "margin", "missing", "gap", "kkt", "log_gauge", "balance" or "loss".
            exact: the exact max margin, by which margins are divided; None takes the last one.
            ax: where to draw; None makes a figure.

        Returns:
            The matplotlib Axes.

        Raises:
            TypeError, ValueError: an unknown quantity, or a flow that ends before t = 1.
            MissingExtraError: matplotlib is not installed.
        """
        from mirrorflow.plot.trajectories import flow

        return flow(self, show, exact=exact, ax=ax)

    def at(self, log_t: float | None = None, *, log_log_t: float | None = None) -> FlowPoint:
        """The flow at time `exp(log_t)`: cubic Hermite interpolation in log log t.

        Args:
            log_t: natural logarithm of time, within the trajectory.
            log_log_t: instead, its logarithm, for times beyond `exp(1e308)`. There the slopes are
                those of parabolas through neighbouring rows.

        Raises:
            ValueError: outside what was integrated, or not one of the two.
        """
        if (log_t is None) == (log_log_t is None):
            raise ValueError("pass one of log_t and log_log_t, natural logarithms of the time")
        if log_log_t is not None:
            log_log_t = as_number(log_log_t, "log_log_t", infinite=True)
            if not log_log_t < _LOG_LAST:
                return self._at_log_log(log_log_t)
            return self.at(float(np.exp(log_log_t)))
        log_t = as_number(log_t, "log_t", infinite=True)
        last = float(self.log_t[-1])
        if not log_t <= last + _ROUNDING * abs(last):
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

    def _at_log_log(self, z: float) -> FlowPoint:
        last = float(self.log_log_t[-1])
        if not z <= last:
            raise ValueError(
                f"log_log_t = {z} is outside the trajectory, which ends at {last}; "
                "integrate with a later log_log_t_end"
            )
        k = int(np.searchsorted(self.log_log_t, z, side="left"))
        return self[k] if z == self.log_log_t[k] else self._beyond(k - 1, z)[0]

    def _between(self, k: int, log_t: float) -> FlowPoint:
        return self._row(k, log_t)[0]

    def _row(self, k: int, log_t: float) -> tuple[FlowPoint, Array]:
        """Interpolated record in step k, and its `rate`."""
        ends = self.log_t[k : k + 2]
        if np.isposinf(ends[1]):
            return self._beyond(k, float(np.log(log_t)))
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
        point = FlowPoint(
            log_t=float(log_t),
            log_log_t=float(np.log(log_t)) if log_t > 0 else -np.inf,
            log_loss=float(v[-1] * here),
            log_gauge=float(v[-2]),
            margin=float(v[d : d + n].min()),
            direction=v[:d],
            margins=v[d : d + n],
            **self._mixed(k, s),
        )
        return point, dv * max(log_t, 1.0)

    def _beyond(self, k: int, z: float) -> tuple[FlowPoint, Array]:
        """The same at `log log t = z`, where the logarithm of t is no double any more."""
        rows = np.arange(max(k - 1, 0), min(k + 3, len(self)))
        values = np.concatenate(
            [self.direction[rows], self.margins[rows], self.log_gauge[rows, None]], 1
        )
        times, at = self.log_log_t[rows], int(np.searchsorted(rows, k))
        width = float(times[at + 1] - times[at])
        order: Literal[1, 2] = 2 if len(rows) > 2 else 1
        slopes = width * np.gradient(values, times, axis=0, edge_order=order)[at : at + 2]
        s = (z - float(times[at])) / width
        v = hermite(values[at : at + 2], slopes, s)[0]
        d = self.direction.shape[1]
        with np.errstate(over="ignore"):
            log_t = float(np.exp(z))
        point = FlowPoint(
            log_t=log_t,
            log_log_t=z,
            log_loss=-log_t,  # maps whose loss falls in another way end before
            log_gauge=float(v[-1]),
            margin=float(v[d:-1].min()),
            direction=v[:d],
            margins=v[d:-1],
            **self._mixed(k, s),
        )
        return point, np.full_like(self.rate[k], np.nan)

    def _mixed(self, k: int, s: float) -> dict[str, Any]:
        """What is linear between rows k and k + 1."""
        mix: dict[str, Any] = {
            name: float((1 - s) * getattr(self, name)[k] + s * getattr(self, name)[k + 1])
            for name in _MIXED
            if np.isfinite(getattr(self, name)[k])
        }
        mix |= {name: float(getattr(self, name)[k + 1]) for name in _MIXED if name not in mix}
        mix["multipliers"] = (1 - s) * self.multipliers[k] + s * self.multipliers[k + 1]
        return mix

    def net(self, log_t: float | None = None, *, log_log_t: float | None = None) -> nn.Module:
        """The network at a time, ready for `certify`; the last one by default.

        A new net of the kind and dtype that were passed; a "relu" net that was followed smoothly is
        the smooth one. The weights have their true size where `Q^L < e^80`, else `Q = 1`, which is
        the same classifier.

        Args:
            log_t: natural logarithm of time, as in `at`.
            log_log_t: instead, its logarithm.

        Raises:
            ValueError: outside what was integrated; a trajectory from a file, which keeps no net.
        """
        if self.problem is None:
            raise ValueError(
                "this trajectory was loaded from a file, which keeps no network; put direction[-1] "
                "(in the order of net.parameters()) into a net of your own"
            )
        late = log_t is None and log_log_t is None
        point = self[-1] if late else self.at(log_t, log_log_t=log_log_t)
        size = point.log_gauge if point.log_gauge * max(self.degree, 1.0) < _LOG_SIZE else 0.0
        return self.problem.followed(torch.from_numpy(point.direction * math.exp(size)))

    def ending_at(self, log_t: float | None = None, *, log_log_t: float = np.inf) -> Trajectory:
        """The part up to `log_t`, or to `log_log_t`, its last row interpolated."""
        if log_t is None and log_log_t < _LOG_LAST:
            log_t = float(np.exp(log_log_t))
        if log_t is not None:
            if not log_t < self.log_t[-1]:
                return self
            k = int(np.searchsorted(self.log_t, log_t, side="left")) - 1
            point, rate = self._row(k, log_t)
        else:
            if not log_log_t < self.log_log_t[-1]:
                return self
            k = int(np.searchsorted(self.log_log_t, log_log_t, side="left")) - 1
            point, rate = self._beyond(k, log_log_t)
        columns: dict[str, Any] = {}
        for f in fields(self):
            if not _is_column(f):
                continue
            last = rate if f.name == "rate" else getattr(point, f.name)
            columns[f.name] = np.concatenate(
                [getattr(self, f.name)[: k + 1], np.asarray(last, dtype=np.float64)[None]]
            )
        return replace(self, **columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one compressed `.npz` file, atomically: readers see the old one or the new one.

        Raises:
            RunError: it cannot be written, or the disk is full; an old file stays.
        """
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if _is_column(f)}
        head = {"outcome": self.outcome, "degree": self.degree, "stats": asdict(self.stats)}
        write_arrays(as_path(path), arrays, head)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing, damaged in any bit, or something else.
        """
        names = [f.name for f in fields(cls) if _is_column(f)]
        arrays, head = read_arrays(as_path(path), "does not hold a trajectory")
        missing = sorted((set(names) - set(arrays)) | (set(_SCALARS) - set(head)))
        if missing:
            raise RunError(f"{path} does not hold a trajectory: it has no {missing}")
        columns: dict[str, Any] = {name: arrays[name] for name in names}
        count = len(columns["log_t"]) if columns["log_t"].ndim == 1 else -1
        for name, column in columns.items():
            wide = name in ("direction", "multipliers", "margins", "rate")
            if column.ndim != 1 + wide or len(column) != count or count == 0:
                raise RunError(
                    f"{path} does not hold a trajectory: {name} has shape {column.shape}, beside "
                    f"log_t of shape {columns['log_t'].shape}"
                )
        try:
            stats = FlowStats(**head["stats"])
        except TypeError as error:
            raise RunError(f"{path} does not hold a trajectory: stats: {error}") from None
        return cls(**columns, outcome=head["outcome"], degree=head["degree"], stats=stats)


def _is_column(f: Field[Any]) -> bool:
    return f.name not in _SCALARS and f.name != "problem"


def _same(one: Any, other: Any) -> bool:
    """Every field equal, entry by entry, NaN to NaN."""
    for f in fields(one):
        if f.name == "problem":  # what was asked, not what came out
            continue
        a, b = getattr(one, f.name), getattr(other, f.name)
        if f.name == "stats":  # the clock on the wall is no part of a flow
            a, b = replace(a, seconds=0.0), replace(b, seconds=0.0)
        numbers = isinstance(a, (np.ndarray, float))
        if not (np.array_equal(a, b, equal_nan=True) if numbers else a == b):
            return False
    return True


_MIXED = (
    "gap",
    "natural_epsilon",
    "mean_excess",
    "natural_slack",
    "balance_drift",
)  # linear between steps
_SCALARS = ("outcome", "degree", "stats")  # which are saved beside the columns
_LOG_SIZE = 80.0  # log Q^L up to which float32 holds weights and outputs
_LOG_LAST = 709.7  # log log t up to which log t is a double
_ROUNDING = 1e-12  # of log t, as exp(log log t) makes: its exponent may be 700

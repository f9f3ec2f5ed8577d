"""A flow repeated at a tenth of the tolerance: does it end at the same point?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mirrorflow.checks import as_flag, shown
from mirrorflow.flow.api import follow_problem
from mirrorflow.flow.record.trajectory import Trajectory

__all__ = ["Verification", "verify"]

_SAME = 1e-2


@dataclass(frozen=True)
class Verification:
    """How far two flows of one problem end from each other.

    The comparison is in the margins, since weights may trade places; with the square loss, whose
    residuals all vanish, it is in the weights.

    Args:
        same: both reach the one time, with margins that differ by less than 1 %.
        margin: relative difference of the smallest margin (of any weight, with the square loss).
        margins: largest difference of any margin (weight), relative to the largest of the finer
            flow.
        finer: the flow at `tol/10`.
    """

    same: bool
    margin: float
    margins: float
    finer: Trajectory


def verify(trajectory: Trajectory, *, progress: bool = False) -> Verification:
    """Follow the flow of `trajectory` once more at `tol/10`, and compare the ends.

    To the same time, also where a `stop` or a slice has ended it. Needed for p > 2, where a loose
    tolerance can end on another KKT point with a residual of zero. The second flow may take four
    times as many steps.

    Args:
        trajectory: what `mirror_flow` returned.
        progress: show a bar.

    Raises:
        TypeError: not a trajectory.
        ValueError: it stalled, or was loaded from a file, which keeps no network.
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(f"trajectory = {shown(trajectory)}; pass what mirror_flow returned")
    if trajectory.problem is None:
        raise ValueError(
            "trajectory was loaded from a file, which keeps no network; verify the one that "
            "mirror_flow returned"
        )
    if trajectory.outcome == "stalled":
        raise ValueError(f"trajectory stalled ({trajectory.stats.reason}); it has no end to verify")
    if not trajectory.log_log_t[-1] > -np.inf and not np.isfinite(trajectory.log_t[-1]):
        raise ValueError(
            "trajectory ends at t = 0, where every flow of it begins; pass a later end"
        )
    settings = trajectory.problem.settings
    late = bool(np.isposinf(trajectory.log_t[-1]))
    finer = replace(
        settings,
        # to the same time, also where a rule or a slice has ended it
        log_t_end=None if late else float(trajectory.log_t[-1]),
        log_log_t_end=float(trajectory.log_log_t[-1]),
        stop_at=None,
        tol=settings.tol / 10,
        max_step=settings.max_step / 10**0.25,
        max_steps=4 * settings.max_steps,
    )
    second = follow_problem(
        replace(trajectory.problem, settings=finer), as_flag(progress, "progress")
    )
    if settings.loss == "square":
        ends = [flow.direction[-1] * np.exp(flow.log_gauge[-1]) for flow in (trajectory, second)]
        size = float(np.abs(ends[1]).max())  # 0 where zero weights fit
        apart = float(np.abs(ends[0] - ends[1]).max()) / (size if size > 0 else 1.0)
        return Verification(apart < _SAME, apart, apart, second)
    reference = float(np.abs(second.margins[-1]).max())
    margins = float(np.abs(trajectory.margins[-1] - second.margins[-1]).max()) / reference
    margin = abs(float(trajectory.margin[-1] / second.margin[-1]) - 1.0)
    both = bool(np.isclose(trajectory.log_log_t[-1], second.log_log_t[-1], rtol=1e-2))
    return Verification(both and max(margin, margins) < _SAME, margin, margins, second)

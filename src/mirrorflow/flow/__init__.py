"""Continuous mirror flow, from the first step to times beyond exp(1e100)."""

from mirrorflow.flow.api import mirror_flow
from mirrorflow.flow.compare import Comparison, FailedFlow, compare_maps
from mirrorflow.flow.options import KKT, Exact, Explicit, Implicit, Krylov, LogLog, Smooth
from mirrorflow.flow.record.trajectory import FlowPoint, FlowStats, Outcome, Trajectory
from mirrorflow.flow.verify import Verification, verify

__all__ = [
    "KKT",
    "Comparison",
    "Exact",
    "Explicit",
    "FailedFlow",
    "FlowPoint",
    "FlowStats",
    "Implicit",
    "Krylov",
    "LogLog",
    "Outcome",
    "Smooth",
    "Trajectory",
    "Verification",
    "compare_maps",
    "mirror_flow",
    "verify",
]

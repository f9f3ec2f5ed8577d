"""Continuous mirror flow, from the first step to times beyond exp(1e100)."""

from mirrorflow.flow.api import mirror_flow
from mirrorflow.flow.compare import compare_maps
from mirrorflow.flow.record.trajectory import FlowPoint, Outcome, Trajectory

__all__ = ["FlowPoint", "Outcome", "Trajectory", "compare_maps", "mirror_flow"]

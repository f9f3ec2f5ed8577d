"""Many runs from one file: planned, spread over processes, resumed, in one table."""

from mirrorflow.experiments.sweep.plan import Member, plan, read_plan
from mirrorflow.experiments.sweep.records import Record, read_table
from mirrorflow.experiments.sweep.run import Sweep, sweep

__all__ = ["Member", "Record", "Sweep", "plan", "read_plan", "read_table", "sweep"]

"""Many runs from one file: planned, spread over processes, resumed, in one table."""

from mirrorflow.sweeps.plan import Member, plan, read_plan
from mirrorflow.sweeps.records import MemberRecord, read_table
from mirrorflow.sweeps.run import Sweep, sweep

__all__ = ["Member", "MemberRecord", "Sweep", "plan", "read_plan", "read_table", "sweep"]

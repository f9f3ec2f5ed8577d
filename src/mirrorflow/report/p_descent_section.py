"""What the page says of p-descent: every margin in every norm, of flow and of descent."""

from __future__ import annotations

import math

from mirrorflow.claims import Record
from mirrorflow.claims.finding import plain
from mirrorflow.claims.p_descent import POWERS
from mirrorflow.report.parts import Section, Table

__all__ = ["of_powers"]


def of_powers(found: list[Record]) -> Section:
    """The section, from the records of `claims.p_descent`."""
    return Section(
        "Claim 1. Each potential in its own norm",
        (1,),
        [
            "Linear nets from one random start. A row is the potential |x|^p/p that trained, a "
            "column the norm in which its margin is measured.",
            "The theory says that each column is largest in the row of its own power. A conic "
            "solver gives the exact maximum.",
        ],
        tables=[_table(found, data, how) for data in _sets(found) for how in ("flow", "descent")],
    )


def _sets(found: list[Record]) -> list[str]:
    return list(dict.fromkeys(record.summary["data"] for record in found))


def _table(found: list[Record], data: str, how: str) -> Table:
    rows = []
    for record in (r for r in found if r.summary["data"] == data):
        s = record.summary
        values = s[how] or [math.nan] * len(POWERS)
        exact = math.nan if s["exact"] is None else s["exact"]
        end = f"1e{s['log10_loss']:.0f} in {s['steps']}"
        if how == "flow":
            end = "–" if s["flow_log_t"] is None else f"log t = {plain(s['flow_log_t'])}"
        numbers = [plain(value, 4) for value in values]
        rows.append([f"power {s['p']:g}, seed {s['seed']}", *numbers, plain(exact, 4), end])
    header = ["trained", *(f"ℓ{p:g} margin" for p in POWERS), "exact in its own", "where it ends"]
    return Table(f"Margins of {how} ({data}).", header, rows)

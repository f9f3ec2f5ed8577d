"""What the page says of whose margin: optimizers in rows, norms in columns."""

from __future__ import annotations

import math
from typing import Any

from mirrorflow.claims import Record
from mirrorflow.claims.finding import plain
from mirrorflow.claims.whose_margin import METHODS, NORMS
from mirrorflow.report.parts import Section, Table

__all__ = ["largest", "of_margins"]


def of_margins(found: list[Record]) -> Section:
    """The section, from the records of `claims.whose_margin`."""
    sets = list(dict.fromkeys(record.summary["data"] for record in found))
    return Section(
        "Whose margin? Each optimizer in its own norm",
        (),
        [
            "One net from one start, trained by ten optimizers. A row is the optimizer with the "
            "norm that the theory gives it, a column the norm in which its margin is measured. "
            "Entries are relative to the exact margin where the net is linear, else to the largest "
            "of the column, as means over the seeds. Each column should be largest in a row of its "
            "own norm."
        ],
        tables=[_table(found, data) for data in sets],
    )


def _table(found: list[Record], data: str) -> Table:
    mine = [record.summary for record in found if record.summary["data"] == data]
    tops = {seed: largest([s for s in mine if s["seed"] == seed]) for seed in _seeds(mine)}
    rows = []
    for method, about in METHODS.items():
        own = [s for s in mine if s["method"] == method]
        if not own:
            continue
        shares = [
            [margin / top for margin, top in zip(s["margins"], tops[s["seed"]], strict=True)]
            for s in own
        ]
        means = [math.fsum(column) / len(own) for column in zip(*shares, strict=True)]
        ends = sorted(s["log10_loss"] for s in own)
        gap = math.fsum(s["gap_last"] for s in own) / len(own)
        end = f"1e{ends[-1]:.0f}" if len(own) == 1 else f"1e{ends[0]:.0f} to 1e{ends[-1]:.0f}"
        cells = [f"{mean:.3f}" for mean in means]
        rows.append([f"{method} ({about.norm})", *cells, plain(gap, 2), end])
    header = ["trained by", *NORMS, "duality gap in its own", "loss at the end"]
    return Table(f"Margins by optimizer and norm ({data}).", header, rows)


def _seeds(mine: list[dict[str, Any]]) -> list[int]:
    return sorted({s["seed"] for s in mine})


def largest(mine: list[dict[str, Any]]) -> list[float]:
    """The largest known margin in each norm, of the summaries of one seed: exact ones first."""
    exact = {s["norm"]: s["exact"] for s in mine if s["exact"] is not None}
    return [exact.get(name, max(s["margins"][k] for s in mine)) for k, name in enumerate(NORMS)]

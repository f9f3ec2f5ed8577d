"""What the page says of linear nets on images: the flow, and descent beside it."""

from __future__ import annotations

from mirrorflow.claims import Record
from mirrorflow.claims.finding import map_label as label
from mirrorflow.claims.finding import plain
from mirrorflow.claims.images import told
from mirrorflow.plot import records as figures
from mirrorflow.plot.output import inline
from mirrorflow.report.parts import Picture, Section, Table

__all__ = ["on_images"]


def on_images(found: list[Record]) -> Section:
    """The section, from the records of `claims.images`."""
    return Section(
        "Claims 1 and 2 on images",
        [
            "A linear net on two classes of images that look alike, from one random start: the "
            "flow to t = exp(1e100), and mirror descent with the relative step 0.005/√(1 + t/500) "
            "as far as its steps lead. The exact max margin comes from a conic solver. All in "
            "float64; descent never forms the loss."
        ],
        [
            Picture(
                "images",
                inline(figures.images(found)),
                "What is missing to the exact max margin, of flow and descent, as the loss falls",
                "What the margin lacks of the exact one of its horizon, relatively, as the loss "
                "falls: lines are the flow, circles descent, from 1e-2 to where its steps end. "
                "Both axes are logarithmic, the horizontal one doubly: 3 is loss 1e-1000. "
                "The floor near 1e-7 is the relative temperature of the integrator.",
            )
        ],
        [_ends(found), _beside(found)],
    )


def _sets(found: list[Record]) -> dict[str, list[Record]]:
    names = dict.fromkeys(record.summary["data"] for record in found)
    return {name: [r for r in found if r.summary["data"] == name] for name in names}


def _ends(found: list[Record]) -> Table:
    rows = []
    for record in found:
        s = record.summary
        numbers = [plain(s[key], 2) for key in ("gap", "epsilon", "delta")]
        rows.append(
            [
                f"{s['data']}, {label(s['map'])}",
                s["outcome"],
                plain(s["margin"], 7),
                plain(s["exact_margin"], 7),
                *numbers,
                str(s["support"]),
                str(s["steps"]),
                plain(s["seconds"]),
            ]
        )
    firsts = [records[0].summary for records in _sets(found).values()]
    sets = "; ".join(told(s["data"], s["classes"], s["points"]) for s in firsts)
    header = ["set, map", "outcome", "Q-margin", "exact", "gap", "ε", "δ", "support", "steps"]
    return Table(f"The end of each flow ({sets}).", [*header, "seconds"], rows)


def _beside(found: list[Record]) -> Table:
    rows = []
    for record in found:
        s = record.summary
        for row in s["beside"]:
            rows.append(
                [
                    f"{s['data']}, {label(s['map'])}",
                    f"1e{row['log10_loss']:.1f}",
                    plain(row["descent"], 4),
                    plain(row["flow"], 4),
                    plain(row["degrees"], 2),
                    str(row["steps"]),
                    plain(row["flow_log10_t"], 4),
                ]
            )
    caption = (
        "Descent and the flow at equal loss: margin over the exact one, degrees between the "
        "directions, steps of descent, log₁₀ t of the flow."
    )
    header = ["set, map", "loss", "descent", "flow", "degrees", "steps", "log₁₀ t"]
    return Table(caption, header, rows)

"""What the page says of linear nets on images: the flow, and descent beside it."""

from __future__ import annotations

from mirrorflow.claims import Record
from mirrorflow.claims.finding import map_label as label
from mirrorflow.claims.finding import plain
from mirrorflow.claims.images import told
from mirrorflow.plot import records as figures
from mirrorflow.report.parts import Picture, Section, Table
from mirrorflow.report.wording import number

__all__ = ["on_images"]


def on_images(found: list[Record]) -> Section:
    """The section, from the records of `claims.images`."""
    return Section(
        "Claims 1 and 2 on images",
        (1, 2),
        [
            "A linear net on two classes of images that look alike, from one random start. The "
            "flow runs to t = exp(1e100). Mirror descent takes relative steps 0.005/√(1 + t/500) "
            "as far as they lead. A conic solver gives the exact max margin.",
            "All of it is in float64. Descent never forms the loss.",
        ],
        [
            Picture.of(
                "images",
                figures.images(found),
                f"Descent ends up to {_most(found):.3g} per cent short of the exact max margin; "
                f"the flow by at most {number(_least(found))} per cent.",
                "What the margin lacks of the exact one, as the loss falls. Lines are the flow, "
                "circles descent. The horizontal axis is doubly logarithmic: 3 is loss 1e-1000. "
                "The floor near 1e-7 is the temperature of the integrator.",
            )
        ],
        [_ends(found), _beside(found)],
    )


def _most(found: list[Record]) -> float:
    return 100 * max(1 - float(record.summary["beside"][-1]["descent"]) for record in found)


def _least(found: list[Record]) -> float:
    return 100 * max(abs(float(record.summary["shortfall"])) for record in found)


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

"""Whose margin, on the results page: the table of optimizers and norms, and its figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mirrorflow.claims import read_records
from mirrorflow.claims.whose_margin import METHODS, NORMS
from mirrorflow.plot.theme import new_figure, styled
from mirrorflow.report.margin_section import largest
from mirrorflow.runs.tables import write_rows

__all__ = ["drawing", "lines", "relative", "take"]

Row = dict[str, Any]
_TITLES = {"linear": "Linear net, exact margins", "mnist": "Two layers on MNIST, largest of all"}


def take(folder: Path, results: Path) -> Path | None:
    """Write `results/margins.parquet` from the records of a reproduction that holds some."""
    found = [r.summary for name, r in read_records(folder).items() if name.startswith("margin-")]
    rows = []
    for s in found:
        plain = {k: s[k] for k in ("data", "method", "norm", "seed", "steps", "log10_loss")}
        plain |= {k: s[k] for k in ("gap_first", "gap_last", "residual_first", "residual_last")}
        plain |= {f"margin {name}": value for name, value in zip(NORMS, s["margins"], strict=True)}
        same = [t for t in found if (t["data"], t["seed"]) == (s["data"], s["seed"])]
        tops = zip(NORMS, largest(same), strict=True)
        rows.append(plain | {f"largest {name}": value for name, value in tops})
    if not rows:
        return None
    write_rows(results / "margins.parquet", rows)
    return results / "margins.parquet"


def relative(rows: list[Row], data: str) -> dict[str, list[float]]:
    """Mean over the seeds of margin over exact, or over the largest of the seed's column."""
    shares: dict[str, list[list[float]]] = {}
    for row in rows:
        if row["data"] == data:
            values = [row[f"margin {name}"] / row[f"largest {name}"] for name in NORMS]
            shares.setdefault(row["method"], []).append(values)
    return {
        method: [math.fsum(column) / len(column) for column in zip(*shares[method], strict=True)]
        for method in METHODS
        if method in shares
    }


def lines(rows: list[Row], data: str) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table; the largest of each column in bold."""
    table = relative(rows, data)
    best = [max(column) for column in zip(*table.values(), strict=True)]
    cells = []
    for method, values in table.items():
        mine = [row for row in rows if row["data"] == data and row["method"] == method]
        shown = [
            f"**{value:.3f}**" if value == top else f"{value:.3f}"
            for value, top in zip(values, best, strict=True)
        ]
        gaps = [math.fsum(r[k] for r in mine) / len(mine) for k in ("gap_first", "gap_last")]
        ends = sorted(r["log10_loss"] for r in mine)
        end = f"1e{ends[0]:.0f}" if ends[-1] - ends[0] < 2 else f"1e{ends[0]:.0f}–1e{ends[-1]:.0f}"
        own = METHODS[method].norm
        cells.append([method, own, *shown, f"{gaps[0]:.2f} → {gaps[1]:.2f}", end])
    return ["optimizer", "its norm", *NORMS, "duality gap", "loss at the end"], cells


@styled
def drawing(rows: list[Row]) -> Figure:
    """Two panels of cells; those of an optimizer's own norm have a frame."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    made, axes = new_figure(1, len(sets), size=(10, 4.6), squeeze=False, sharey=True)
    for ax, data in zip(axes[0], sets, strict=True):
        table = relative(rows, data)
        values = list(table.values())
        image = ax.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for i, (method, row) in enumerate(table.items()):
            for k, (name, value) in enumerate(zip(NORMS, row, strict=True)):
                dark = value < 0.6
                ax.text(
                    k, i, f"{value:.2f}", ha="center", va="center", fontsize=8.5,
                    color="white" if dark else "black",
                )  # fmt: skip
                if METHODS[method].norm == name:
                    frame = Rectangle((k - 0.47, i - 0.47), 0.94, 0.94, fill=False)
                    frame.set(edgecolor="#D55E00", linewidth=2.4)
                    ax.add_patch(frame)
        ax.set(title=_TITLES.get(data, data), xticks=range(len(NORMS)), xlabel="margin in the norm")
        ax.set_xticklabels(list(NORMS))
        ax.set_yticks(range(len(table)), list(table))
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    axes[0][0].set_ylabel("trained by")
    bar = made.colorbar(image, ax=axes[0], fraction=0.03, pad=0.01)
    bar.set_label("margin over the largest known")
    return made

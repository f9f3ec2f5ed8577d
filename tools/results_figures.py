"""The figures of docs/results.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import margin_table
from mirrorflow.claims.finding import map_label
from mirrorflow.claims.pruning import METHODS, SHARES
from mirrorflow.claims.statistics import interval
from mirrorflow.claims.vision import MEASURES, answer, ladder, levels
from mirrorflow.plot.theme import MARKERS, new_figure, paint, styled
from mirrorflow.runs.tables import read_rows

__all__ = ["drawings", "pruned", "sparse_to_dense"]

_TITLES = {"pruning-mnist": "MNIST", "pruning-fashion": "Fashion-MNIST"}
_SHOWN = (0, 2, 3)  # of MEASURES


def drawings(results: Path) -> dict[str, Figure]:
    """Every figure that the folder gives, by name."""
    made = {}
    for path in sorted(results.glob("sparse-*.parquet")):
        made[path.stem] = sparse_to_dense(read_rows(path))
    if (results / "margins.parquet").exists():
        made["margins"] = margin_table.drawing(read_rows(results / "margins.parquet"))
    found = sorted(results.glob("pruning-*.parquet"), reverse=True)  # MNIST first
    tables = {p.stem: read_rows(p) for p in found}
    if tables:
        made["pruning"] = pruned(tables)
    return made


@styled
def sparse_to_dense(rows: list[dict[str, Any]]) -> Figure:
    """Measures by map, a line for each loss, with 95 % intervals over seeds."""
    made, axes = new_figure(1, len(_SHOWN), size=(10, 3.4))
    maps = ladder(rows)
    names = [map_label(text).replace(" ", "\n") for text in maps]
    for ax, which in zip(axes, _SHOWN, strict=True):
        measure = MEASURES[which]
        for k, level in enumerate(levels(rows)):
            found = answer(rows, level, measure).values
            x = [maps.index(text) + 0.06 * (k - 1) for text in found]
            told = [interval(values) for values in found.values()]
            ax.errorbar(
                x,
                [mean for mean, _ in told],
                yerr=[half for _, half in told],
                color=paint(ax, k),
                marker=MARKERS[k],
                markersize=5,
                capsize=3,
                label=f"loss 1e{level:g}",
            )
        ax.set(title=measure.name, xticks=range(len(maps)))
        ax.title.set_fontsize(9.5)
        ax.set_xticklabels(names, fontsize=7.5)
    axes[0].legend(fontsize=8)
    return made


@styled
def pruned(tables: dict[str, list[dict[str, Any]]]) -> Figure:
    """Test accuracy against the share of weights that are left, a panel for each table."""
    made, axes = new_figure(1, len(tables), size=(5 * len(tables), 3.6), squeeze=False)
    for ax, (name, rows) in zip(axes[0], tables.items(), strict=True):
        for k, method in enumerate(METHODS):
            told = [
                interval(
                    [
                        100 * r["accuracy"]
                        for r in rows
                        if r["method"] == method and r["share"] == share
                    ]
                )
                for share in SHARES
            ]
            ax.errorbar(
                [i + 0.08 * (k - 1.5) for i in range(len(SHARES))],
                [mean for mean, _ in told],
                yerr=[half for _, half in told],
                color=paint(ax, k),
                marker=MARKERS[k],
                linestyle="-" if METHODS[method].rival else "--",
                markersize=5,
                capsize=3,
                label=method,
            )
        ax.set(
            title=_TITLES.get(name, name),
            xlabel="share of weights pruned",
            ylabel="test accuracy, %",
            xticks=range(len(SHARES)),
            ylim=(0, 101),
        )
        ax.set_xticklabels([f"{share:.0%}" for share in SHARES])
    axes[0][0].legend(fontsize=8, loc="lower left")
    return made

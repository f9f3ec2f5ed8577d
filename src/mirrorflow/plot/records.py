"""The figures of the page of `reproduce`: the same plots, drawn from the records of its claims."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.claims import Record
from mirrorflow.claims.finding import map_label as label
from mirrorflow.maps import parse_map
from mirrorflow.plot.planes import PlaneView, draw_plane
from mirrorflow.plot.theme import DASHES, new_figure, paint_of_order, styled
from mirrorflow.plot.tiles import draw_tiles
from mirrorflow.plot.time_axis import as_times, mark_times
from mirrorflow.plot.training import against_loss, mark_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "activation_pictures",
    "digit_measures",
    "images",
    "limits",
    "neurons",
    "slowness",
    "weights",
]

_LN10 = math.log(10)
_STYLES = {"hyperbolic entropy β=0.01": "-.", "double": ":", "logarithmic": "--", "mixed": "--"}


def _times(rows: list[dict[str, Any]]) -> Any:
    """`log10 log10 t` of the rows; NaN before t = 10."""
    times = as_times([row["log_t"] for row in rows])
    return np.where(times > 0, times, np.nan)


@styled
def limits(records: list[Record]) -> Figure:
    """Margin over the exact max margin, against log log t: pairs of maps run into one line."""
    figure, axes = new_figure(1, 2, size=(10, 3.6))
    for k, record in enumerate(records):
        x = _times(record.rows)
        share = np.array([row["margin"] / row["exact_margin"] for row in record.rows])
        style = DASHES[k % 2]
        colour = paint_of_order(axes[0], record.summary["order"])
        axes[0].plot(x, share, style, color=colour, label=label(record.summary["map"]))
        axes[1].plot(x, np.maximum(1 - share, 1e-16), style, color=colour)
    axes[0].axhline(1.0, color="0.4", linewidth=0.8)
    axes[0].set(ylabel="margin / exact max margin", ylim=(0.5, 1.03))
    axes[1].set(ylabel="1 − margin / exact max margin", yscale="log")
    axes[0].legend(loc="lower right")
    for ax in axes:
        mark_times(ax)
        ax.set_xlim(0, 20)
    return figure


@styled
def slowness(records: list[Record]) -> Figure:
    """Angle to the limit and decay of the loss, with the law that the theory predicts."""
    figure, axes = new_figure(1, 2, size=(10, 4.2))
    for record in records:
        x = _times(record.rows)
        colour = paint_of_order(axes[0], record.summary["order"])
        name = label(record.summary["map"])
        style = _STYLES.get(name, _STYLES.get(name.split()[0], "-"))
        away = np.array([row["degrees_to_limit"] for row in record.rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.array([-row["log_loss"] / row["log_t"] for row in record.rows])
        axes[0].plot(x, np.where(away > 1e-9, away, np.nan), style, color=colour, label=name)
        exact = [(c["log10_t"], abs(c["exact"] - record.summary["limit"])) for c in _curve(record)]
        points = np.array([(math.log10(t), d) for t, d in exact if d > 1e-9])
        hollow: Any = {"color": colour, "markersize": 3, "markerfacecolor": "w"}
        if len(points):
            axes[0].plot(*points.T, "o", **hollow)
        law = np.array([-row["law_log_loss"] / row["log_t"] for row in record.rows])
        axes[1].plot(x, law, "o", markevery=12, **hollow)
        axes[1].plot(x, slope, style, color=colour)
    axes[0].set(yscale="log", xlim=(0, 12), ylim=(1e-8, 1e2))
    axes[0].set_ylabel("degrees to the limit direction")
    axes[1].set(ylabel="−log loss / log t  (1: like 1/t)", ylim=(0, 1.15), xlim=(0, 12))
    figure.legend(ncols=4, loc="outside upper center")
    for ax in axes:
        mark_times(ax)
    return figure


def _curve(record: Record) -> list[dict[str, float]]:
    curve: list[dict[str, float]] = record.summary["curve"]
    return curve


@styled
def neurons(records: list[Record]) -> Figure:
    """Small multiples: decision boundary, points, and neurons as arrows."""
    figure, axes = new_figure(1, len(records), size=(2.6 * len(records), 3.4), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        s = record.summary
        hidden, output = np.array(s["hidden"]), np.array(s["output"])
        strength = np.linalg.norm(hidden, axis=1) * np.abs(output)
        length = np.linalg.norm(hidden[:, :2], axis=1)
        long = strength / strength.max() / np.where(length > 0, length, 1.0)
        arrows = hidden[:, :2] * long[:, None]
        view = PlaneView(
            reach=s["reach"],
            field=np.array(s["field"]),
            x=np.array(s["x"]),
            y=np.array(s["y"]),
            arrows=arrows,
            output=np.sign(output),
        )
        draw_plane(ax, view, legend=False)
        ax.set_title(f"{label(s['map'])}\n{s['neurons']:.1f} of {s['units']} neurons")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, [_without_count(name) for name in names], loc="outside lower center", ncols=4
    )
    return figure


def _without_count(name: str) -> str:
    """ "3 neurons, output > 0" for a legend of several nets."""
    _, comma, rest = name.partition(", ")
    return f"neuron, {rest}" if comma else name


@styled
def digit_measures(records: list[Record]) -> Figure:
    """Measures of sparsity as the loss falls, one line a run."""
    panels = (
        ("weight_participation", "participation ratio of the weights"),
        ("active_share", "share of active units a point, layer 1"),
        ("test_accuracy", "test accuracy"),
    )
    figure, axes = new_figure(1, 3, size=(11, 3.8))
    names: list[str] = []
    deepest = 0.0
    for record in records:
        name = record.summary["map"]
        if name not in names:
            names.append(name)
        x, drawn = against_loss(record.rows)
        deepest = max(deepest, float(x.max()))
        order = parse_map(name).index
        for ax, (key, _) in zip(axes, panels, strict=True):
            ax.plot(
                x[drawn],
                np.array([row[key] for row in record.rows])[drawn],
                DASHES[names.index(name) % len(DASHES)],
                color=paint_of_order(ax, order),
                linewidth=1.4,
                label=label(name),
            )
    for ax, (_, text) in zip(axes, panels, strict=True):
        ax.set_title(text)
        mark_loss(ax, deepest)
    axes[2].set_ylim(0.9, 1.0)
    lines, texts = axes[0].get_legend_handles_labels()
    once = {text: line for line, text in zip(lines, texts, strict=True)}
    figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=5)
    return figure


@styled
def weights(records: list[Record]) -> Figure:
    """The 16 strongest first-layer units of each map as 8×8 pictures, one row a map."""
    figure, axes = new_figure(len(records), 1, size=(10, 0.62 * len(records)), squeeze=False)
    for ax, record in zip(axes[:, 0], records, strict=True):
        tiles = np.array(record.summary["weights"]).reshape(-1, 8, 8)
        draw_tiles(ax, tiles, len(tiles))
        ax.text(-2, 4, label(record.summary["map"]), ha="right", va="center", fontsize="small")
    return figure


@styled
def activation_pictures(records: list[Record]) -> Figure:
    """Which first-layer units (columns) are active on 60 test digits (rows), one panel a map."""
    figure, axes = new_figure(1, len(records), size=(2.2 * len(records), 2.5), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        active = np.array(record.summary["active"])
        active = active[:, np.argsort(-active.mean(axis=0))]
        ax.imshow(active, cmap="Greys", vmin=0, vmax=1.2, aspect="auto", interpolation="nearest")
        name = label(record.summary["map"])
        ax.set_title(f"{name}\n{100 * active.mean():.0f} % active", fontsize="small")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return figure


@styled
def images(records: list[Record]) -> Figure:
    """What flow and descent miss of the exact max margin as the loss falls, a panel a data set."""
    names = list(dict.fromkeys(record.summary["data"] for record in records))
    first = min(record.summary["seed"] for record in records)
    figure, axes = new_figure(1, len(names), size=(3.7 * len(names), 4.2), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        of_set = [r for r in records if r.summary["data"] == name and r.summary["seed"] == first]
        for k, record in enumerate(of_set):
            s = record.summary
            loss = np.array([row["log_loss"] for row in record.rows]) / _LN10
            share = np.array([row["margin"] for row in record.rows]) / s["exact_margin"]
            late = loss < -1
            colour, missing = paint_of_order(ax, s["order"]), np.maximum(1 - share[late], 1e-9)
            ax.plot(
                np.log10(-loss[late]), missing, DASHES[k % 2], color=colour, label=label(s["map"])
            )
            small = [row for row in s["beside"] if row["log10_loss"] < -1]
            x = [math.log10(-row["log10_loss"]) for row in small]
            y = [1 - row["descent"] for row in small]
            ax.plot(x, y, "o", color=colour, markersize=4)
        ax.set(title=name, xscale="log", yscale="log", xlim=(0.25, 100), ylim=(1e-10, 1.2))
        ax.set_xticks([0.3, 1, 3, 10, 100], ["0.3", "1", "3", "10", "100"])
        ax.set_xlabel("log₁₀ log₁₀ 1/loss")
        ax.minorticks_off()
    axes[0, 0].set_ylabel("1 − margin / exact max margin")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure

"""The figures of the page, drawn from records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mirrorflow.claims import Record
from mirrorflow.claims.finding import map_label as label
from mirrorflow.report.style import colour, figure, log_log_axis

__all__ = ["activation_pictures", "digit_measures", "limits", "neurons", "slowness", "weights"]

_LN10 = math.log(10)
_STYLES = {"hyperbolic entropy β=0.01": "-.", "double": ":", "logarithmic": "--", "mixed": "--"}


def log10_log10(rows: list[dict[str, Any]]) -> Any:
    """`log10 log10 t` of the rows; NaN before t = 10."""
    log_t = np.array([row["log_t"] for row in rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(log_t > _LN10, np.log10(log_t / _LN10), np.nan)


def limits(records: list[Record]) -> Figure:
    """Margin over the exact max margin, against log log t: pairs of maps run into one line."""
    made, axes = figure(1, 2, size=(10, 3.6))
    for k, record in enumerate(records):
        x = log10_log10(record.rows)
        share = np.array([row["margin"] / row["exact_margin"] for row in record.rows])
        style = "-" if k % 2 == 0 else "--"
        paint = colour(record.summary["order"])
        axes[0].plot(x, share, style, color=paint, label=label(record.summary["map"]))
        with np.errstate(divide="ignore"):
            axes[1].plot(x, np.log10(np.maximum(1 - share, 1e-16)), style, color=paint)
    axes[0].axhline(1.0, color="0.4", linewidth=0.8)
    axes[0].set(ylabel="margin / exact max margin", ylim=(0.5, 1.03))
    axes[1].set(ylabel="log₁₀ (1 − margin / exact)")
    axes[0].legend(fontsize=8, loc="lower right")
    for ax in axes:
        log_log_axis(ax)
        ax.set_xlim(0, 20)
    return made


def slowness(records: list[Record]) -> Figure:
    """Angle to the limit and decay of the loss, with the law that the theory predicts."""
    made, axes = figure(1, 2, size=(10, 4.0))
    for record in records:
        x = log10_log10(record.rows)
        paint, name = colour(record.summary["order"]), label(record.summary["map"])
        style = _STYLES.get(name, _STYLES.get(name.split()[0], "-"))
        away = np.array([row["degrees_to_limit"] for row in record.rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.where(away > 1e-9, np.log10(away), np.nan)
            slope = np.array([-row["log_loss"] / row["log_t"] for row in record.rows])
        axes[0].plot(x, shown, style, color=paint, label=name)
        exact = [(c["log10_t"], abs(c["exact"] - record.summary["limit"])) for c in _curve(record)]
        points = np.array([(math.log10(t), math.log10(d)) for t, d in exact if d > 1e-9])
        if len(points):
            axes[0].plot(*points.T, "o", color=paint, markersize=3, markerfacecolor="w")
        law = np.array([-row["law_log_loss"] / row["log_t"] for row in record.rows])
        axes[1].plot(x, law, "o", color=paint, markersize=3, markerfacecolor="w", markevery=12)
        axes[1].plot(x, slope, style, color=paint)
    axes[0].set(ylabel="log₁₀ degrees to the limit direction", xlim=(0, 12), ylim=(-8, 2))
    axes[1].set(ylabel="−log loss / log t  (1: like 1/t)", ylim=(0, 1.15), xlim=(0, 12))
    made.legend(fontsize=8, ncols=5, loc="outside upper center")
    for ax in axes:
        log_log_axis(ax)
    return made


def _curve(record: Record) -> list[dict[str, float]]:
    curve: list[dict[str, float]] = record.summary["curve"]
    return curve


def neurons(records: list[Record]) -> Figure:
    """Small multiples: decision boundary, points, and neurons as lines from the origin."""
    made, axes = figure(1, len(records), size=(2.6 * len(records), 3.0), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        found = record.summary
        reach, field = found["reach"], np.array(found["field"])
        extent = (-reach, reach, -reach, reach)
        ax.imshow(
            np.sign(field) * np.abs(field) ** 0.5,
            extent=extent,
            origin="lower",
            cmap="RdBu_r",
            vmin=-1.6,
            vmax=1.6,
        )
        ax.contour(field, levels=[0.0], extent=extent, colors="k", linewidths=1.0)
        x, y = np.array(found["x"]), np.array(found["y"])
        for sign, fill in ((1, "#b2182b"), (-1, "#2166ac")):
            chosen = x[y == sign]
            ax.scatter(*chosen.T, s=26, color=fill, edgecolor="w", linewidth=0.7, zorder=3)
        hidden, output = np.array(found["hidden"]), np.array(found["output"])
        strength = np.linalg.norm(hidden, axis=1) * np.abs(output)
        strength = strength / strength.max()
        for w, a, s in zip(hidden, output, strength, strict=True):
            if s > 1e-3:
                length = math.hypot(*w[:2]) or 1.0
                # the kink of the unit: where w·(x, 1) = 0
                foot = -w[2] * w[:2] / length**2
                along = np.array([-w[1], w[0]]) / length * 4 * reach
                ends = np.stack([foot - along, foot + along])
                line = "#7f0000" if a > 0 else "#08306b"
                ax.plot(*ends.T, color=line, linewidth=0.5 + 2 * s, alpha=0.15 + 0.5 * s)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        ax.set_title(
            f"{label(found['map'])}\n{found['neurons']:.1f} of {found['units']} neurons", fontsize=9
        )
        ax.grid(False)
    return made


def digit_measures(records: list[Record]) -> Figure:
    """Measures of sparsity as the loss falls, one line a run."""
    panels = (
        ("weight_participation", "participation ratio of all weights"),
        ("active_share", "share of active units a point, layer 1"),
        ("test_accuracy", "test accuracy"),
    )
    made, axes = figure(1, 3, size=(11, 3.4))
    seen = set()
    for record in records:
        name = record.summary["map"]
        # The loss oscillates between measurements: draw each new low of it.
        rows, low = [], -0.3
        for row in record.rows:
            if row["log10_loss"] < low:
                rows.append(row)
                low = row["log10_loss"]
        x = np.log10([-row["log10_loss"] for row in rows])
        for ax, (key, _) in zip(axes, panels, strict=True):
            text = label(name) if name not in seen and key == panels[0][0] else None
            ax.plot(x, [row[key] for row in rows], color=colour(_order(name)), label=text)
        seen.add(name)
    for ax, (_, text) in zip(axes, panels, strict=True):
        ax.set(xlabel="log₁₀(−log₁₀ loss)", title=text)
        ax.title.set_fontsize(10)
    axes[2].set_ylim(0.9, 1.0)
    lines, names = axes[0].get_legend_handles_labels()
    axes[2].legend(lines, names, fontsize=8, loc="lower right")
    return made


def weights(records: list[Record]) -> Figure:
    """The 16 strongest first-layer units of each map as 8×8 pictures, one row a map."""
    made, axes = figure(len(records), 1, size=(10, 0.78 * len(records)), squeeze=False)
    for ax, record in zip(axes[:, 0], records, strict=True):
        tiles = np.array(record.summary["weights"]).reshape(-1, 8, 8)
        tiles = tiles / np.abs(tiles).max(axis=(1, 2), keepdims=True)
        strip = np.full((8, 9 * len(tiles) - 1), np.nan)
        for k, tile in enumerate(tiles):
            strip[:, 9 * k : 9 * k + 8] = tile
        ax.imshow(strip, cmap="RdBu_r", vmin=-1, vmax=1, aspect="equal")
        ax.set_axis_off()
        ax.text(-2, 4, label(record.summary["map"]), ha="right", va="center", fontsize=9)
    return made


def activation_pictures(records: list[Record]) -> Figure:
    """Which first-layer units (columns) are active on 60 test digits (rows), one panel a map."""
    made, axes = figure(1, len(records), size=(2.2 * len(records), 2.5), squeeze=False)
    for ax, record in zip(axes[0], records, strict=True):
        active = np.array(record.summary["active"])
        active = active[:, np.argsort(-active.mean(axis=0))]
        ax.imshow(active, cmap="Greys", vmin=0, vmax=1.2, aspect="auto", interpolation="nearest")
        name = label(record.summary["map"])
        ax.set_title(f"{name}\n{100 * active.mean():.0f} % active", fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    return made


def _order(mirror_map: str) -> float:
    from mirrorflow.maps import parse_map

    return parse_map(mirror_map).index

"""Runs against step and loss, and whole figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from mirrorflow import plot
from mirrorflow.errors import RunError
from mirrorflow.plot.training import against_loss

ROWS = [
    {"step": k, "log10_loss": low, "test_accuracy": 0.5 + k / 10, "weight_participation": 0.4}
    for k, low in enumerate((0.3, -0.05, -1.0, -0.5, -2.0, -30.0))
]


def test_only_new_lows_of_the_loss_are_drawn() -> None:
    digits, drawn = against_loss(ROWS)
    assert digits.tolist() == [-0.3, 0.05, 1.0, 0.5, 2.0, 30.0]
    assert drawn.tolist() == [False, False, True, False, True, True]
    ax = plot.runs(ROWS)
    x, y = ax.lines[0].get_data()
    assert list(x) == [1.0, 2.0, 30.0]
    assert list(y) == pytest.approx([0.7, 0.9, 1.0])
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "loss"
    ax.figure.canvas.draw()
    labels = {text.get_text() for text in ax.get_xticklabels()}
    assert {"$10^{-1}$", "$10^{-3}$", "$10^{-10}$"} <= labels


def test_against_the_step() -> None:
    ax = plot.runs({"a": ROWS, "b": ROWS}, "log10_loss", against="step")
    assert list(ax.lines[1].get_xdata()) == list(range(6))
    assert list(ax.lines[1].get_ydata()) == [row["log10_loss"] for row in ROWS]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"trained": 3}, TypeError, "'3' is a int; pass the folder of a run"),
        ({"trained": {}}, ValueError, "trained is empty"),
        ({"trained": []}, ValueError, "no rows with step and log10_loss"),
        ({"trained": [{"loss": 1.0}]}, ValueError, "no rows with step and log10_loss"),
        ({"trained": "nowhere"}, RunError, "nowhere is no run folder"),
        ({"metric": "accuracy"}, ValueError, "metric = 'accuracy' is not a column .*test_accuracy"),
        ({"against": "time"}, ValueError, "against = 'time' is unknown"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        plot.runs(**{"trained": ROWS, **arguments})


def test_the_figure_of_runs_has_what_all_of_them_have() -> None:
    figure = plot.run_figure({"a": ROWS, "b": [{**row, "active_share": 0.3} for row in ROWS]})
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["log₁₀ loss", "test accuracy", "participation ratio of the weights"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]


def test_the_figure_of_flows_has_a_row_of_planes_for_each(flows) -> None:
    figure = plot.flow_figure(flows)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 5 * (1 + len(flows))
    titles = [ax.get_title() for ax in figure.axes]
    panels = ["margin", "Hölder gap", "size of the weights", "balance", "decay of the loss"]
    assert titles[:5] == panels
    assert titles.count("start") == 2
    end = f"log₁₀ log₁₀ t = {math.log10(1e8 / math.log(10)):.1f}"
    assert titles.count(end) == 2
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == [f"{name}: {flow.outcome}" for name, flow in flows.items()]
    margins = [line.get_ydata()[-1] for line in figure.axes[0].lines[:2]]
    assert margins == [1.0, 1.0]


def test_the_figure_of_maps() -> None:
    figure = plot.map_figure(["power(3)", "spectral(cosh)", "simplex_entropy"])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["Power(p=3.0)", "Spectral(Cosh(scale=1.0))"]
    assert len([ax for ax in figure.axes if "x)" in ax.get_ylabel()]) == 2
    with pytest.raises(ValueError, match="neither a scalar potential nor a horizon"):
        plot.map_figure("simplex_entropy")
    assert np.isfinite(figure.get_size_inches()).all()

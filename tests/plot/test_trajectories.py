"""What `plot.flow` draws is what the trajectory holds."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import mirrorflow as mf
from mirrorflow import plot
from mirrorflow.plot.time_axis import both_readings


def drawn(ax, k=0):
    return np.asarray(ax.lines[k].get_xdata()), np.asarray(ax.lines[k].get_ydata())


def test_margins_over_their_own_last_value(flows) -> None:
    ax = plot.flow(flows)
    for k, flow in enumerate(flows.values()):
        late = flow.log_t > 0
        x, y = drawn(ax, k)
        assert x == pytest.approx(np.log10(flow.log_t[late] / math.log(10)), abs=1e-9)
        assert y == pytest.approx(flow.margin[late] / flow.margin[-1])
        assert y[-1] == 1.0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(flows)
    assert ax.get_ylabel() == "margin / last margin"
    assert ax.get_ylim()[1] > 1.0


def test_margins_over_the_exact_ones(flows) -> None:
    exact = {name: 2.0 * flow.margin[-1] for name, flow in flows.items()}
    ax = plot.flow(flows, "missing", exact=exact)
    for k in range(2):
        assert drawn(ax, k)[1][-1] == pytest.approx(0.5)
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "1 − margin / exact max margin"
    one = plot.flow(flows["quadratic"], exact=4.0)
    assert drawn(one)[1][-1] == pytest.approx(flows["quadratic"].margin[-1] / 4.0)
    assert one.get_legend() is None


def test_the_last_point_misses_nothing_of_itself_and_is_not_drawn(flows) -> None:
    y = drawn(plot.flow(flows["quadratic"], "missing"))[1]
    assert math.isnan(y[-1])
    flow = flows["quadratic"]
    assert y[-2] == pytest.approx(max(1 - flow.margin[-2] / flow.margin[-1], 1e-16))


@pytest.mark.parametrize(
    ("show", "column"),
    [
        ("gap", lambda f: np.maximum(f.gap, 1e-16)),
        ("kkt", lambda f: np.array([f[k].residual for k in range(len(f))])),
        ("log_gauge", lambda f: np.log10(np.exp(f.log_gauge))),
        ("balance", lambda f: np.maximum(f.balance_drift, 1e-16)),
        ("loss", lambda f: -f.log_loss / np.where(f.log_t == 0, np.nan, f.log_t)),
    ],
)
def test_the_other_quantities(flows, show, column) -> None:
    flow = flows["quadratic"]
    x, y = drawn(flow.plot(show))
    assert y == pytest.approx(column(flow)[-len(y) :], nan_ok=True)
    assert np.isfinite(y[len(y) // 2 :]).all()
    assert x[-1] == pytest.approx(math.log10(1e8 / math.log(10)))


def test_a_plot_of_the_trajectory_is_that_of_the_module(flows) -> None:
    flow = flows["quadratic"]
    figure, (left, right) = plt.subplots(1, 2)
    assert flow.plot("gap", ax=left) is left
    plot.flow(flow, "gap", ax=right)
    assert drawn(left)[1].tolist() == drawn(right)[1].tolist()
    assert figure.axes == [left, right]


def test_what_compare_maps_returned(flows) -> None:
    points = mf.data.blobs(n=8, d=2, gap=1.0, seed=0)
    starts = [mf.nets.Linear(2, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    both = mf.compare_maps(starts, points.x, points.y, ["quadratic", "cosh"], log_t_end=1e3)
    names = [text.get_text() for text in plot.flow(both).get_legend().get_texts()]
    assert names == [f"{m}, start {k}" for m in ("Quadratic()", "Cosh(scale=1.0)") for k in (0, 1)]


@pytest.mark.parametrize(
    ("k", "label"),
    [
        (0, "0\n10"),
        (1, "1\n$10^{10}$"),
        (2, "2\n$10^{100}$"),
        (5, "5\n$10^{10^{5}}$"),
        (20, "20\n$10^{10^{20}}$"),
        (0.5, "0.5\n$10^{3.16}$"),
        (-1, "-1\n$10^{0.1}$"),
    ],
)
def test_both_readings_of_the_time(k: float, label: str) -> None:
    assert both_readings(k) == label


def test_the_ticks_carry_both_readings(flows) -> None:
    ax = plot.flow(flows)
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.get_xticklabels()]
    places = ax.get_xticks()
    assert labels == [both_readings(k) for k in places]
    assert len([k for k in places if 0 <= k <= 8]) >= 4
    assert ax.get_xlabel() == "log₁₀ log₁₀ t, below it t"


def test_a_flow_that_does_not_separate_says_so() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([1, -1, 1])
    net = mf.nets.Linear(2, generator=torch.Generator().manual_seed(0)).double()
    flow = mf.mirror_flow(net, x, y, "quadratic", log_t_end=1e3)
    ax = plot.flow({"a": flow, "b": flow})
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["a (not separated)", "b (not separated)"]
    assert np.isnan(drawn(ax)[1]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"flows": 3}, TypeError, "flows = 3 is a int"),
        ({"flows": {}}, ValueError, "flows is empty"),
        ({"flows": {"a": 3}}, TypeError, "flows\\['a'\\] = 3 is a int"),
        ({"show": "gapp"}, ValueError, "show = 'gapp' is unknown"),
        ({"exact": -1.0}, ValueError, "exact = -1.0"),
        ({"exact": {"quadratic": 1.0}}, ValueError, "no margin for .*hyperbolic_entropy"),
        ({"ax": 3}, TypeError, "ax = 3 is a int; pass matplotlib Axes"),
    ],
)
def test_bad_input(flows, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        plot.flow(**{"flows": flows, **arguments})


def test_a_flow_that_ends_before_t_is_1(flows) -> None:
    early = flows["quadratic"].ending_at(-1.0)
    with pytest.raises(ValueError, match="ends at log t = -1"):
        plot.flow(early)


def test_a_flow_of_the_square_loss_has_no_margin() -> None:
    net, x = mf.nets.Linear(4), torch.randn(2, 4)
    fitted = mf.mirror_flow(net, x, torch.randn(2), "quadratic", log_t_end=20.0, loss="square")
    assert fitted.outcome == "interpolates"
    for show in ("margin", "kkt"):
        with pytest.raises(ValueError, match="square loss, which has no margin; draw 'log_gauge'"):
            plot.flow(fitted, show)
    assert len(plot.flow(fitted, "log_gauge").lines) == 1

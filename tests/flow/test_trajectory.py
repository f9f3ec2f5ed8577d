"""The record of a flow as a value: rows, slices, equality, a table, and a file."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.nets import Linear


@pytest.fixture(scope="module")
def flow() -> Trajectory:
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    net = Linear(2).double()
    return mirror_flow(net, x, torch.tensor([1, -1]), maps.Quadratic(), log_t_end=50.0)


def test_the_last_time_by_its_logarithm() -> None:
    """`exp(log log t)` may pass log t by rounding, which grows with the exponent."""
    net = Linear(2, generator=torch.Generator().manual_seed(0)).double()
    x, y = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64), torch.tensor([1, -1])
    for log_t_end in (50.0, 1e30, 3.7e201):
        late = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=log_t_end)
        for off in (0.0, 1e-15, -1e-15):
            at = late.at(log_log_t=float(late.log_log_t[-1]) * (1 + off))
            assert at.margin == pytest.approx(late.margin[-1], rel=1e-9)
    with pytest.raises(ValueError, match="outside the trajectory"):
        late.at(3.8e201)


def test_a_slice_is_a_trajectory(flow: Trajectory) -> None:
    part = flow[3:-2]
    assert isinstance(part, Trajectory)
    assert len(part) == len(flow) - 5
    assert part.log_t[0] == flow.log_t[3] > -np.inf
    assert part[0] == flow[3]
    between = float(part.log_t[4:6].mean())
    assert part.at(between).margin == pytest.approx(flow.at(between).margin, rel=1e-9)
    assert part.outcome == flow.outcome


@pytest.mark.parametrize(
    ("k", "error", "text"),
    [
        (10**6, IndexError, r"k = 1000000 is not a step; there are \d+"),
        (slice(5, 5), IndexError, r"\[5:5\] holds no step"),
        ("margin", TypeError, r"k = 'margin' is a str"),
        (1.0, TypeError, r"k = 1.0 is a float"),
    ],
)
def test_what_is_no_step(flow: Trajectory, k: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        flow[k]  # type: ignore[call-overload]


def test_equality_is_by_value(flow: Trajectory, tmp_path: Path) -> None:
    flow.save(tmp_path / "flow.npz")
    again = Trajectory.load(tmp_path / "flow.npz")
    assert np.isnan(again.rate).any() or np.isnan(again.balance_drift).any()
    assert again == flow
    assert pickle.loads(pickle.dumps(flow)) == flow
    assert again != flow[1:]
    assert flow != "flow"
    assert flow[2] == again[2]
    assert flow[2] != again[3]


def test_counts_cannot_be_changed(flow: Trajectory) -> None:
    assert flow.stats.steps > 10
    with pytest.raises(FrozenInstanceError):
        flow.stats.steps = 0  # type: ignore[misc]


def test_a_row_prints_on_one_line(flow: Trajectory) -> None:
    text = repr(flow[-1])
    assert text.startswith("FlowPoint(log_t=50, margin=")
    assert len(text) < 100
    assert "\n" not in text


def test_a_table_of_its_numbers(flow: Trajectory) -> None:
    table = flow.to_pandas()
    assert len(table) == len(flow)
    assert table["margin"].iloc[-1] == flow.margin[-1] > 0
    assert "direction" not in table

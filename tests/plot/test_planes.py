"""The plane shows the net's own boundary, points, multipliers and neurons."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.contour import ContourSet
from matplotlib.quiver import Quiver
from torch import nn

from mirrorflow import nets, plot
from mirrorflow.plot.theme import signs

X = torch.tensor([[1.0, 0.5], [2.0, -0.5], [-1.0, 1.0], [-2.0, -1.0]], dtype=torch.float64)
Y = torch.tensor([1, 1, -1, -1])


def two_neurons() -> nets.TwoLayer:
    net = nets.TwoLayer(2, 3).double()
    with torch.no_grad():
        net.weights[0].copy_(torch.tensor([[3.0, 4.0], [-1.0, 0.0], [1e-9, 0.0]]))
        net.weights[1].copy_(torch.tensor([[2.0, -5.0, 1e-9]]))
    return net


def boundary(ax):
    """Points of the drawn level 0."""
    (lines,) = (c for c in ax.collections if isinstance(c, ContourSet) and not c.filled)
    return np.concatenate([path.vertices for path in lines.get_paths()])


def test_the_boundary_is_where_the_output_changes_sign() -> None:
    net = nets.Linear(2).double()
    with torch.no_grad():
        next(net.parameters()).copy_(torch.tensor([[2.0, -1.0]]).reshape_as(next(net.parameters())))
    found = boundary(plot.plane(net, X, Y))
    assert len(found) > 2
    assert 2 * found[:, 0] == pytest.approx(found[:, 1], abs=1e-9)
    assert np.abs(found).max() == pytest.approx(2.5)


def test_points_by_label_and_multipliers_as_areas() -> None:
    ax = plot.plane(two_neurons(), X, Y, multipliers=torch.tensor([3.0, 0.0, 1.0, 0.0]))
    by_label = {c.get_label(): c for c in ax.collections}
    assert np.asarray(by_label["label +1"].get_offsets()).tolist() == X[:2].tolist()
    assert np.asarray(by_label["label −1"].get_offsets()).tolist() == X[2:].tolist()
    rings = by_label["multiplier (area)"]
    assert np.asarray(rings.get_offsets()).tolist() == X[[0, 2]].tolist()
    areas = rings.get_sizes()
    assert areas[0] / areas[1] == pytest.approx(3.0)
    assert areas.sum() == pytest.approx(900.0)


def test_neurons_by_sign_and_strength() -> None:
    ax = plot.plane(two_neurons(), X, Y)
    arrows = {q.get_label(): q for q in ax.collections if isinstance(q, Quiver)}
    assert set(arrows) == {"1 neuron, output > 0", "1 neuron, output < 0"}
    up, down = arrows["1 neuron, output > 0"], arrows["1 neuron, output < 0"]
    # strengths 5·2 and 1·5; the longest reaches 0.9 of the picture, whose half side is 2.5
    assert [float(up.U[0]), float(up.V[0])] == pytest.approx([0.9 * 2.5 * 0.6, 0.9 * 2.5 * 0.8])
    assert [float(down.U[0]), float(down.V[0])] == pytest.approx([-0.9 * 2.5 / 2, 0.0])
    for quiver, colour in zip((up, down), signs(ax), strict=True):
        assert quiver.get_facecolor()[0][:3] == pytest.approx(to_rgb(colour))


def test_a_plain_net_and_several_classes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    ax = plot.plane(net, X.float(), torch.tensor([0, 1, 2, 2]))
    labels = [c.get_label() for c in ax.collections]
    assert "5 neurons" in labels  # several outputs: no sign
    assert {"label 0", "label 1", "label 2"} <= set(labels)
    other = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
    assert not any(isinstance(c, Quiver) for c in plot.plane(other, X.float(), Y).collections)


def test_a_snapshot_is_the_net_of_the_flow_at_that_time(flows) -> None:
    flow = flows["quadratic"]
    ax = plot.snapshot(flow, 1e4)
    assert ax.get_title() == "log₁₀ log₁₀ t = 3.6"
    found, net = boundary(ax), flow.net(1e4)
    with torch.no_grad():
        values = net(torch.from_numpy(found))
        size = float(net(flow.problem.x).abs().min())
    assert len(found) > 10
    assert float(values.abs().max()) < 0.05 * size
    rings = next(c for c in ax.collections if c.get_label() == "multiplier (area)")
    shares = flow.at(1e4).multipliers
    assert rings.get_sizes() == pytest.approx(900 * shares[shares > 1e-6])


def test_the_net_and_the_random_numbers_stay_as_they_are() -> None:
    net = two_neurons()
    before, state = [p.clone() for p in net.parameters()], torch.get_rng_state()
    plot.plane(net, X, Y)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": 3}, TypeError, "net = 3 is not a network"),
        ({"x": torch.ones(4, 3)}, ValueError, "x has shape \\(4, 3\\); the plane needs"),
        ({"y": torch.tensor([0, 1, 2, 3])}, ValueError, "y"),
        ({"multipliers": torch.ones(3)}, ValueError, "multipliers has shape \\(3,\\) beside 4"),
        ({"multipliers": -torch.ones(4)}, ValueError, "multipliers holds negative"),
        ({"multipliers": torch.zeros(4)}, ValueError, "multipliers are all 0"),
        ({"legend": "no"}, TypeError, "legend = 'no'"),
        ({"ax": "ax"}, TypeError, "ax = 'ax' is a str"),
    ],
)
def test_bad_input(change, error, message) -> None:
    with pytest.raises(error, match=message):
        plot.plane(**{"net": two_neurons(), "x": X, "y": Y, **change})


def test_a_snapshot_of_a_flow_from_a_file(flows, tmp_path) -> None:
    flows["quadratic"].save(tmp_path / "flow.npz")
    loaded = type(flows["quadratic"]).load(tmp_path / "flow.npz")
    with pytest.raises(ValueError, match="loaded from a file, which keeps no network"):
        plot.snapshot(loaded)
    with pytest.raises(TypeError, match="flow = 3 is a int"):
        plot.snapshot(3)
    assert plt.get_fignums() == []  # nothing half-drawn is left

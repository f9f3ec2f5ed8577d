from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mirrorflow.diagnostics import balance, drift, structure
from mirrorflow.errors import NotHomogeneousError
from mirrorflow.maps import Cosh, Quadratic
from mirrorflow.nets import Linear, TwoLayer


def test_structure_of_a_sequential_is_that_of_the_measured_degrees():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(8, 3, bias=False),
    )
    found = structure(net)
    assert found.degree == 2
    assert [layer.names for layer in found.layers] == [("0.0.weight",), ("2.weight",)]
    (units,) = found.units
    assert (units.units, units.repeat, units.outgoing) == (2, 4, "2.weight")


def test_fan_out_of_a_flattened_channel_sums_its_positions():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(8, 3, bias=False))
    (units,) = structure(net).units
    weight = torch.arange(24.0).reshape(3, 8)
    expected = torch.stack([weight[:, :4].sum(), weight[:, 4:].sum()])
    assert torch.equal(units.fan_out({"2.weight": weight}), expected)


def test_a_deep_bias_is_refused_by_name():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(NotHomogeneousError, match=r"2\.bias is a bias after the first layer"):
        balance(net, Quadratic())


def test_a_first_layer_bias_counts_as_incoming():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
    first, last = net[0], net[2]
    expected = first.weight.square().sum(1) + first.bias.square() - last.weight[0].square()
    torch.testing.assert_close(balance(net, Quadratic()).units["0.weight"], expected.detach() / 2)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 2))
        self.b = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ self.a.T).square() @ self.b


def test_a_module_of_the_user_is_measured():
    net, x = Custom(), torch.randn(5, 2)
    found = balance(net, Quadratic(), x=x)
    assert found.layers["a"] == pytest.approx(float(net.a.detach().square().sum()) / 4)
    with pytest.raises(ValueError, match="pass x"):
        balance(net, Quadratic())


def test_linear_has_nothing_to_balance_and_infinite_energy_is_nan():
    net = Linear(3)
    assert drift(balance(net, Quadratic()), balance(net, Quadratic())).worst == 0
    net = TwoLayer(2, 2)
    before = balance(net, Cosh())
    with torch.no_grad():
        net.weights[0].mul_(1e6)
    assert math.isnan(drift(before, balance(net, Cosh())).layers)


def test_drift_refuses_different_nets():
    with pytest.raises(ValueError, match="same net"):
        drift(balance(TwoLayer(2, 2), Quadratic()), balance(Linear(2), Quadratic()))

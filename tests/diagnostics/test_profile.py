"""Margins of nets in several norms: by hand, beside exact ones, as a table."""

from __future__ import annotations

import math

import pytest
import torch

from mirrorflow.diagnostics import margin_profile
from mirrorflow.exact import max_margin
from mirrorflow.maps import LpHorizon, MaxOverTensors, Quadratic, SchattenHorizon
from mirrorflow.nets import Linear, TwoLayer

X = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
Y = torch.tensor([1.0], dtype=torch.float64)


def linear(*weights: float) -> Linear:
    net = Linear(len(weights)).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weights))
    return net


def test_by_hand() -> None:
    nets = {"first": linear(3.0, 4.0), "second": linear(1.0, 1.0)}
    found = margin_profile(nets, X, Y, [LpHorizon(1), "quadratic", LpHorizon(math.inf)])
    assert found.horizons == ("ℓ1", "Quadratic()", "ℓ∞")
    expected = [[11 / 7, 11 / 5, 11 / 4], [3 / 2, 3 / math.sqrt(2), 3.0]]
    assert found.margins == pytest.approx(torch.tensor(expected).numpy())
    assert found.best == {"ℓ1": "first", "Quadratic()": "first", "ℓ∞": "second"}
    assert found.relative[1] == pytest.approx([21 / 22, 15 / (11 * math.sqrt(2)), 1.0])


def test_beside_the_exact_margins() -> None:
    horizons = {"ℓ1": LpHorizon(1), "ℓ2": LpHorizon(2), "ℓ∞": LpHorizon(math.inf)}
    best = {name: max_margin(X, Y, h) for name, h in horizons.items()}
    nets = {name: linear(*found.weights.tolist()) for name, found in best.items()}
    margins = {name: found.margin for name, found in best.items()}
    table = margin_profile(nets, X, Y, horizons, largest=margins)
    assert table.relative.diagonal() == pytest.approx([1.0, 1.0, 1.0])
    # Known answers: 2, √5 and 3 for one point (1, 2); the ℓ2 solution has margin 5/3 in ℓ1.
    assert table.largest == pytest.approx([2.0, math.sqrt(5), 3.0])
    assert table.margins[1] == pytest.approx([5 / 3, math.sqrt(5), 5 / 2])
    frame = table.to_pandas()
    assert frame.shape == (9, 5)
    assert frame.query("net == 'ℓ2' and horizon == 'ℓ1'").relative.item() == pytest.approx(5 / 6)
    lines = str(table).splitlines()
    assert lines[0].split() == ["margin,", "relative", "ℓ1", "ℓ2", "ℓ∞"]
    assert lines[2].split() == ["ℓ2", "0.8333", "1.0000", "0.8333"]
    assert lines[-1].split() == ["largest", "margin", "2", "2.236", "3"]


def test_largest_over_tensors_of_a_network() -> None:
    net = TwoLayer(2, 3, generator=torch.Generator().manual_seed(0)).double()
    y = torch.sign(net(X)).detach()
    found = margin_profile(net, X, y, [SchattenHorizon(math.inf), MaxOverTensors(LpHorizon(2))])
    q = float((y * net(X)).detach().min())
    size = [max(float(torch.linalg.matrix_norm(_matrix(p), o)) for p in net.parameters())
            for o in (2, "fro")]  # fmt: skip
    assert found.horizons == ("spectral", "max ℓ2")
    assert found.margins[0] == pytest.approx([q / size[0] ** 2, q / size[1] ** 2])
    assert found.relative.tolist() == [[1.0, 1.0]]
    assert found.degree == 2


def _matrix(p: torch.Tensor) -> torch.Tensor:
    return p.detach().reshape(1, -1) if p.ndim < 2 else p.detach()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"net": {}}, ValueError, "net is an empty mapping"),
        ({"net": 3}, TypeError, "net = 3"),
        ({"horizons": LpHorizon(2)}, TypeError, "horizons = LpHorizon"),
        ({"horizons": []}, ValueError, "horizons is empty"),
        ({"horizons": [2]}, TypeError, "horizons holds 2"),
        ({"horizons": [LpHorizon(2), LpHorizon(2.0)]}, ValueError, "horizons holds 'ℓ2' twice"),
        ({"horizons": ["none"]}, ValueError, "horizons: "),
        ({"largest": {"ℓ3": 1.0}}, ValueError, r"largest\['ℓ3'\] is none of"),
        ({"largest": {"ℓ2": "a"}}, TypeError, r"largest\['ℓ2'\]"),
        ({"largest": 2.0}, TypeError, "largest = 2.0"),
        ({"net": {"a": linear(1.0, 1.0), "b": TwoLayer(2, 3).double()}}, ValueError, "degrees 1"),
    ],
)
def test_bad_input(change, error, words) -> None:
    arguments = {"net": linear(1.0, 1.0), "x": X, "y": Y, "horizons": [LpHorizon(2), Quadratic()]}
    with pytest.raises(error, match=words):
        margin_profile(**(arguments | change))

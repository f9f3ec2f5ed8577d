from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from mirrorflow.diagnostics import features
from mirrorflow.nets import CNN, MLP, TwoLayer


def two_layer() -> TwoLayer:
    """Units: two equal ones, one too weak, one that is never active on non-negative points."""
    net = TwoLayer(2, 4)
    with torch.no_grad():
        net.weights[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1e-4, 0.0], [-1.0, -1.0]]))
        net.weights[1].copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
    return net


def test_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = features(two_layer(), x, batch_size=2)
    hidden = found.hidden["weights.0"]
    assert hidden.alive == 0.5
    assert hidden.zero_activations == pytest.approx((2 + 3 + 2) / 12 - 1 / 12 + 0 / 12)
    s = torch.tensor([1.0, 1.0, 1e-4, math.sqrt(2)])
    torch.testing.assert_close(hidden.strengths, s)
    assert hidden.participation == pytest.approx(float(s.sum() ** 2 / (4 * s.square().sum())))
    assert found.weights["weights.1"].hoyer == pytest.approx(0.0, abs=1e-12)
    assert found.weights["weights.0"].above == pytest.approx(4 / 8)


def test_effective_rank_against_the_whole_feature_matrix():
    torch.manual_seed(1)
    net, x = MLP((5, 7, 6, 3)), torch.randn(40, 5)
    found = features(net, x, batch_size=7)
    for (_, hidden), h in zip(found.hidden.items(), net.activations(x), strict=True):
        values = torch.linalg.svdvals(h.detach())
        p = values / values.sum()
        expected = float(torch.exp(-torch.special.xlogy(p, p).sum()))
        assert hidden.effective_rank == pytest.approx(expected, rel=1e-5)


def test_cka_movement_against_centred_kernels():
    torch.manual_seed(2)
    net, start, x = TwoLayer(3, 5), TwoLayer(3, 5), torch.randn(20, 3)
    moved = features(net, x, initial=start, batch_size=6).hidden["weights.0"].cka_movement
    centre = torch.eye(20) - 1 / 20
    kernels = []
    for each in (net, start):
        h = each.activations(x)[0].detach()
        kernels.append(centre @ h @ h.T @ centre)
    a, b = kernels
    assert moved == pytest.approx(1 - float((a * b).sum() / (a.norm() * b.norm())), abs=1e-10)
    still = features(net, x, initial=copy.deepcopy(net)).hidden["weights.0"].cka_movement
    assert still == pytest.approx(0.0, abs=1e-10)


def test_sequential_cnn_is_batch_size_independent_and_left_in_its_mode():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4, bias=False),
        nn.ReLU(),
        nn.Linear(4, 2, bias=False),
    )
    x = torch.randn(9, 1, 6, 6)
    kept = x.clone()
    one, other = features(net, x, batch_size=2), features(net, x, batch_size=9)
    assert net.training
    assert torch.equal(x, kept)
    assert list(one.hidden) == ["0.weight", "4.weight"]
    for name in one.hidden:
        assert one.hidden[name].effective_rank == pytest.approx(other.hidden[name].effective_rank)
        assert one.hidden[name].zero_activations == other.hidden[name].zero_activations
    h = torch.relu(net[0](x))
    assert one.hidden["0.weight"].zero_activations == pytest.approx(float((h == 0).double().mean()))


def test_bad_input():
    with pytest.raises(TypeError, match="net is a Linear"):
        features(nn.Linear(2, 2), torch.randn(3, 2))
    with pytest.raises(ValueError, match="no points"):
        features(two_layer(), torch.zeros(0, 2))


def test_declared_cnn():
    torch.manual_seed(4)
    net, x = CNN((1, 6, 6), (2, 3), (5,)), torch.randn(7, 1, 6, 6)
    found = features(net, x, initial=CNN((1, 6, 6), (2, 3), (5,)), batch_size=3)
    assert [h.units for h in found.hidden.values()] == [2, 3, 5]
    for hidden, h in zip(found.hidden.values(), net.activations(x), strict=True):
        assert hidden.zero_activations == pytest.approx(float((h == 0).double().mean()))
        assert 1 <= hidden.effective_rank <= hidden.units
        assert 0 <= hidden.cka_movement <= 1

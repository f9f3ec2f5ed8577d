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
    with pytest.raises(ValueError, match="no parameters"):
        features(nn.ReLU(), torch.randn(3, 2))
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


class Block(nn.Module):
    """A residual block with BatchNorm, its first activation in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1, groups=2) for _ in range(2))
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.relu_(self.norm(self.a(x)))
        return nn.functional.relu_(self.b(h).add_(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), Block(4), nn.Flatten(),
        nn.Linear(64, 3),
    )  # fmt: skip


def test_any_net_is_measured_at_what_its_layers_read():
    torch.manual_seed(5)
    net, x = resnet(), torch.randn(9, 1, 6, 6)
    net(x)  # running means that are not 0
    found = features(net, x, batch_size=4)
    assert net.training
    assert found.readers
    assert list(found.hidden) == ["3.a.weight", "3.b.weight", "5.weight"]
    net.eval()
    with torch.no_grad():
        first = torch.relu(net[1](net[0](x)))
        second = torch.relu(net[3].norm(net[3].a(first)))
        third = torch.relu(net[3].b(second) + first).flatten(1)
    for (name, hidden), h in zip(found.hidden.items(), [first, second, third], strict=True):
        rows = h.movedim(1, -1).reshape(-1, h.shape[1])
        assert hidden.units == h.shape[1], name
        assert hidden.zero_activations == pytest.approx(float((h == 0).double().mean()))
        values = torch.linalg.svdvals(rows)
        p = values / values.sum()
        rank = math.exp(-float(torch.special.xlogy(p, p).sum()))
        assert hidden.effective_rank == pytest.approx(rank, rel=1e-6)
        rms = rows.square().mean(0).sqrt()
        out = net.get_parameter(name).detach()
        if out.ndim == 2:
            norms = out.norm(dim=0)
        else:  # grouped: channel j is read by the outputs of its group at the place j mod 2
            norms = torch.stack(
                [out[2 * (j // 2) : 2 * (j // 2) + 2, j % 2].norm() for j in range(4)]
            )
        torch.testing.assert_close(hidden.strengths, rms * norms)
        s = hidden.strengths
        assert hidden.participation == pytest.approx(
            float(s.sum() ** 2 / (len(s) * s.square().sum()))
        )


def test_movement_of_any_net():
    torch.manual_seed(6)
    start, x = resnet(), torch.randn(9, 1, 6, 6)
    assert features(start, x, initial=start).hidden["5.weight"].cka_movement == pytest.approx(
        0.0, abs=1e-10
    )
    moved = features(resnet(), x, initial=start, batch_size=4)
    assert all(0.01 < h.cka_movement <= 1 for h in moved.hidden.values())
    with pytest.raises(ValueError, match="initial does not read"):
        features(start, x, initial=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))


def test_attention_and_tokens():
    torch.manual_seed(7)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    net = nn.Sequential(nn.Embedding(11, 8), layer, nn.Linear(8, 2))
    found = features(net, torch.randint(11, (5, 6)))
    assert list(found.hidden) == ["1.linear1.weight", "1.linear2.weight", "2.weight"]
    assert [h.units for h in found.hidden.values()] == [8, 12, 8]


def test_nothing_that_could_be_seen_is_said():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(3, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ self.a) @ self.b

    with pytest.raises(TypeError, match="no hidden layer can be seen"):
        features(Own(), torch.randn(4, 2))
    one = features(nn.Linear(2, 2), torch.randn(3, 2))
    assert one.hidden == {}
    assert "no hidden layer" in str(one)


def test_the_table():
    found = features(two_layer(), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    lines = str(found).splitlines()
    assert lines[0].split("  ")[0] == "hidden layer behind"
    assert lines[1].split()[:4] == ["weights.0", "4", "50.0%", "50.0%"]
    assert lines[-1].split() == ["weights.1", "100.0%", "0.000"]
    assert "read by" in str(features(resnet(), torch.randn(2, 1, 6, 6)))

"""Every map in the optimizers, the flow of the balance and the diagnostics."""

from __future__ import annotations

import math

import pytest
import torch
from every_map import REAL
from torch import Tensor

from mirrorflow import maps, nets
from mirrorflow.diagnostics import balance, certify
from mirrorflow.errors import NoHorizonError
from mirrorflow.optim import MirrorAdamW, MirrorDescent


def problem(mirror_map: maps.MirrorMap) -> tuple[nets.TwoLayer, Tensor, Tensor]:
    x = torch.randn(20, 4)
    net = nets.TwoLayer(4, 6)
    if isinstance(mirror_map, maps.NegativeEntropy):
        with torch.no_grad():
            for p in net.parameters():
                p.abs_()
    return net, x, torch.sign(x[:, 0] + 0.3 * x[:, 1])


@pytest.mark.parametrize("mirror_map", [*REAL, maps.NegativeEntropy()], ids=repr)
@pytest.mark.parametrize("kind", [MirrorDescent, MirrorAdamW], ids=lambda kind: kind.__name__)
def test_every_map_trains(kind: type, mirror_map: maps.MirrorMap) -> None:
    net, x, y = problem(mirror_map)
    optimizer = kind(net.parameters(), lr=0.01, mirror_map=mirror_map)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = torch.logsumexp(-y * net(x), 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("mirror_map", REAL, ids=repr)
def test_every_map_is_measured(mirror_map: maps.MirrorMap) -> None:
    net, x, _ = problem(mirror_map)
    energies = [mirror_map.dual_energy(p.detach()).item() for p in net.parameters()]
    assert all(energy > 0 for energy in energies)
    balance(net, mirror_map)
    with torch.no_grad():
        for p, sign in zip(net.parameters(), (1, 1), strict=True):
            p.copy_(sign * p.abs())
    found = certify(net, x.abs(), torch.ones(20), mirror_map)
    assert found.margin > 0
    assert 0 <= found.epsilon <= 1


def test_positive_maps_say_what_they_lack() -> None:
    mirror_map = maps.NegativeEntropy()
    net, x, y = problem(mirror_map)
    with pytest.raises(NoHorizonError, match="no horizon on R"):
        certify(net, x, y, mirror_map)
    optimizer = MirrorDescent(net.parameters(), lr="auto", mirror_map=mirror_map)
    torch.logsumexp(-y * net(x), 0).backward()
    with pytest.raises(ValueError, match=r"measures the step relative to <u, x>, .* < 0"):
        optimizer.step(lambda: torch.zeros(()))
    with pytest.raises(ValueError, match=r"params\[0\] has a negative entry"):
        MirrorDescent([-torch.ones(2)], lr=0.1, mirror_map=mirror_map)
    with pytest.raises(ValueError, match=r"params\[0\] is not on the simplex"):
        MirrorDescent([torch.ones(2)], lr=0.1, mirror_map=maps.SimplexEntropy())


def test_simplex_training_stays_on_the_simplex_and_finds_the_vertex() -> None:
    weights = torch.full((3, 5), 0.2, requires_grad=True)
    cost = torch.rand(3, 5)
    optimizer = MirrorDescent([weights], lr=1.0, mirror_map=maps.SimplexEntropy())
    for _ in range(2000):
        optimizer.zero_grad()
        (cost * weights).sum().backward()
        optimizer.step()
    assert torch.equal(weights.argmax(1), cost.argmin(1))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


@pytest.mark.parametrize("mirror_map", [m for m in REAL if m.separable], ids=repr)
def test_the_balance_of_two_layers_is_kept_along_the_flow(mirror_map: maps.SeparableMap) -> None:
    """`E(a) − E(w)` for `f = a w x`: small explicit steps drift in proportion to the step."""

    def drift(step: float) -> float:
        w, a = torch.tensor([0.9]), torch.tensor([0.6])
        start = mirror_map.dual_energy(w) - mirror_map.dual_energy(a)
        for _ in range(round(0.5 / step)):
            slope = torch.exp(-w * a)
            w, a = mirror_map.step(w, -step * slope * a), mirror_map.step(a, -step * slope * w)
        end = mirror_map.dual_energy(w) - mirror_map.dual_energy(a)
        return abs((end - start).item())

    coarse, fine = drift(0.05), drift(0.0125)
    order = math.log2(coarse / fine) / 2 if fine > 1e-13 else 1.0
    assert order == pytest.approx(1.0, abs=0.2)

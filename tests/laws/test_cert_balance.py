"""The balance equation along the flow: drift of the stepper's order, for dense nets and CNNs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mirrorflow.diagnostics import balance, drift
from mirrorflow.losses import log_loss
from mirrorflow.maps import Cosh, HyperbolicEntropy, MapLike, Power, Quadratic, assign
from mirrorflow.nets import CNN, MLP, TwoLayer

MAPS: list[MapLike] = [Quadratic(), HyperbolicEntropy(0.1), Power(1.5), Cosh()]
MIXED: MapLike = {"weights.0": HyperbolicEntropy(0.5), "weights.1": Quadratic()}

# Runge-Kutta tableaux in the dual, with their orders.
STEPPERS = {
    1: ([[]], [1.0]),
    2: ([[], [0.5]], [0.0, 1.0]),
    4: ([[], [0.5], [0.0, 0.5], [0.0, 0.0, 1.0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}


def follow(
    net: nn.Module, x: Tensor, y: Tensor, mirror_map: MapLike, order: int, steps: int, time: float
) -> None:
    """Integrate d∇R(θ)/dt = −∇ℓ for `time` with an explicit stepper, exponential loss."""
    maps = assign(mirror_map, dict(net.named_parameters()))
    stages, weights = STEPPERS[order]

    def slope(u: dict[str, Tensor]) -> dict[str, Tensor]:
        primal = {k: maps[k].to_primal(v).requires_grad_() for k, v in u.items()}
        out = functional_call(net, primal, (x,))
        out = out[:, 0] if out.ndim == 2 and out.shape[1] == 1 else out
        loss = log_loss(out, y, "exponential").exp()
        grads = torch.autograd.grad(loss, list(primal.values()))
        return {k: -g for k, g in zip(primal, grads, strict=True)}

    u = {k: maps[k].to_dual(p.detach()) for k, p in net.named_parameters()}
    h = time / steps
    for _ in range(steps):
        ks: list[dict[str, Tensor]] = []
        for row in stages:
            ks.append(
                slope(
                    {
                        k: u[k]
                        + h
                        * sum(
                            (a * s[k] for a, s in zip(row, ks, strict=True)), torch.zeros_like(u[k])
                        )
                        for k in u
                    }
                )
            )
        u = {k: u[k] + h * sum(b * s[k] for b, s in zip(weights, ks, strict=True)) for k in u}
    with torch.no_grad():
        for k, p in net.named_parameters():
            p.copy_(maps[k].to_primal(u[k]))


def drift_after(make, mirror_map, order, steps, x, y, time=0.5):
    net = make()
    before = balance(net, mirror_map)
    follow(net, x, y, mirror_map, order, steps, time)
    return drift(before, balance(net, mirror_map))


def dense(activation: str = "smooth_relu", bias: bool = False):
    def make() -> nn.Module:
        g = torch.Generator().manual_seed(1)
        return TwoLayer(3, 4, activation, bias=bias, generator=g)  # type: ignore[arg-type]

    return make


def points(seed: int = 0, n: int = 6):
    g = torch.Generator().manual_seed(seed)
    y = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0)
    return torch.randn(n, 3, generator=g), y


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("mirror_map", [*MAPS[:2], MAPS[3], MIXED], ids=repr)
def test_drift_has_the_order_of_the_stepper(mirror_map, order):
    x, y = points()
    steps = {1: 200, 2: 100, 4: 10}[order]
    coarse, fine = (drift_after(dense(), mirror_map, order, n, x, y) for n in (steps, 2 * steps))
    assert coarse.layers > 1e-13  # above rounding, or the slope means nothing
    for name in ("absolute_layers", "absolute_units"):
        observed = math.log2(getattr(coarse, name) / getattr(fine, name))
        assert observed == pytest.approx(order, abs=0.2)


def test_quadratic_is_the_known_invariant():
    net = dense()()
    a, b = (p.detach() for p in net.parameters())
    found = balance(net, Quadratic())
    (difference,) = found.differences.values()
    assert difference == pytest.approx(float(a.square().sum() - b.square().sum()) / 2)
    expected = (a.square().sum(1) - b.square().sum(0)) / 2
    torch.testing.assert_close(found.units["weights.0"], expected)


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@pytest.mark.parametrize("activation", ["smooth_relu", "relu2"])
def test_first_layer_bias_and_activations_of_degree_two(mirror_map, activation):
    x, y = points()
    for labels in (y, -y):  # the equation holds before separation too
        coarse, fine = (
            drift_after(dense(activation, bias=True), mirror_map, 4, n, x, labels) for n in (20, 40)
        )
        assert fine.worst < 5e-4
        assert fine.worst < max(0.25 * coarse.worst, 1e-11)


def conv() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=True),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 3, 2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 4, 5, bias=False),
        nn.ReLU(),
        nn.Linear(5, 1, bias=False),
    )


def declared(pool: str):
    def make() -> nn.Module:
        g = torch.Generator().manual_seed(3)
        return CNN((1, 6, 6), (2, 3), (5,), pool=pool, generator=g)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@pytest.mark.parametrize(
    "make", [conv, *(declared(p) for p in ("avg", "max", "stride"))], ids=["own", "a", "m", "s"]
)
def test_cnn_channels_against_finite_differences_of_the_flow(make, mirror_map):
    """One tiny Euler step: the invariants move by O(h²), the energies themselves by O(h)."""
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(5, 1, 6, 6, generator=g), torch.tensor([1.0, -1, 1, 1, -1])
    h = 1e-5
    net = make()
    before = balance(net, mirror_map)
    assert [len(v) for v in before.units.values()] == [2, 3, 5]
    follow(net, x, y, mirror_map, 1, 1, h)
    after = balance(net, mirror_map)
    rates = [(after.layers[k] - before.layers[k]) / h for k in after.layers]
    # ν = Σ w_i q_i, the common rate of all layers.
    with torch.no_grad():
        q = y * make()(x).reshape(-1)
        nu = float((torch.exp(-q) * q).mean())
    assert rates == pytest.approx([nu] * 4, rel=2e-2, abs=1e-5)
    for name, value in after.units.items():
        change = (value - before.units[name]).abs().max()
        energy = (after.unit_energies[name] - before.unit_energies[name]).abs().max()
        assert change < 2e-3 * energy


def test_three_layers_with_a_map_each():
    x, y = points()
    maps: MapLike = {
        "weights.0": Power(1.5),
        "weights.1": HyperbolicEntropy(0.3),
        "weights.2": Quadratic(),
    }

    def make(eps: float):
        g = torch.Generator().manual_seed(4)
        return lambda: MLP((3, 4, 3, 1), "smooth_relu", eps=eps, generator=g.manual_seed(4))

    wide, narrow = (drift_after(make(e), maps, 4, 60, x, y, time=0.3) for e in (1e-2, 1e-3))
    assert wide.layers < 1e-12
    # Units before the last hidden layer: up to the smoothing of the next layer, O(eps²).
    assert 1e-7 < wide.units < 1e-5
    assert narrow.units < 0.03 * wide.units

"""A map per layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.func import functional_call

from mirrorflow import maps
from mirrorflow.exact import max_margin
from mirrorflow.flow import Implicit, mirror_flow
from mirrorflow.flow.logscale.build import scaled_maps
from mirrorflow.nets import MLP, TwoLayer


def problem() -> tuple[TwoLayer, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.where(torch.arange(8) % 2 == 0, 1.0, -1.0)
    x = torch.randn(8, 2, generator=g) * 0.5 + y[:, None] * torch.tensor([1.0, 0.6])
    return TwoLayer(2, 3, "smooth_relu", 0.1, bias=True, generator=g), x, y


MIXTURE = {"weights.0": maps.Quadratic(), "weights.1": maps.HyperbolicEntropy(0.2)}
RAPID = {"weights.0": maps.Cosh(1.0), "weights.1": maps.Quadratic()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "mixture",
    [MIXTURE, RAPID, {"weights.0": maps.Power(3.0), "weights.1": maps.Exponential()}],
    ids=["finite", "rapid first", "rapid last"],
)
def test_early_phase_against_scipy(mixture: dict[str, maps.SeparableMap]) -> None:
    net, x, y = problem()
    shapes = {name: p.shape for name, p in net.named_parameters()}
    sizes = [p.numel() for p in net.parameters()]

    def primal(u: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = torch.split(u, sizes)
        return {
            name: mixture[name].to_primal(part).reshape(shapes[name])
            for name, part in zip(shapes, parts, strict=True)
        }

    def rhs(_: float, u: np.ndarray) -> np.ndarray:
        theta = {k: v.requires_grad_() for k, v in primal(torch.from_numpy(u)).items()}
        loss = torch.exp(-y * functional_call(net, theta, (x,))).sum()
        return -torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, list(theta.values()))]
        ).numpy()

    start = torch.cat([mixture[n].to_dual(p.detach()).flatten() for n, p in net.named_parameters()])
    out = solve_ivp(rhs, (0, 2.0), start.numpy(), "DOP853", rtol=1e-9, atol=1e-11)
    expected = torch.cat([v.flatten() for v in primal(torch.from_numpy(out.y[:, -1])).values()])
    flow = mirror_flow(
        net, x, y, mixture, log_t_end=math.log(2.0), tol=2e-7, stepper=Implicit(order=4)
    )
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    np.testing.assert_allclose(theta, expected.numpy(), atol=2e-6)


def test_late_phase_balances_energies_and_not_norms() -> None:
    net, x, y = problem()
    flow = mirror_flow(net, x, y, MIXTURE, log_t_end=1e10)
    assert flow.stats.reason == "log_t_end was reached"
    assert np.max(flow.balance_drift) < 1e-4
    inner, outer = flow.direction[:, :9], flow.direction[:, 9:]
    ratio = np.linalg.norm(inner, axis=1) / np.abs(outer).sum(1)
    # E_1 = |W|^2/2 and E_2 ~ |a|_1 are equal, so |a|_1 grows like |W|^2
    assert ratio[-1] < 0.05 * ratio[0]
    # at a step, since the last row is interpolated, its margin apart from its weights
    norms = np.linalg.norm(inner[-2]), np.abs(outer[-2]).sum()
    with torch.no_grad():
        net.weights[0].copy_(torch.from_numpy(inner[-2]).reshape(3, 3))
        net.weights[1].copy_(torch.from_numpy(outer[-2]).reshape(1, 3))
        low = float((y * net(x)).min())
    assert flow.margin[-2] == pytest.approx(low / (norms[0] * norms[1]), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mixture",
    [MIXTURE, {"weights.0": maps.Power(3.0), "weights.1": maps.HyperbolicEntropy(0.2)}],
    ids=["quadratic", "power 3"],
)
def test_layers_that_grow_apart(mixture: dict[str, maps.MirrorMap]) -> None:
    """To t = exp(1e20): `|W|^p` grows like `|a|_1`, so the layers are `1e7` apart and more."""
    net, x, y = problem()
    flow = mirror_flow(net, x, y, mixture, log_t_end=1e20, tol=1e-4)
    assert flow.outcome == "converged"
    # the tip of a unit's cone was once relative to the largest weight of all layers
    assert flow.balance_drift.max() < 1e-5
    assert flow.stats.steps < 700


def test_one_map_by_name_is_that_map() -> None:
    net, x, y = problem()
    a = mirror_flow(net, x, y, maps.Power(1.5), log_t_end=3.0)
    b = mirror_flow(net, x, y, {"*": maps.Power(1.5)}, log_t_end=3.0)
    np.testing.assert_array_equal(a.direction, b.direction)


@pytest.mark.slow
@pytest.mark.parametrize("rapid", [maps.Cosh(1.0), maps.Exponential()], ids=repr)
@pytest.mark.parametrize(
    "finite", [maps.Quadratic(), maps.Power(3.0), maps.HyperbolicEntropy(0.2)], ids=repr
)
def test_energies_balance_beside_a_rapid_map(rapid: maps.MirrorMap, finite: maps.MirrorMap) -> None:
    """In true units, which doubles still hold at log t = 1e4: `|W|` is a logarithm of `|a|`."""
    net, x, y = problem()
    flow = mirror_flow(net, x, y, {"weights.0": rapid, "weights.1": finite}, log_t_end=1e4)
    assert flow.stats.reason == "log_t_end was reached"
    start = torch.cat([p.detach().flatten() for p in net.parameters()])
    end = torch.from_numpy(flow.direction[-2] * math.exp(flow.log_gauge[-2]))
    differences = [
        float(rapid.dual_energy(theta[:9]) - finite.dual_energy(theta[9:]))
        for theta in (start, end)
    ]
    energy = float(finite.dual_energy(end[9:]))
    assert energy > 1e3 * float(finite.dual_energy(start[9:]))
    assert abs(differences[1] - differences[0]) <= 1e-5 * 2 * energy  # of both layers


@pytest.mark.slow
@pytest.mark.parametrize("rapid", [maps.Cosh(1.0), maps.Exponential()], ids=repr)
def test_a_rapid_layer_tends_to_its_own_max_margin(rapid: maps.MirrorMap) -> None:
    """`f = a <w, x>`, w under a rapid map and a not: the l_inf max margin of the data."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(12, 4, generator=g, dtype=torch.float64)
    y = torch.sign(x @ torch.tensor([1.0, -0.7, 0.4, 0.1], dtype=torch.float64))
    net = MLP((4, 1, 1), "linear", generator=g).double()
    with torch.no_grad():
        net.weights[1].fill_(0.5)
    mixture = {"weights.0": rapid, "weights.1": maps.Quadratic()}
    flow = mirror_flow(net, x, y, mixture, log_t_end=1e20)
    assert flow.outcome == "converged"
    exact = max_margin(x, y, rapid.horizon()).margin
    assert flow.margin[-1] == pytest.approx(exact, rel=1e-6)
    assert np.nanmax(flow.balance_drift) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "mixture",
    [
        RAPID,
        {"weights.0": maps.Quadratic(), "weights.1": maps.Cosh(1.0)},
        {"weights.0": maps.DoubleExponential(), "weights.1": maps.Quadratic()},
        {"weights.0": maps.HyperbolicEntropy(0.1), "weights.1": maps.Exponential()},
        {"weights.0": maps.Spectral(maps.Cosh(1.0)), "weights.1": maps.Quadratic()},
    ],
    ids=str,
)
def test_rapid_maps_beside_others_late(mixture: dict[str, maps.MirrorMap]) -> None:
    net, x, y = problem()
    flow = mirror_flow(net, x, y, mixture, log_t_end=1e20)
    assert flow.stats.reason == "log_t_end was reached"
    assert flow.stats.steps < 2500
    assert np.nanmax(flow.balance_drift) < 1e-5
    assert flow.gap[-1] < 0.03


@pytest.mark.parametrize("p", [1.5, 2.0, 4.0])
def test_doubles_hold_a_rapid_map_beside_another_up_to_its_reach(p: float) -> None:
    net = MLP((1, 1, 1), "linear")
    mixture = {"weights.0": maps.Cosh(1.0), "weights.1": maps.Power(p)}
    form = scaled_maps(mixture, net, np.arange(2))
    rho = form.reach()
    outer = 2.0 * rho  # its logarithm: Q^2 = theta_1 theta_2, and theta_1 is of order one beside it
    inner = p * outer  # |theta_1| = log of the energy, which is |theta_2|^p
    x = np.array([inner * math.exp(-rho), math.exp(outer - rho)])
    form.at_level(rho, x, 0.0, 1e-7)
    u = form.dual(x)
    assert np.all(np.isfinite(u))
    assert np.all(u > 0.0)
    np.testing.assert_allclose(form.primal(u), x, rtol=1e-12)
    assert rho >= 130.0  # log t = Q^2 = e^260 and more

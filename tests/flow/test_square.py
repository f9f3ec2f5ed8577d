"""The flow of the square loss: it ends at rest, at the interpolant that theory names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from mirrorflow import maps
from mirrorflow.exact import diagonal_linear_flow, min_bregman
from mirrorflow.flow import KKT, Exact, Implicit, LogLog, Trajectory, compare_maps, mirror_flow
from mirrorflow.flow import verify as verify_flow
from mirrorflow.nets import Linear, TwoLayer


def problem() -> tuple[Tensor, Tensor, Linear]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 9, generator=g, dtype=torch.float64)
    y = torch.randn(4, generator=g, dtype=torch.float64)
    net = Linear(9).double()
    with torch.no_grad():
        net.weight.copy_(0.3 * torch.randn(9, generator=g, dtype=torch.float64))
    return x, y, net


def last(flow: Trajectory) -> Tensor:
    return torch.cat([p.detach().flatten() for p in flow.net().parameters()])


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Quadratic(),
        maps.Power(1.1),
        maps.Power(1.5),
        maps.Power(3),
        maps.HyperbolicEntropy(10.0),
        maps.HyperbolicEntropy(1e-6),
        maps.Logarithmic(0.01),
        maps.Mixed(1.5, 1.0, 1.0),
        maps.Cosh(0.4),
        maps.Exponential(),
        maps.DoubleExponential(),
        maps.PNorm(1.5),
        maps.Custom(gradient=lambda x: x + x**3, name="own"),
    ],
    ids=repr,
)
def test_it_ends_at_the_interpolant(mirror_map: maps.MirrorMap) -> None:
    x, y, net = problem()
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=300.0, loss="square")
    assert flow.outcome == "interpolates"
    want = min_bregman(x, y, mirror_map, net.weight.detach())
    torch.testing.assert_close(last(flow), want.weights, rtol=0, atol=1e-8)
    np.testing.assert_allclose(flow.multipliers[-1], want.multipliers, rtol=0, atol=1e-7)
    assert flow[-1].residual < 1e-8
    assert -1e-8 < flow.margin[-1] <= 0


def test_one_point_is_the_closed_form_at_every_time() -> None:
    """`d asinh(w/β)/dt = r x` against the diagonal net, whose clock runs four times as fast."""
    x, alpha = torch.tensor([1.0, 0.4], dtype=torch.float64), 0.1
    net = Linear(2).double()
    nn.init.zeros_(net.weight)
    mirror_map = maps.HyperbolicEntropy(2 * alpha**2)
    y = torch.ones(1, dtype=torch.float64)
    flow = mirror_flow(net, x[None], y, mirror_map, log_t_end=50.0, loss="square", tol=1e-10)
    for t in (0.5, 2.0, 5.0, 12.0):
        point = flow.at(math.log(t))
        weights = torch.from_numpy(point.direction) * math.exp(point.log_gauge)
        want = diagonal_linear_flow(x, 1.0, alpha, t / 4)
        torch.testing.assert_close(weights, want, rtol=3e-6, atol=0)
        residual = 1 - float(want @ x)
        assert point.log_loss == pytest.approx(math.log(residual**2 / 2), abs=1e-5)
        assert point.margins[0] == pytest.approx(-residual, rel=1e-5)


class Product(nn.Module):
    """`f = ⟨u ⊙ v, x⟩`."""

    def __init__(self, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(u), nn.Parameter(v)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.u * self.v)


def test_products_under_gradient_flow_are_hyperbolic_entropy() -> None:
    """`w = u ⊙ v`: `asinh(w/β)` moves at twice the gradient, with `β = |u₀² − v₀²|/2`."""
    x, y, _ = problem()
    u = torch.full((9,), 0.5, dtype=torch.float64)
    v = torch.full((9,), 0.3, dtype=torch.float64)
    deep = mirror_flow(Product(u, v), x, y, "quadratic", log_t_end=100.0, loss="square", tol=1e-10)
    assert deep.outcome == "interpolates"
    ends = last(deep)
    net = Linear(9).double()
    with torch.no_grad():
        net.weight.copy_(u * v)
    mirror_map = maps.HyperbolicEntropy((0.5**2 - 0.3**2) / 2)
    want = min_bregman(x, y, mirror_map, u * v)
    torch.testing.assert_close(ends[:9] * ends[9:], want.weights, rtol=0, atol=1e-8)
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=100.0, loss="square", tol=1e-10)
    for t in (0.1, 0.4, 1.0):
        one, other = deep.at(math.log(t)), flow.at(math.log(2 * t))
        products = one.direction[:9] * one.direction[9:] * math.exp(2 * one.log_gauge)
        weights = other.direction * math.exp(other.log_gauge)
        np.testing.assert_allclose(products, weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stepper", ["auto", "explicit"])
def test_a_net_against_scipy(stepper: str) -> None:
    """Two layers under cosh: LSODA on the primal equation, and the balance equation."""
    from mirrorflow.flow import Explicit

    g = torch.Generator().manual_seed(2)
    x = torch.randn(5, 3, generator=g, dtype=torch.float64)
    y = torch.randn(5, generator=g, dtype=torch.float64)
    net = TwoLayer(3, 6, "smooth_relu", 0.1, generator=g).double()
    mirror_map = maps.Cosh(0.5)
    chosen = Explicit() if stepper == "explicit" else "auto"
    flow = mirror_flow(
        net, x, y, mirror_map, log_t_end=1.0, loss="square", stepper=chosen, tol=1e-9
    )
    assert flow.outcome == "reached"
    assert np.nanmax(flow.balance_drift) < 1e-6
    copy = TwoLayer(3, 6, "smooth_relu", 0.1).double()

    def move(_t: float, theta: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        flat = torch.from_numpy(theta)
        with torch.no_grad():
            copy.weights[0].copy_(flat[:18].reshape(6, 3))
            copy.weights[1].copy_(flat[18:].reshape(1, 6))
        loss = 0.5 * (copy(x) - y).square().sum()
        grads = torch.autograd.grad(loss, list(copy.parameters()))
        slope = torch.cat([p.flatten() for p in grads]).numpy()
        return -slope / np.cosh(theta / 0.5)

    start = torch.cat([p.detach().flatten() for p in net.parameters()]).numpy()
    want = solve_ivp(move, (0, math.e), start, method="LSODA", rtol=1e-11, atol=1e-13).y[:, -1]
    np.testing.assert_allclose(last(flow).numpy(), want, rtol=0, atol=3e-7)


def test_targets_that_the_net_cannot_fit_end_above_zero() -> None:
    x, y, _ = problem()
    twice, other = torch.cat([x, x]), torch.cat([y, y + 1])
    net = Linear(9, generator=torch.Generator().manual_seed(0)).double()
    flow = mirror_flow(net, twice, other, "quadratic", log_t_end=300.0, loss="square")
    assert (flow.outcome, flow.stats.reason) == ("plateau", "the loss is at rest above zero")
    # Each pair of residuals is ±1/2 at the least-squares solution.
    np.testing.assert_allclose(flow.margins[-1], -0.5, rtol=0, atol=1e-6)


def test_several_outputs_are_fitted_together() -> None:
    g = torch.Generator().manual_seed(5)
    x = torch.randn(3, 5, generator=g, dtype=torch.float64)
    y = torch.randn(3, 2, generator=g, dtype=torch.float64)
    net = Linear(5, 2, generator=g).double()
    flow = mirror_flow(net, x, y, maps.Power(1.5), log_t_end=300.0, loss="square")
    assert flow.outcome == "interpolates"
    for k in range(2):
        want = min_bregman(x, y[:, k], maps.Power(1.5), net.weight[k].detach())
        torch.testing.assert_close(last(flow).reshape(2, 5)[k], want.weights, rtol=0, atol=1e-8)


def test_the_record_is_one_kind(tmp_path: Path) -> None:
    x, y, net = problem()
    seen = []
    flow = mirror_flow(net, x, y, "quadratic", log_t_end=300.0, loss="square", callback=seen.append)
    assert len(seen) == len(flow) - 1
    assert seen[-1] == flow[-1]
    flow.save(tmp_path / "flow.npz")
    assert Trajectory.load(tmp_path / "flow.npz") == flow
    assert verify_flow(flow).same
    assert verify_flow(flow).margins < 1e-8
    table = compare_maps(net, x, y, ["quadratic", "cosh(1)"], log_t_end=300.0, loss="square")
    assert table.to_pandas()["outcome"].tolist() == ["interpolates", "interpolates"]
    first = net(x).detach() - y
    np.testing.assert_allclose(flow.margins[0], -first.abs().numpy(), rtol=1e-12)
    # Under the quadratic map the residuals decay like exp(−XXᵀt).
    decay = torch.linalg.matrix_exp(-0.01 * x @ x.T) @ first
    np.testing.assert_allclose(flow.at(math.log(0.01)).margins, -decay.abs().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"log_t_end": LogLog(10.0)}, ValueError, "comes to rest in ordinary time"),
        ({"log_t_end": 1e30}, ValueError, "at most 600"),
        ({"stop": KKT(1e-3)}, ValueError, "no max-margin problem"),
        ({"relu": Exact()}, ValueError, "sliding modes are those of margins"),
        ({"stepper": Implicit(order=2)}, ValueError, "without options"),
        ({"checkpoint": "flow.npz"}, ValueError, "whose flows are short"),
        ({"y": torch.tensor([1, -1, 1, 1])}, TypeError, "as class labels have"),
        ({"y": torch.ones(3, dtype=torch.float64)}, ValueError, r"shape \(4,\)"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: dict[str, object], kind: type[Exception], match: str
) -> None:
    x, y, net = problem()
    arguments = {"y": y, "log_t_end": 10.0, "loss": "square", **options}
    with pytest.raises(kind, match=match):
        mirror_flow(net, x, mirror_map="quadratic", **arguments)  # type: ignore[arg-type]


def test_real_targets_have_no_margin() -> None:
    from mirrorflow.diagnostics import certify, margin

    x, y, net = problem()
    for call in (certify, margin):
        with pytest.raises(ValueError, match=r"min_bregman; for other nets no limit is known"):
            call(net, x, y, "quadratic")

"""Outcomes say what happened; every call ends; bad input is refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from mirrorflow import data, maps
from mirrorflow.diagnostics import certify
from mirrorflow.errors import RunError
from mirrorflow.flow import KKT, Implicit, LogLog, Trajectory, mirror_flow, verify
from mirrorflow.nets import MLP, Linear, TwoLayer


def blobs(n: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)
    return torch.randn(n, 2, generator=g) * 0.5 + y[:, None] * torch.tensor([1.0, 0.6]), y


def small_net(seed: int = 0, m: int = 6) -> TwoLayer:
    g = torch.Generator().manual_seed(seed)
    return TwoLayer(2, m, "smooth_relu", bias=True, generator=g)


def test_converged_and_shapes() -> None:
    x, y = blobs()
    net = small_net()
    before = [p.clone() for p in net.parameters()]
    t = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e12)
    assert t.outcome == "converged"
    assert t.log_t[-1] == 1e12
    assert np.isneginf(t.log_t[0])
    assert np.all(np.diff(t.log_t[1:]) > 0)
    steps, d = len(t), sum(p.numel() for p in net.parameters())
    assert t.direction.shape == (steps, d)
    assert t.multipliers.shape == t.margins.shape == (steps, len(x))
    for name in (
        "log_loss",
        "log_gauge",
        "margin",
        "gap",
        "natural_epsilon",
        "mean_excess",
        "balance_drift",
    ):
        assert getattr(t, name).shape == (steps,)
        assert np.all(np.isfinite(getattr(t, name)[1:])) or name == "mean_excess"
    np.testing.assert_allclose(np.linalg.norm(t.direction, axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(t.multipliers.sum(1), 1.0, rtol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    # what the record says is what the net does
    start = 0
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.from_numpy(t.direction[-1, start : start + p.numel()]).reshape(p.shape))
            start += p.numel()
        assert float((y * net(x)).min()) == pytest.approx(t.margin[-1], rel=1e-9)


@pytest.mark.slow
def test_far_beyond_doubles() -> None:
    """q = 1e1000, t = exp(1e1000): loss and time leave the doubles, the direction does not."""
    x, y = blobs()
    end = 1000 * math.log(10)
    for m in (maps.Quadratic(), maps.HyperbolicEntropy(0.1), maps.Power(3.0)):
        net = small_net(m=3) if m == maps.HyperbolicEntropy(0.1) else Linear(2)
        t = mirror_flow(net, x, y, m, log_t_end=LogLog(end))
        assert t.outcome == "converged", m
        assert t.log_log_t[-1] == end
        assert np.isinf(t.log_t[-1])
        assert t.margin[-1] > 0
        # q = margin Q^L: log q follows log log t to a relative 1e-3
        log_q = np.log(t.margin[-1]) + t.degree * t.log_gauge[-1]
        assert log_q == pytest.approx(t.log_log_t[-1], rel=1e-3)
        if m == maps.Quadratic():  # converged, and log ℓ = −log t (1 + e^(−z) …): log q is z
            for z in (710.2, 1234.5, end):
                at = t.at(log_log_t=z)
                assert at.log_gauge + math.log(at.margin) == pytest.approx(z, abs=1e-6)
                assert at.log_log_t == z


@pytest.mark.slow
@pytest.mark.parametrize("mirror_map", [maps.Cosh(1.0), maps.Exponential()], ids=repr)
def test_rapid_maps_far_beyond_doubles(mirror_map: maps.MirrorMap) -> None:
    """Two layers to q = e^1500: log q = log log t to what the dual's own size is of it."""
    x, y = blobs()
    end = 1500.0
    t = mirror_flow(small_net(m=3), x, y, mirror_map, log_t_end=LogLog(end))
    assert t.outcome == "converged"
    assert t.log_gauge[-1] > 740  # past 690, where Q is formed no more
    for z in (600.0, 900.0, end):
        at = t.at(log_log_t=z)
        assert math.log(at.margin) + 2.0 * at.log_gauge == pytest.approx(z, abs=1e-6)
        assert at.margin == pytest.approx(t.margin[-1], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror_map", "width"),
    [
        (maps.Cosh(0.5), 0.5),
        (maps.Exponential(), 1.0),
    ],
    ids=repr,
)
def test_linear_nets_under_rapid_maps_far_beyond_doubles(
    mirror_map: maps.MirrorMap, width: float
) -> None:
    """`|u| = e^(Q/s)` and `du/dt = e^(-γQ)`, so `t = e^((1/s + γ)Q)`: both shares of log t are of
    size Q, which is no double from log Q = 709 on."""
    x, y = blobs()
    end = 850.0
    t = mirror_flow(Linear(2), x, y, mirror_map, log_t_end=LogLog(end))
    assert t.outcome == "converged"
    assert t.log_log_t[-1] == end
    for z in (500.0, 650.0, 700.0, 712.3, 777.7, end):
        at = t.at(log_log_t=z)
        assert math.log(1.0 / width + at.margin) + at.log_gauge == pytest.approx(z, abs=1e-6)
        assert at.margin == pytest.approx(t.margin[-1], rel=1e-6)


def test_negative_entropy_far_beyond_doubles() -> None:
    """To q = 1e1000 on the orthant: the l1 max margin there, by a linear program."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5, generator=g)
    y = torch.sign(x @ torch.tensor([1.0, 0.6, 0.3, 0.0, 0.2]))
    net = Linear(5)
    with torch.no_grad():
        net.weight.fill_(0.3)
    flow = mirror_flow(net, x, y, maps.NegativeEntropy(), log_t_end=LogLog(1000 * math.log(10)))
    assert flow.outcome == "converged"
    signed = (y[:, None] * x).numpy()
    best = linprog(
        np.append(np.zeros(5), -1.0),
        A_ub=np.column_stack([-signed, np.ones(20)]),
        b_ub=np.zeros(20),
        A_eq=np.append(np.ones(5), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * 5 + [(None, None)],
    )
    assert flow.margin[-1] == pytest.approx(-best.fun, rel=1e-6)
    np.testing.assert_allclose(flow.direction[-1], best.x[:5], atol=1e-6)
    log_q = math.log(flow.margin[-1]) + flow.log_gauge[-1]
    assert log_q == pytest.approx(flow.log_log_t[-1], abs=1e-6)


def test_values_at_a_log_log_time() -> None:
    """Within the doubles `at(log_log_t=z)` is `at(exp(z))`; beyond the end it is refused."""
    x, y = blobs()
    t = mirror_flow(Linear(2), x, y, maps.Quadratic(), log_t_end=LogLog(5.0))
    assert t.log_log_t[-1] == pytest.approx(5.0, abs=1e-14)
    assert t.at(log_log_t=3.0).margin == t.at(math.exp(3.0)).margin
    with pytest.raises(ValueError, match="pass one of log_t and log_log_t"):
        t.at()
    far = mirror_flow(Linear(2), x, y, maps.Quadratic(), log_t_end=LogLog(720.0))
    with pytest.raises(ValueError, match="log_log_t = 721.0 is outside"):
        far.at(log_log_t=721.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror_map", "reach"),
    [
        (maps.DoubleExponential(), math.log(690.0)),
        (maps.Scaled(maps.Power(3.0), 2.0), 700.0 / 3.0),
    ],
    ids=repr,
)
def test_past_the_doubles_of_a_form_a_flow_stalls(mirror_map: maps.MirrorMap, reach: float) -> None:
    x, y = blobs()
    t = mirror_flow(Linear(2), x, y, mirror_map, log_t_end=LogLog(1500.0))
    assert t.outcome == "stalled"
    assert "leaves the doubles" in t.stats.reason
    assert reach < t.log_gauge[-1] < reach + 2.0
    assert np.isfinite(t.margin).all()


def test_not_separable() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([1.0, -1.0, 1.0])
    for loss in ("exponential", "logistic"):
        t = mirror_flow(Linear(2), x, y, maps.Quadratic(), log_t_end=1e3, loss=loss)
        assert t.outcome == "not_separable"
        assert t.margin[-1] <= 0
        assert t.stats.steps < 1000


def test_a_saddle_at_the_start_is_named() -> None:
    x, y = blobs()
    net = small_net()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    t = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1.0)
    assert t.outcome == "stalled"
    assert "gradient vanishes" in t.stats.reason


def test_reached_is_not_converged() -> None:
    """Index 1 falls like 1/log log t: at t = e^1000 the residual is far from small."""
    x, y = torch.tensor([[1.0, 2.0]]), torch.ones(1)
    t = mirror_flow(Linear(2), x, y, maps.HyperbolicEntropy(1.0), log_t_end=1e3)
    assert t.outcome == "reached"
    assert t.natural_epsilon[-1] > 1e-2


def test_stalled_keeps_what_it_has() -> None:
    x, y = blobs()
    t = mirror_flow(small_net(), x, y, maps.Quadratic(), log_t_end=1e12, max_steps=25)
    assert t.outcome == "stalled"
    assert "max_steps = 25" in t.stats.reason
    assert 2 <= len(t) <= 26
    assert t.log_t[-1] < 1e12


def test_stops_at_convergence_when_asked() -> None:
    x, y = blobs()
    t = mirror_flow(small_net(), x, y, maps.Quadratic(), log_t_end=1e100, stop=KKT(1e-2))
    assert t.outcome == "converged"
    assert t.log_t[-1] < 1e100
    assert max(t.natural_epsilon[-1], t.mean_excess[-1]) <= 1e-2


def test_save_and_load(tmp_path: Path) -> None:
    x, y = blobs()
    t = mirror_flow(small_net(), x, y, maps.Power(1.5), log_t_end=50.0)
    t.save(tmp_path / "flow.npz")
    back = Trajectory.load(tmp_path / "flow.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["flow.npz"]
    assert back.outcome == t.outcome
    assert back.stats == t.stats
    for name in ("log_t", "direction", "rate", "multipliers"):
        np.testing.assert_array_equal(getattr(back, name), getattr(t, name))
    np.testing.assert_array_equal(back.at(20.0).direction, t.at(20.0).direction)
    (tmp_path / "flow.npz").write_bytes(b"not a zip")
    with pytest.raises(RunError, match="does not hold a trajectory"):
        Trajectory.load(tmp_path / "flow.npz")


@pytest.mark.slow
def test_interpolation_is_as_accurate_as_the_steps() -> None:
    x, y = blobs()
    net = small_net(m=3)
    coarse = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e3, tol=1e-4)
    fine = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e3, tol=1e-6)
    for log_t in (-8.0, -3.3, 0.0, 1.7, 12.0, 333.3):
        a, b = coarse.at(log_t), fine.at(log_t)
        assert np.abs(a.direction - b.direction).max() < 5e-4
        assert a.log_gauge == pytest.approx(b.log_gauge, abs=5e-4)
        assert a.log_loss == pytest.approx(b.log_loss, rel=5e-4, abs=5e-4)
        assert a.margin == pytest.approx(b.margin, abs=5e-4)
    with pytest.raises(ValueError, match="outside the trajectory"):
        coarse.at(2e3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Quadratic(),
        maps.HyperbolicEntropy(0.1),
        maps.Logarithmic(0.01),
        maps.Cosh(1.0),
        maps.Power(1.2),
    ],
    ids=repr,
)
def test_the_outcome_is_that_of_the_certificate(mirror_map: maps.MirrorMap) -> None:
    """The flow's own residuals and an independent fit of the multipliers on the final weights."""
    x, y = blobs()
    net = small_net()
    for end in (1e2, 1e30):
        t = mirror_flow(net, x, y, mirror_map, log_t_end=end)
        final, start = small_net(), 0
        with torch.no_grad():
            for p in final.parameters():
                part = t.direction[-1, start : start + p.numel()]
                p.copy_(torch.from_numpy(part).reshape(p.shape))
                start += p.numel()
        found = certify(final, x, y, mirror_map)
        own = max(t.natural_epsilon[-1], t.mean_excess[-1], t.natural_slack[-1])
        fitted = max(found.epsilon, found.delta, found.slack)
        assert fitted < 3 * own + 1e-9
        assert own < 10 * fitted + 1e-9
        if fitted < 3e-4 or fitted > 1e-3:
            assert (t.outcome == "converged") == (fitted <= 1e-3)


def test_any_module_goes_through_autograd() -> None:
    """A plain module gives the same flow as the library's net with analytic derivatives.

    A tolerance that never binds: a plain module does not say what is balanced, which counts in it.
    """
    x, _ = blobs(6)
    own = MLP((2, 3, 3), "linear", generator=torch.Generator().manual_seed(1))
    plain = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        for a, b in zip(plain.parameters(), own.parameters(), strict=True):
            a.copy_(b)
    labels = (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()
    flows = [
        mirror_flow(
            net,
            x,
            labels,
            maps.Quadratic(),
            log_t_end=-1.0,
            loss="cross_entropy",
            tol=1e-2,
            stepper=Implicit(max_step=0.02),
        )
        for net in (own, plain)
    ]
    np.testing.assert_allclose(flows[0].direction[-1], flows[1].direction[-1], rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_above_order_two_the_default_tolerance_ends_where_a_finer_one_does() -> None:
    g = torch.Generator().manual_seed(0)
    net = TwoLayer(2, 6, "smooth_relu", bias=True, init_scale=0.5, generator=g).double()
    points = data.random_labels(5, 2, seed=0)
    flow = mirror_flow(net, points.x, points.y, maps.Power(3.0), log_t_end=1e10)
    assert flow.stats.tol == 1e-5
    assert repr(flow).startswith("Trajectory('converged', log_t=1e+10, margin=")
    assert verify(flow).same
    short = mirror_flow(net, points.x, points.y, maps.Power(1.5), log_t_end=1.0)
    assert short.stats.tol == 1e-4

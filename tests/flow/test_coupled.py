"""Flows under maps that couple the entries of a tensor: p-norms and spectral maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch.func import functional_call, jacrev

from mirrorflow import maps
from mirrorflow.exact import max_margin
from mirrorflow.flow import Exact, Explicit, Implicit, Krylov, mirror_flow
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.logscale.place import Place
from mirrorflow.losses import log_loss
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer

COUPLED = [
    maps.PNorm(1.3),
    maps.PNorm(2.0),
    maps.PNorm(3.5),
    maps.Spectral(maps.Quadratic()),
    maps.Spectral(maps.Power(1.5)),
    maps.Spectral(maps.Power(3.0)),
    maps.Spectral(maps.HyperbolicEntropy(0.1)),
    maps.Spectral(maps.Logarithmic(0.3)),
    maps.Spectral(maps.Mixed(3.0)),
    maps.Spectral(maps.Cosh(1.0)),
    maps.Spectral(maps.Exponential()),
]
SHAPES = [(3, 2), (1, 4), (2, 5)]


def drawn(seed: int) -> np.ndarray:
    """The entries of three tensors, one of them with two equal singular values."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=s) for s in SHAPES]
    left, _, right = np.linalg.svd(parts[0], full_matrices=False)
    parts[0] = left @ right if seed % 3 == 0 else parts[0]
    return np.concatenate([p.ravel() for p in parts])


@pytest.mark.parametrize("mirror_map", COUPLED, ids=repr)
@given(seed=st.integers(0, 50), rho=st.sampled_from([-1.0, 0.0, 2.0]))
def test_agrees_with_the_map(mirror_map: maps.MirrorMap, seed: int, rho: float) -> None:
    sizes = [math.prod(s) for s in SHAPES]
    shuffled = np.random.default_rng(seed + 1).permutation(sum(sizes))
    places = [
        Place.of(at, shape)
        for at, shape in zip(np.split(shuffled, np.cumsum(sizes)[:-1]), SHAPES, strict=True)
    ]
    form = scaled_map(mirror_map, places)
    entries = drawn(seed)
    x = np.empty_like(entries)
    x[shuffled] = entries
    x /= form.gauge(x)
    form.at_level(rho, x, 0.0, 1e-7)
    unit = math.exp(form.scale)

    def gradient(flat: torch.Tensor) -> torch.Tensor:
        parts = torch.split(flat[torch.from_numpy(shuffled)], sizes)
        new = [mirror_map.to_dual(p.reshape(s)) for p, s in zip(parts, SHAPES, strict=True)]
        out = torch.cat([p.flatten() for p in new])
        return torch.zeros_like(flat).index_put((torch.from_numpy(shuffled),), out)

    true = torch.from_numpy(x * math.exp(rho))
    u = form.dual(x)
    np.testing.assert_allclose(u * unit, gradient(true).numpy(), rtol=1e-11, atol=1e-13 * unit)
    np.testing.assert_allclose(form.primal(u), x, rtol=1e-9, atol=1e-13)
    tensors = [true.numpy()[p.at].reshape(s) for p, s in zip(places, SHAPES, strict=True)]
    energy = sum(float(mirror_map.dual_energy(torch.from_numpy(t))) for t in tensors)
    assert form.energy(x, u).sum() * math.exp(rho) * unit == pytest.approx(energy, rel=1e-9)
    index = mirror_map.index
    gauges = [float(mirror_map.horizon().gauge(torch.from_numpy(t))) for t in tensors]
    joint = max(gauges) if math.isinf(index) else sum(g**index for g in gauges) ** (1 / index)
    assert form.gauge(x) * math.exp(rho) == pytest.approx(joint, rel=1e-10)

    # The derivative: finite differences, since autograd fails where singular values meet.
    h, d = 1e-6, len(x)
    columns = [(form.dual(x + h * e) - form.dual(x - h * e)) / (2 * h) for e in np.eye(d)]
    hessian = np.stack(columns, 1)
    basis, coupling = form.basis(x, u), form.coupling(x, u)
    basis = np.eye(d) if basis is None else basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(d), atol=1e-12)
    built = basis @ np.diag(form.slope(x, u)) @ basis.T
    if coupling is not None:
        built += coupling[0] @ np.diag(coupling[1]) @ coupling[0].T
    tolerance = 1e-4 * np.abs(hessian).max()
    if mirror_map.index >= 2:  # below, second derivatives are unbounded near zero entries
        np.testing.assert_allclose(built, hessian, atol=tolerance)
    g = np.random.default_rng(seed + 2).normal(size=d)
    moved = form.mobilise(x, u, g)
    stiff = basis @ form.stiffen(x, u, basis.T @ moved)
    np.testing.assert_allclose(stiff, g, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(form.grown(x, u, 0.3), form.dual(x * math.exp(0.3)), rtol=1e-9)
    y = 1.2 * x
    pull = (form.radial_pull(x, y, form.dual(y)), float(x @ _along(form.dual, y)))
    assert pull[0] == pytest.approx(pull[1], rel=1e-5)


def _along(dual, y):  # type: ignore[no-untyped-def]
    """The derivative of the dual along the ray through y."""
    return (dual(y * (1 + 1e-6)) - dual(y * (1 - 1e-6))) / 2e-6


def test_the_derivative_is_that_of_autograd() -> None:
    """Where singular values are distinct; with the maps below order 2, too."""
    for mirror_map in COUPLED:
        matrix = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 4)))
        places = [Place.of(np.arange(12), (3, 4))]
        form = scaled_map(mirror_map, places)
        x = matrix.numpy().ravel()
        form.at_level(0.0, x, 0.0, 1e-7)
        u = form.dual(x)
        hessian = jacrev(mirror_map.to_dual)(matrix).reshape(12, 12).numpy() / math.exp(form.scale)
        basis, coupling = form.basis(x, u), form.coupling(x, u)
        basis = np.eye(12) if basis is None else basis
        built = basis @ np.diag(form.slope(x, u)) @ basis.T
        if coupling is not None:
            built += coupling[0] @ np.diag(coupling[1]) @ coupling[0].T
        np.testing.assert_allclose(built, hessian, rtol=1e-8, atol=1e-10, err_msg=repr(mirror_map))


def classes(seed: int = 0) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 5, generator=g, dtype=torch.float64)
    y = (x @ torch.randn(5, 4, generator=g, dtype=torch.float64)).argmax(1)
    return Linear(5, 4, generator=g).double(), x, y


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror_map", "rel"),
    [
        (maps.PNorm(1.3), 1e-6),
        (maps.PNorm(3.0), 1e-6),
        (maps.Spectral(maps.Power(1.5)), 1e-6),
        (maps.Spectral(maps.Power(3.0)), 1e-6),
        # the direction is still 1/log(log t) from its limit; the margin, second order, less
        (maps.Spectral(maps.HyperbolicEntropy(0.01)), 1e-4),
        (maps.Spectral(maps.Cosh(1.0)), 1e-6),
    ],
    ids=repr,
)
def test_limit_of_a_linear_net(mirror_map: maps.MirrorMap, rel: float) -> None:
    """Weights are a (4, 5) matrix; at t = exp(1e100) the margin is that of the convex program."""
    net, x, y = classes()
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=1e100, loss="cross_entropy")
    solution = max_margin(x, y, mirror_map.horizon(), classes=4)
    assert flow.stats.reason == "log_t_end was reached"
    assert flow.stats.failed < 50
    assert flow.margin[-1] == pytest.approx(solution.margin, rel=rel)


@pytest.mark.parametrize("log10_t", [10, 100, 1000])
def test_one_point_under_a_p_norm(log10_t: float) -> None:
    """From 0 the dual stays on the ray of x: `q = log(1 + t |x|*^2)`, `θ ∝ sgn x |x|^(p*-1)`."""
    p = 3.0
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    net = Linear(3).double()
    torch.nn.init.zeros_(net.weight)
    log_t = log10_t * math.log(10)
    flow = mirror_flow(net, x, torch.ones(1), maps.PNorm(p), log_t_end=log_t, tol=1e-8)
    size = float(maps.LpHorizon(p).dual_gauge(x[0]))
    assert flow.log_loss[-1] == pytest.approx(-log_t - 2 * math.log(size), rel=1e-6)
    expected = maps.PNorm(p).to_primal(x[0]).numpy()
    expected = expected / float(maps.LpHorizon(p).gauge(torch.from_numpy(expected)))
    np.testing.assert_allclose(flow.direction[-1], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("log10_t", [10, 100, 1000])
def test_one_point_under_a_spectral_map(log10_t: float) -> None:
    """Two classes, one point: the dual is `s (e_1 - e_2) x'`, of one singular value `a s`, and
    `q = a r*'(a s)`; for p = 3, `t = 2/a^3 ((q - 1) e^q + 1)`."""
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    net = Linear(3, 2).double()
    torch.nn.init.zeros_(net.weight)
    log_t = log10_t * math.log(10)
    m = maps.Spectral(maps.Power(3.0))
    flow = mirror_flow(net, x, torch.zeros(1).long(), m, log_t_end=log_t, tol=1e-8)
    a = math.sqrt(2.0) * float(x.norm())
    q = -float(flow.log_loss[-1])
    late = math.log(2) - 3 * math.log(a) + q + math.log(q - 1 + math.exp(-min(q, 700.0)))
    assert late == pytest.approx(log_t, rel=1e-6)
    expected = np.outer([1.0, -1.0], x[0].numpy())
    np.testing.assert_allclose(
        flow.direction[-1], (expected / np.linalg.norm(expected)).ravel(), atol=1e-6
    )


def problem(hidden: tuple[int, ...] = (4,)) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(6, 3, generator=g, dtype=torch.float64)
    y = torch.sign(torch.randn(6, generator=g, dtype=torch.float64))
    if len(hidden) == 1:
        two = TwoLayer(3, hidden[0], "smooth_relu", 0.1, bias=True, generator=g)
        return two.double(), x, y
    return MLP((3, *hidden, 1), "smooth_relu", eps=0.1, generator=g).double(), x, y


def reference(
    net: HomogeneousNet,
    x: torch.Tensor,
    y: torch.Tensor,
    chosen: dict[str, maps.MirrorMap],
    t: float,
) -> np.ndarray:
    """`du/dt = −∇ℓ(∇R*(u))` tensor by tensor, by autograd and DOP853."""
    shapes = {name: p.shape for name, p in net.named_parameters()}
    sizes = [p.numel() for p in net.parameters()]

    def primal(u: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = zip(shapes.items(), torch.split(u, sizes), strict=True)
        return {n: chosen[n].to_primal(part.reshape(s)) for (n, s), part in parts}

    def rhs(_: float, u: np.ndarray) -> np.ndarray:
        theta = {k: v.requires_grad_() for k, v in primal(torch.from_numpy(u)).items()}
        loss = log_loss(functional_call(net, theta, (x,)), y, "exponential", reduction="sum").exp()
        found = torch.autograd.grad(loss, list(theta.values()))
        return -torch.cat([g.flatten() for g in found]).numpy()

    start = torch.cat([chosen[n].to_dual(p.detach()).flatten() for n, p in net.named_parameters()])
    out = solve_ivp(rhs, (0, t), start.numpy(), "DOP853", rtol=1e-9, atol=1e-11)
    return torch.cat([v.flatten() for v in primal(torch.from_numpy(out.y[:, -1])).values()]).numpy()


MIXTURE = {"weights.0": maps.Spectral(maps.Power(3.0)), "weights.1": maps.PNorm(1.5)}


@pytest.mark.slow
@pytest.mark.parametrize("mirror_map", [*COUPLED, MIXTURE], ids=repr)
@pytest.mark.parametrize("method", ["implicit", "explicit"])
def test_early_phase_against_scipy(mirror_map: maps.MapLike, method: str) -> None:
    net, x, y = problem()
    chosen = (
        mirror_map
        if isinstance(mirror_map, dict)
        else {name: mirror_map for name, _ in net.named_parameters()}
    )
    stepper = Implicit(order=4) if method == "implicit" else Explicit()
    tol = 2e-7 if method == "implicit" else 2e-8  # p > 2 loses a digit or two at zero crossings
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=math.log(2.0), tol=tol, stepper=stepper)
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    expected = reference(net, x, y, chosen, 2.0)
    assert np.linalg.norm(theta - expected) <= 2e-6 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror_map", "hidden"),
    [
        (maps.PNorm(1.5), (8,)),
        (maps.PNorm(3.0), (8,)),
        (maps.Spectral(maps.Power(3.0)), (8,)),
        (maps.Spectral(maps.Power(1.5)), (5, 5)),
        ({"weights.0": maps.Spectral(maps.Power(3.0)), "*": maps.Quadratic()}, (8,)),
        (maps.Spectral(maps.Cosh(1.0)), (8,)),
    ],
    ids=repr,
)
def test_late_phase(mirror_map: maps.MapLike, hidden: tuple[int, ...]) -> None:
    """To t = exp(1e30), a rapid map to exp(1e15): layers balance, and the direction is that of a
    KKT point, or nearly."""
    net, x, y = problem(hidden)
    end = 1e15 if mirror_map == maps.Spectral(maps.Cosh(1.0)) else 1e30
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=end)
    assert flow.outcome in ("converged", "plateau")
    assert flow.gap[-1] < 1e-6
    assert flow.mean_excess[-1] < 1e-6
    assert flow.balance_drift.max() < 1e-5


@pytest.mark.slow
def test_spectral_quadratic_is_quadratic() -> None:
    net, x, y = problem((6,))
    a, b = (
        mirror_flow(net, x, y, m, log_t_end=1e3, tol=1e-6)
        for m in (maps.Spectral(maps.Quadratic()), maps.PNorm(2.0))
    )
    c = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e3, tol=1e-6)
    for other in (a, b):
        for log_t in (0.0, 10.0, 1e3):
            assert other.at(log_t).margin == pytest.approx(c.at(log_t).margin, rel=3e-5)


@pytest.mark.slow
def test_a_spectral_flow_sees_no_rotation_of_the_inputs() -> None:
    net, x, y = problem((6,))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())
    turned = TwoLayer(3, 6, "smooth_relu", 0.1, bias=True).double()
    with torch.no_grad():
        first, second = net.parameters()
        first_turned = torch.cat([first[:, :3] @ turn.Q.T, first[:, 3:]], 1)
        torch.nn.utils.vector_to_parameters(
            torch.cat([first_turned.flatten(), second.flatten()]), turned.parameters()
        )
    m = maps.Spectral(maps.Power(3.0))
    a = mirror_flow(net, x, y, m, log_t_end=1e10)
    b = mirror_flow(turned, x @ turn.Q.T, y, m, log_t_end=1e10)
    for log_t in (0.0, 10.0, 1e10):
        assert a.at(log_t).margin == pytest.approx(b.at(log_t).margin, rel=1e-4)


@pytest.mark.parametrize(
    ("mirror_map", "options", "text"),
    [
        (maps.SimplexEntropy(1), {}, "small steps with optim.MirrorDescent"),
        (maps.PNorm(3.0), {"stepper": Krylov()}, r"stepper = Krylov\(\) does not hold for PNorm"),
        (maps.PNorm(3.0), {"relu": Exact()}, "need a map that is separable"),
    ],
    ids=["simplex", "krylov", "kinks"],
)
def test_what_is_not_followed(
    mirror_map: maps.MirrorMap, options: dict[str, Any], text: str
) -> None:
    net = TwoLayer(3, 4, "relu").double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.abs() / p.abs().sum(-1, keepdim=True))
    _, x, y = problem()
    with pytest.raises(ValueError, match=text):
        mirror_flow(net, x, y, mirror_map, log_t_end=1.0, **options)


@given(seed=st.integers(0, 50))
def test_the_subgradient_of_the_spectral_norm(seed: int) -> None:
    """Of two tensors, the first with a double largest value: `<s, x> = Q(x)` and `Q°(s) = 1`."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (3, 4))
    first = (left * np.array([2.0, 2.0, 0.5])) @ right[:3]
    second = rng.normal(size=(2, 2))
    second *= 2.0 / np.linalg.norm(second, 2)
    x = np.concatenate([first.ravel(), second.ravel()])
    places = [Place.of(np.arange(12), (3, 4)), Place.of(np.arange(12, 16), (2, 2))]
    form = scaled_map(maps.Spectral(maps.Cosh(1.0)), places)
    for target in (rng.normal(size=16), -x):
        s = form.subgradient(x, target)
        assert float(s @ x) == pytest.approx(form.gauge(x), rel=1e-6)
        assert form.dual_gauge(s) == pytest.approx(1.0, rel=1e-6)
    # a point of the set is its own nearest
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    inner = (turn * np.array([0.7, 0.2])) @ turn.T
    a, _, b = np.linalg.svd(second)
    known = [left[:, :2] @ inner @ right[:2], 0.1 * np.outer(a[:, 0], b[0])]
    s = np.concatenate([part.ravel() for part in known])
    np.testing.assert_allclose(form.subgradient(x, s), s, atol=1e-9)


def test_a_dense_step_that_is_too_large() -> None:
    net = TwoLayer(3, 500).double()
    _, x, y = problem()
    with pytest.raises(ValueError, match="a matrix of 2000 x 2000 in each step, beyond 1500"):
        mirror_flow(net, x, y, maps.Spectral(maps.Power(3.0)), log_t_end=1.0)

"""Identities that every mirror map and every horizon obeys, on random points."""

from __future__ import annotations

import math

import pytest
import torch
from every_map import ALL, BLOCK, SEPARABLE
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mirrorflow import maps

HORIZONS = [maps.LpHorizon(p) for p in (1, 1.3, 2, 5, math.inf)] + [
    maps.SchattenHorizon(p) for p in (1, 2, 3, math.inf)
]

# From 1e-6 to 3 in size: beyond, doubly exponential maps leave the floats.
entry = st.builds(
    lambda exponent, sign: sign * 10**exponent,
    st.floats(-6, 0.45),
    st.sampled_from([-1.0, 1.0]),
)
points = st.lists(entry, min_size=6, max_size=6).map(lambda v: torch.tensor(v).reshape(2, 3))
scales = st.floats(-3, 3).map(lambda e: 10**e)


def domain(mirror_map: maps.MirrorMap, x: Tensor) -> Tensor:
    if isinstance(mirror_map, maps.SimplexEntropy):
        return torch.softmax(x, -1)
    return x.abs() if isinstance(mirror_map, maps.NegativeEntropy) else x


# Many maps times many laws: a quarter of the profile's examples each is enough.
few = settings(max_examples=settings.default.max_examples // 4)
every = pytest.mark.parametrize("mirror_map", ALL, ids=repr)


@every
@few
@given(x=points)
def test_round_trip(mirror_map: maps.MirrorMap, x: Tensor) -> None:
    x = domain(mirror_map, x)
    back = mirror_map.to_primal(mirror_map.to_dual(x))
    largest = 1e-11 * float(x.abs().max())
    torch.testing.assert_close(
        back, x, rtol=1e-11, atol=largest if isinstance(mirror_map, maps.Spectral) else 0
    )


@every
@few
@given(x=points, y=points)
def test_fenchel_young(mirror_map: maps.MirrorMap, x: Tensor, y: Tensor) -> None:
    """`R(x) + R*(u) ≥ ⟨u, x⟩` with equality at `u = ∇R(x)`; E is `R*(∇R(x))`."""
    x, y = domain(mirror_map, x), domain(mirror_map, y)
    u, v = mirror_map.to_dual(x), mirror_map.to_dual(y)
    inner = (u * x).sum()
    size = float(mirror_map.potential(x).abs() + (u * x).abs().sum()) + 1e-300
    total = mirror_map.potential(x) + mirror_map.conjugate(u)
    assert abs(float(total - inner)) <= 1e-12 * size
    assert abs(float(mirror_map.dual_energy(x) - mirror_map.conjugate(u))) <= 1e-11 * size
    other = mirror_map.potential(x) + mirror_map.conjugate(v) - (v * x).sum()
    assert float(other) >= -1e-12 * (size + float((v * x).abs().sum()))


@every
@few
@given(x=points, y=points, z=points)
def test_bregman(mirror_map: maps.MirrorMap, x: Tensor, y: Tensor, z: Tensor) -> None:
    """`D ≥ 0`, `D(x, x) = 0`, and the three-point identity
    `D(x, z) = D(x, y) + D(y, z) + ⟨∇R(y) − ∇R(z), x − y⟩`."""
    x, y, z = (domain(mirror_map, t) for t in (x, y, z))
    d = mirror_map.bregman
    assert float(d(x, x)) == 0 or isinstance(mirror_map, maps.PNorm | maps.Spectral)
    terms = [d(x, y), d(y, z), ((mirror_map.to_dual(y) - mirror_map.to_dual(z)) * (x - y)).sum()]
    size = sum(float(mirror_map.dual_energy(t).abs()) for t in (x, y, z))
    size += sum(float(t.abs()) for t in terms) + float(mirror_map.potential(x).abs())
    assert float(d(x, y)) >= (-1e-13 * size if mirror_map in BLOCK else 0)
    assert abs(float(d(x, z) - sum(terms))) <= 1e-11 * size


@every
@few
@given(x=points)
def test_the_gradient_of_the_potential_is_the_dual(mirror_map: maps.MirrorMap, x: Tensor) -> None:
    x = domain(mirror_map, x).requires_grad_()
    (gradient,) = torch.autograd.grad(mirror_map.potential(x), x)
    u = mirror_map.to_dual(x.detach())
    if isinstance(mirror_map, maps.SimplexEntropy):
        gradient = gradient - 1  # the dual is defined up to a constant along dim
    torch.testing.assert_close(gradient, u, rtol=1e-9, atol=1e-9 * float(u.abs().max()))


@pytest.mark.parametrize("mirror_map", [*SEPARABLE, maps.NegativeEntropy()], ids=repr)
@few
@given(x=points)
def test_the_hessian_is_the_derivative_of_the_dual(
    mirror_map: maps.SeparableMap, x: Tensor
) -> None:
    x = domain(mirror_map, x).requires_grad_()
    (derivative,) = torch.autograd.grad(mirror_map.to_dual(x).sum(), x)
    torch.testing.assert_close(derivative, mirror_map.hessian(x.detach()), rtol=1e-10, atol=0)


@every
@few
@given(x=points, y=points)
def test_the_dual_map_is_monotone(mirror_map: maps.MirrorMap, x: Tensor, y: Tensor) -> None:
    x, y = domain(mirror_map, x), domain(mirror_map, y)
    rise = ((mirror_map.to_dual(x) - mirror_map.to_dual(y)) * (x - y)).sum()
    assert rise >= -1e-12 * float((mirror_map.to_dual(x) * x).abs().sum())


@every
@few
@given(x=points, y=points, size=st.floats(-8, 0))
def test_the_step_is_the_step_of_the_dual(
    mirror_map: maps.MirrorMap, x: Tensor, y: Tensor, size: float
) -> None:
    x, delta = domain(mirror_map, x), 10**size * y
    u = mirror_map.to_dual(x)
    plain = mirror_map.to_primal(u - delta)
    moved = mirror_map.step(x, delta)
    if mirror_map in BLOCK or isinstance(mirror_map, maps.SimplexEntropy):
        slack = torch.full_like(x, 1e-9 * float(plain.abs().max()))
    else:
        # What the last digits of u and delta are worth in the primal.
        slack = 1e-13 * (u.abs() + delta.abs() + 1) / mirror_map.hessian(plain).clamp(min=1e-9)
        slack = slack + 1e-12 * plain.abs()
    assert ((moved - plain).abs() <= slack).all()


@every
@few
@given(x=points, y=points)
def test_a_step_and_back(mirror_map: maps.MirrorMap, x: Tensor, y: Tensor) -> None:
    x, delta = domain(mirror_map, x), 0.1 * domain(mirror_map, y)
    back = mirror_map.step(mirror_map.step(x, delta), -delta)
    slack = 1e-9 * float(x.abs().max()) if mirror_map in BLOCK else 0.0
    if isinstance(mirror_map, maps.SeparableMap):
        sharp = (mirror_map.to_dual(x).abs() + delta.abs() + 1) / mirror_map.hessian(x)
        assert ((back - x).abs() <= 1e-12 * (sharp + x.abs())).all()
    else:
        torch.testing.assert_close(back, x, rtol=1e-9, atol=max(slack, 1e-12))


@pytest.mark.parametrize("mirror_map", [*SEPARABLE, *BLOCK], ids=repr)
@few
@given(x=points)
def test_odd_dual_even_potential(mirror_map: maps.MirrorMap, x: Tensor) -> None:
    tight = {"rtol": 0, "atol": 0} if mirror_map in SEPARABLE else {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(mirror_map.to_dual(-x), -mirror_map.to_dual(x), **tight)
    torch.testing.assert_close(mirror_map.to_primal(-x), -mirror_map.to_primal(x), **tight)
    torch.testing.assert_close(mirror_map.step(-x, -0.1 * x), -mirror_map.step(x, 0.1 * x), **tight)


@pytest.mark.parametrize(
    "mirror_map",
    [m for m in [*SEPARABLE, *BLOCK, maps.Mixed(3, 0, 2), maps.Mixed(3, 2, 0)] if m.homogeneous],
    ids=repr,
)
@few
@given(x=points, c=scales)
def test_declared_homogeneity(mirror_map: maps.MirrorMap, x: Tensor, c: float) -> None:
    """`R(cx) = c^α R(x)`, `∇R(cx) = c^{α−1} ∇R(x)`, `R = E/(α−1)` and `R ∝ Q^α`."""
    order = mirror_map.index
    torch.testing.assert_close(
        mirror_map.potential(c * x), c**order * mirror_map.potential(x), rtol=1e-10, atol=0
    )
    u = mirror_map.to_dual(x) * c ** (order - 1)
    torch.testing.assert_close(
        mirror_map.to_dual(c * x), u, rtol=1e-10, atol=1e-12 * float(u.abs().max())
    )
    torch.testing.assert_close(
        mirror_map.dual_energy(x), (order - 1) * mirror_map.potential(x), rtol=1e-10, atol=0
    )
    ratio = mirror_map.potential(x) / mirror_map.horizon().gauge(x) ** order
    unit = torch.zeros(2, 3)
    unit[0, 0] = 1
    torch.testing.assert_close(ratio, mirror_map.potential(unit), rtol=1e-9, atol=0)


@pytest.mark.parametrize("mirror_map", [m for m in SEPARABLE if not m.homogeneous], ids=repr)
def test_declared_inhomogeneity(mirror_map: maps.MirrorMap) -> None:
    x = torch.tensor([1.0])
    local = [
        (c * x * mirror_map.to_dual(c * x) / mirror_map.potential(c * x)).item() for c in (0.1, 3)
    ]
    assert abs(local[0] - local[1]) > 1e-3


@few
@given(x=points, delta=points)
def test_special_cases_are_equal(x: Tensor, delta: Tensor) -> None:
    pairs = [
        (maps.Power(2), maps.Quadratic()),
        (maps.Mixed(4, 1, 0), maps.Quadratic()),
        (maps.Mixed(2, 0.25, 0.75), maps.Quadratic()),
        (maps.Mixed(3, 0, 1), maps.Power(3)),
        (maps.PNorm(2), maps.Quadratic()),
        (maps.Scaled(maps.Power(3), 1.0), maps.Power(3)),
        (maps.Cosh(1e5), maps.Quadratic()),
        (maps.Scaled(maps.HyperbolicEntropy(1e6), 1e6), maps.Quadratic()),
        (maps.Spectral(maps.Quadratic()), maps.Quadratic()),
    ]
    for one, other in pairs:
        near = 1e-8 * float(x.abs().max())
        torch.testing.assert_close(one.to_dual(x), other.to_dual(x), rtol=1e-7, atol=near)
        torch.testing.assert_close(one.to_primal(x), other.to_primal(x), rtol=1e-7, atol=near)
        moved = other.step(x, delta)
        torch.testing.assert_close(
            one.step(x, delta), moved, rtol=1e-7, atol=near + 1e-8 * float(delta.abs().max())
        )
        torch.testing.assert_close(one.potential(x), other.potential(x), rtol=1e-7, atol=0)


@few
@given(values=st.lists(entry, min_size=3, max_size=3), p=st.floats(1.05, 8))
def test_spectral_power_on_a_diagonal_is_power(values: list[float], p: float) -> None:
    mirror_map, scalar, x = maps.Spectral(maps.Power(p)), maps.Power(p), torch.tensor(values)
    u = scalar.to_dual(x)
    torch.testing.assert_close(
        mirror_map.to_dual(torch.diag(x)),
        torch.diag(u),
        rtol=1e-9,
        atol=1e-12 * float(u.abs().max()),
    )
    torch.testing.assert_close(mirror_map.potential(torch.diag(x)), scalar.potential(x))


@pytest.mark.parametrize("horizon", HORIZONS, ids=repr)
@few
@given(x=points, y=points, c=scales)
def test_the_gauge_is_a_norm(horizon: maps.Horizon, x: Tensor, y: Tensor, c: float) -> None:
    q = horizon.gauge
    assert float(q(x)) > 0
    assert float(q(torch.zeros(2, 3))) == 0
    assert float(q(c * x)) == pytest.approx(c * float(q(x)), rel=1e-12)
    assert float(q(-x)) == pytest.approx(float(q(x)), rel=1e-12)
    assert float(q(x + y)) <= float(q(x) + q(y)) * (1 + 1e-12)


@pytest.mark.parametrize("horizon", HORIZONS, ids=repr)
@few
@given(x=points, y=points)
def test_the_gauge_and_its_dual(horizon: maps.Horizon, x: Tensor, y: Tensor) -> None:
    """Hölder's inequality; Euler's identity and `Q°(s) = 1` for subgradients; Q is `Q°°`."""
    s = horizon.subgradient(x)
    assert float((s * x).sum()) == pytest.approx(float(horizon.gauge(x)), rel=1e-10)
    assert float(horizon.dual_gauge(s)) == pytest.approx(1, rel=1e-9)
    assert float((x * y).sum()) <= float(horizon.gauge(x) * horizon.dual_gauge(y)) * (1 + 1e-12)
    assert float(horizon.gauge(y)) >= float((s * y).sum()) - 1e-10 * float(horizon.gauge(y))
    nearest = horizon.project_subgradient(x, y)
    assert float((nearest * x).sum()) == pytest.approx(float(horizon.gauge(x)), rel=1e-7)
    assert float(horizon.dual_gauge(nearest)) <= 1 + 1e-7


@pytest.mark.parametrize(
    "mirror_map",
    [maps.Power(1.1), maps.Logarithmic(0.1), maps.Cosh(0.7), maps.PNorm(3), BLOCK[-1]],
    ids=repr,
)
@few
@given(x=points)
def test_the_finite_gauge_is_between_its_bounds(mirror_map: maps.MirrorMap, x: Tensor) -> None:
    """Every Q_c of a map that is even in the entries lies between ℓ∞ and ℓ1 (in the spectrum)."""
    found = float(maps.finite_gauge(mirror_map, x, 3.0))
    kind = maps.SchattenHorizon if isinstance(mirror_map, maps.Spectral) else maps.LpHorizon
    assert found >= float(kind(math.inf).gauge(x)) * (1 - 1e-9)
    assert found <= float(kind(1).gauge(x)) * (1 + 1e-9)


@pytest.mark.parametrize("mirror_map", [m for m in SEPARABLE if not math.isinf(m.index)], ids=repr)
@few
@given(log=st.floats(-30, 30))
def test_log_scale_is_the_plain_scale(mirror_map: maps.SeparableMap, log: float) -> None:
    log_x = torch.tensor([log])
    u = mirror_map.to_dual(log_x.exp())
    torch.testing.assert_close(mirror_map.log_to_dual(log_x).exp(), u, rtol=1e-11, atol=0)
    torch.testing.assert_close(mirror_map.log_to_primal(u.log()), log_x, rtol=1e-11, atol=1e-11)

"""A map from any scalar function, against the built-in maps and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scipy.integrate
import scipy.optimize
import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.errors import NoHorizonError

PAIRS = [
    (lambda x: x, maps.Quadratic()),
    (lambda x: x.sign() * x.abs() ** 0.5, maps.Power(1.5)),
    (lambda x: x * x.abs(), maps.Power(3)),
    (lambda x: torch.asinh(x / 0.1), maps.HyperbolicEntropy(0.1)),
    (lambda x: x.sign() * torch.log1p(x.abs() / 0.1), maps.Logarithmic(0.1)),
    (lambda x: x + x**3, maps.Mixed(4.0, 1.0, 1.0)),
    (torch.sinh, maps.Cosh()),
    (lambda x: x.sign() * torch.expm1(x.abs()), maps.Exponential()),
    (lambda x: torch.sinh(torch.sinh(x)), maps.DoubleExponential()),
]


@pytest.mark.parametrize(("gradient", "known"), PAIRS, ids=[repr(k) for _, k in PAIRS])
def test_equals_the_built_in_map(
    gradient: Callable[[Tensor], Tensor], known: maps.SeparableMap
) -> None:
    mine = maps.Custom(gradient=gradient)
    x = torch.cat([torch.logspace(-7, 0.6, 30), -torch.logspace(-7, 0.6, 30)])
    y = x.flip(0) * 0.9
    delta = 0.3 * torch.randn(60)
    u = known.to_dual(x)
    for name, args in {
        "to_dual": (x,),
        "to_primal": (u,),
        "hessian": (x,),
        "potential_entries": (x,),
        "dual_energy_entries": (x,),
        "conjugate_entries": (u,),
        "bregman_entries": (x, y),
        "step": (x, delta),
    }.items():
        torch.testing.assert_close(
            getattr(mine, name)(*args), getattr(known, name)(*args), rtol=2e-12, atol=0, msg=name
        )
    assert mine.index == known.index
    assert mine.horizon() == known.horizon()
    # The kept digits: a step far below the last digit of u, seen in the primal.
    small = 1e-7 * u
    moved = (x - mine.step(x, small)) / (small / known.hessian(x))
    torch.testing.assert_close(moved, torch.ones(60), rtol=1e-5, atol=0)


def test_from_a_potential() -> None:
    mine = maps.Custom(potential=lambda x: x.abs() ** 3 / 3 + 7)
    x = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(mine.to_dual(x), maps.Power(3).to_dual(x))
    torch.testing.assert_close(mine.potential_entries(x), maps.Power(3).potential_entries(x))
    torch.testing.assert_close(mine.hessian(x), maps.Power(3).hessian(x))
    assert mine.horizon() == maps.LpHorizon(3)


def test_against_scipy() -> None:
    def gradient(x: Tensor) -> Tensor:
        return x * torch.log1p(x * x) + torch.atan(x)

    def plain(x: float) -> float:
        return float(gradient(torch.tensor(x, dtype=torch.float64)))

    mine = maps.Custom(gradient=gradient)
    u = torch.tensor([1e-12, 0.3, 5.0, 4e8])
    roots = [
        scipy.optimize.brentq(lambda x, w=w: plain(x) - w, 0, 1e9, xtol=1e-300, rtol=1e-15)
        for w in u.tolist()
    ]
    torch.testing.assert_close(mine.to_primal(u), torch.tensor(roots), rtol=1e-14, atol=0)
    whole = scipy.integrate.quad(plain, 0, 2.5, epsabs=0, epsrel=1e-13)[0]
    assert mine.potential(torch.tensor(2.5)).item() == pytest.approx(whole, rel=1e-13)


def test_inverse_over_the_whole_range_of_floats() -> None:
    mine = maps.Custom(gradient=lambda x: x.sign() * x.abs().sqrt())
    u = torch.logspace(-150, 150, 301)
    torch.testing.assert_close(mine.to_primal(u), u * u, rtol=1e-14, atol=0)
    steep = maps.Custom(gradient=torch.sinh)
    u = torch.logspace(-300, 307, 608)
    torch.testing.assert_close(steep.to_primal(u), torch.asinh(u), rtol=1e-14, atol=0)
    stairs = maps.Custom(gradient=lambda x: x * 1e-4 + torch.tanh(50 * x) + torch.tanh(x**3 / 1e9))
    x = torch.logspace(-6, 6, 200)
    back = stairs.to_dual(stairs.to_primal(stairs.to_dual(x)))
    torch.testing.assert_close(back, stairs.to_dual(x), rtol=4e-16, atol=0)


def test_gradients_flow_without_following_the_root_finder() -> None:
    mine = maps.Custom(gradient=lambda x: x + x**3)
    u = torch.tensor([0.3, -2.0, 5.0], requires_grad=True)
    assert torch.autograd.gradcheck(mine.to_primal, (u,))
    assert torch.autograd.gradgradcheck(mine.to_primal, (u,))
    x = torch.tensor([0.3, -2.0, 1.0], requires_grad=True)
    assert torch.autograd.gradcheck(mine.hessian, (x,))
    assert torch.autograd.gradgradcheck(mine.potential, (x,))
    delta = torch.tensor([0.1, 4.0, -0.2], requires_grad=True)
    assert torch.autograd.gradcheck(mine.step, (x, delta))
    with torch.no_grad():
        assert not mine.step(x, delta).requires_grad


def test_float32_is_rounded_once() -> None:
    mine = maps.Custom(gradient=lambda x: x + x**3)
    u = torch.linspace(-3, 3, 31, dtype=torch.float32)
    assert torch.equal(mine.to_primal(u), mine.to_primal(u.double()).float())


def test_identity_and_text() -> None:
    def cube(x: Tensor) -> Tensor:
        return x**3

    assert maps.Custom(gradient=cube) == maps.Custom(gradient=cube)
    assert hash(maps.Custom(gradient=cube)) == hash(maps.Custom(gradient=cube))
    assert maps.Custom(gradient=cube) != maps.Custom(gradient=lambda x: x**3)
    assert maps.Custom(gradient=cube) != maps.Quadratic()
    assert repr(maps.Custom(gradient=cube, name="x**3")) == "Custom(gradient=x**3)"


@pytest.mark.parametrize(
    ("gradient", "text"),
    [
        (lambda x: x + 1e-3 * x * x, r"gradient is not odd: r'\(1.023"),
        (lambda x: x + 1, r"gradient is not odd"),
        (lambda x: x + 0.1 * x.sign() * (x == 0), None),
        (lambda x: -x, r"not strictly increasing: r'\(0\) = 0 and r'\(1e-06\) = -1e-06"),
        (lambda x: x - x**3 + 0.01 * x**5, r"not strictly increasing: r'\(0\.5"),
        (torch.tanh, r"not strictly increasing.*tanh has none, and no horizon"),
        (lambda x: x.sum(), r"maps shape \(1, 1201\) to \(\); it must act entry by entry"),
        (lambda x: float(x), r"gradient fails on a float64 tensor of shape \(1, 1201\)"),
        (lambda _: 3.0, r"to float; it must act entry by entry"),
        (lambda x: x / (1 - x.abs()).clamp(min=0), r"gradient gives r'\(1\) = inf"),
    ],
)
def test_refused_at_the_door(gradient: Callable[[Tensor], Tensor], text: str | None) -> None:
    if text is None:
        maps.Custom(gradient=gradient)
        return
    with pytest.raises(ValueError, match=text):
        maps.Custom(gradient=gradient)


@pytest.mark.parametrize(
    ("potential", "text"),
    [
        (lambda x: x.abs() ** 3 + 0.1 * x, r"potential is not even"),
        (lambda x: torch.cos(x), r"potential is not strictly convex"),
        (lambda x: (x**2).sum(), r"potential maps shape"),
    ],
)
def test_a_potential_is_refused(potential: Callable[[Tensor], Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        maps.Custom(potential=potential)


def test_a_map_without_a_horizon_still_steps() -> None:
    bounded = maps.Custom(gradient=lambda x: x / torch.sqrt(1 + x * x))
    x = torch.tensor([0.3, -2.0])
    torch.testing.assert_close(
        bounded.step(x, torch.tensor([0.1, -0.1])),
        bounded.to_primal(bounded.to_dual(x) - torch.tensor([0.1, -0.1])),
    )
    with pytest.raises(NoHorizonError, match="r' is bounded"):
        bounded.horizon()
    with pytest.raises(NoHorizonError, match="r' is bounded"):
        _ = bounded.index


def test_kinks_cost_no_digits() -> None:
    """`r'` with slope 1 up to |x| = 1 and 4 beyond: everything is known by hand."""

    def gradient(x: Tensor) -> Tensor:
        return x + 3 * x.sign() * (x.abs() - 1).clamp(min=0)

    mine = maps.Custom(gradient=gradient)
    x = torch.tensor([0.5, 1.0, -1.5, 3.0, 10.0, -1e3, 1e6])
    exact = x * x / 2 + 1.5 * (x.abs() - 1).clamp(min=0) ** 2
    torch.testing.assert_close(mine.potential_entries(x), exact, rtol=2e-15, atol=0)
    torch.testing.assert_close(mine.to_primal(mine.to_dual(x)), x, rtol=1e-15, atol=0)
    # Steps and divergences across the kink, from 1.2 to 0.9 and from 0.9 to 1.2.
    ends = torch.tensor([1.2, 0.9]), torch.tensor([0.9, 1.2])
    delta = mine.to_dual(ends[0]) - mine.to_dual(ends[1])
    torch.testing.assert_close(mine.step(ends[0], delta), ends[1], rtol=1e-15, atol=0)
    divergence = [
        0.405 - (0.72 + 0.06) + 1.8 * 0.3,
        0.72 + 0.06 - 0.405 - 0.9 * 0.3,
    ]
    torch.testing.assert_close(
        mine.bregman_entries(ends[1], ends[0]), torch.tensor(divergence), rtol=1e-14, atol=0
    )

"""A map from any scalar function, against the built-in maps and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scipy.integrate
import scipy.optimize
import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.errors import MirrorFlowError, NoHorizonError

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


def test_what_the_function_does_far_out_decides_nothing() -> None:
    """`2x³/(1+x²)` is ∞/∞ from x = 1e154 on, where `x² log(1+x²)` is ∞."""

    def potential(x: Tensor) -> Tensor:
        return x**2 * torch.log1p(x**2) + x**2

    def gradient(x: Tensor) -> Tensor:
        return 2 * x * torch.log1p(x**2) + 2 * x**3 / (1 + x**2) + 2 * x

    def plain(x: float, u: float) -> float:
        return float(gradient(torch.tensor(x, dtype=torch.float64))) - u

    for mine in (maps.Custom(potential=potential), maps.Custom(gradient=gradient)):
        for u in (1e-9, 5.0, 10.0, 1e4, 1e30):
            true = scipy.optimize.brentq(plain, 0, 1e30, args=(u,), xtol=1e-320, rtol=1e-15)
            for dtype, rtol in ((torch.float64, 1e-14), (torch.float32, 1e-7)):
                got = float(mine.to_primal(torch.tensor([-u], dtype=dtype)))
                assert got == pytest.approx(-true, rel=rtol)
        moved = mine.step(torch.tensor([2.0]), torch.tensor([-0.1]))
        true = scipy.optimize.brentq(plain, 0, 9, args=(plain(2.0, -0.1),), xtol=1e-15)
        assert float(moved) == pytest.approx(true, rel=1e-14)
        with pytest.raises(
            MirrorFlowError, match=r"Custom.*has no x .* 1e\+300.*not finite beyond"
        ):
            mine.to_primal(torch.tensor([1.0, 1e300]))
        with pytest.raises(MirrorFlowError, match=r"Custom.* = nan at x = 1e\+250"):
            mine.dual_energy(torch.tensor([1e250]))
        assert mine.to_primal(torch.tensor([0.0, torch.inf])).tolist() == [0.0, torch.inf]


@pytest.mark.parametrize(
    ("argument", "function", "text"),
    [
        (
            "potential",
            lambda x: x.abs() ** 1.5 + x.abs(),
            r"kink at 0: r' jumps there from -1 to 1",
        ),
        ("gradient", lambda x: x + 0.5 * x.sign(), r"kink at 0: r' jumps there from -0.5 to 0.5"),
        ("gradient", lambda x: x.sign() * (2 + x.abs() ** 0.1), r"kink at 0.* from -2 to 2"),
        ("potential", lambda x: x**2 + (x.abs() - 1).clamp(min=0), r"jumps from 2 to 3 at x = "),
        ("gradient", lambda x: x + (x / 3).floor() + (x / 3).ceil(), r"kink"),
        ("gradient", lambda x: (x + x**3).detach(), r"r''\(1e-06\) = 0 by autograd"),
        ("gradient", lambda x: x.float(), r"gives torch.float32 for float64"),
        ("gradient", lambda x: x + 1e-3 * torch.rand_like(x) * x, r"another value at each call"),
        ("gradient", lambda x: x * x.norm(), r"other values .* than for each entry by itself"),
        ("potential", lambda x: x.detach() ** 2, r"not strictly convex.*differentiable"),
        ("potential", lambda _: torch.ones(3), r"maps shape \(1, 1201\) to \(3,\)"),
    ],
)
def test_no_legendre_function(
    argument: str, function: Callable[[Tensor], Tensor], text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{argument} .*{text}"):
        maps.Custom(**{argument: function})


def test_a_steep_or_slowly_varying_dual_at_0_is_no_kink() -> None:
    for gradient in (
        lambda x: x.sign() * x.abs() ** 0.02,
        lambda x: x.sign() / (1 + torch.log1p(1 / x.abs())),
        lambda x: torch.asinh(x / 1e-20),
        lambda x: x / torch.sqrt(x * x + 1e-18) + x,
    ):
        mine = maps.Custom(gradient=gradient)
        u = mine.to_dual(torch.tensor([1e-3, 2.0]))
        torch.testing.assert_close(mine.to_primal(u), torch.tensor([1e-3, 2.0]), rtol=1e-12, atol=0)


def test_the_second_derivative_at_0_is_its_limit() -> None:
    zero = torch.zeros(1)
    for gradient, known in PAIRS:
        exact = float(known.hessian(zero))
        assert maps.Custom(gradient=gradient).hessian(zero).item() == pytest.approx(
            exact, rel=1e-12
        )


def test_a_bounded_dual_has_an_end() -> None:
    bounded = maps.Custom(gradient=lambda x: x / torch.sqrt(1 + x * x))
    with pytest.raises(
        MirrorFlowError, match=r"no x with r'\(x\) = u for \|u\| = 1.5: r' is bounded"
    ):
        bounded.to_primal(torch.tensor([1.5]))


@pytest.mark.parametrize("gradient", [torch.sinh, torch.asinh, lambda x: x + x**3, PAIRS[8][0]])
def test_an_answer_is_its_own_whatever_was_asked_before_or_beside(
    gradient: Callable[[Tensor], Tensor],
) -> None:
    u = torch.cat([torch.logspace(-9, 2, 160), -torch.logspace(-9, 2, 160)])
    together = maps.Custom(gradient=gradient).to_primal(u)
    other = maps.Custom(gradient=gradient)
    other.to_primal(torch.tensor([1e-300, 1e50]))
    for k in torch.randperm(320)[:40].tolist():
        # Vector instructions may round a function of one entry in another way.
        torch.testing.assert_close(other.to_primal(u[k]), together[k], rtol=5e-16, atol=0)
    assert torch.equal(other.to_primal(u), together)


def test_energy_against_the_closed_forms() -> None:
    x = torch.cat([torch.logspace(-100, 0.8, 50), -torch.logspace(-5, 0.8, 50)])
    for gradient, known in PAIRS:
        mine = maps.Custom(gradient=gradient)
        torch.testing.assert_close(
            mine.dual_energy_entries(x), known.dual_energy_entries(x), rtol=1e-12, atol=1e-300
        )
    far = maps.Custom(gradient=torch.sinh)
    assert far.dual_energy(torch.tensor([800.0])) == torch.inf


def test_inference_mode_finds_the_derivatives() -> None:
    mine = maps.Custom(potential=torch.cosh)
    with torch.inference_mode():
        x = torch.tensor([0.3, -2.0])
        torch.testing.assert_close(mine.to_primal(mine.to_dual(x)), x)
        torch.testing.assert_close(mine.hessian(x), torch.cosh(x))

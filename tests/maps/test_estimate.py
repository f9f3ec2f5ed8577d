"""Index and horizon found numerically, on maps of the table and on maps that no table lists."""

from __future__ import annotations

import math

import pytest
import torch

from mirrorflow import maps
from mirrorflow.errors import NoHorizonError

LISTED = [
    maps.Quadratic(),
    maps.Power(1.1),
    maps.Power(7 / 3),
    maps.Power(20),
    maps.HyperbolicEntropy(1e-6),
    maps.HyperbolicEntropy(1e3),
    maps.Logarithmic(0.1),
    maps.Mixed(4.0, 1.0, 1.0),
    maps.Mixed(1.3, 0.5, 2.0),
    maps.Mixed(2.2, 1e3, 1e-3),
    maps.Cosh(0.3),
    maps.Exponential(),
    maps.DoubleExponential(),
    maps.Scaled(maps.Power(3), 7.0),
]


@pytest.mark.parametrize("mirror_map", LISTED, ids=repr)
def test_finds_what_the_table_says(mirror_map: maps.SeparableMap) -> None:
    found = maps.estimate_horizon(mirror_map)
    assert found.order == mirror_map.index
    assert found.horizon == mirror_map.horizon()
    assert found.error < 1e-8
    assert len(found.log_x) == len(found.local_order) + 1


@pytest.mark.parametrize("a", [0.3, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("b", [-0.25, 0.5, 1.0, 2.0])
def test_powers_with_powers_of_logarithms(a: float, b: float) -> None:
    """`sgn x |x|^a log(1+|x|)^b` has index `1 + a` for every b; the local index misses by `b/l`."""

    def gradient(x: torch.Tensor) -> torch.Tensor:
        m = x.abs()
        safe = torch.where(m > 0, m, 1.0)
        return x.sign() * safe**a * torch.log1p(safe) ** b * (m > 0)

    found = maps.estimate_horizon(maps.Custom(gradient=gradient))
    assert found.order == pytest.approx(1 + a, abs=1e-9)
    assert abs(found.raw - (1 + a)) <= found.error < 1e-3
    # What is looked at does not tell it by itself: the extrapolation does.
    assert abs(found.local_order[-1] - (1 + a)) > 0.9 * abs(b) / 710


@pytest.mark.parametrize(
    ("name", "gradient", "order", "within"),
    [
        ("log log", lambda x: x.sign() * torch.log1p(torch.log1p(x.abs())), 1.0, 0.03),
        ("x log log", lambda x: x * torch.log1p(torch.log1p(x * x)), 2.0, 0.03),
        ("exp sqrt log", lambda x: x * torch.exp(torch.log1p(x * x).sqrt()), 2.0, 0.03),
        ("two powers", lambda x: x + x.sign() * x.abs() ** 1.2, 2.2, 1e-6),
        ("log scale", lambda x: torch.asinh(x * 1e4), 1.0, 1e-5),
        ("exp log squared", lambda x: x * torch.exp(torch.log1p(x * x) ** 2), math.inf, 0.0),
        ("gauss", lambda x: x * torch.exp(x * x), math.inf, 0.0),
    ],
)
def test_slower_and_faster_corrections(
    name: str, gradient: object, order: float, within: float
) -> None:
    found = maps.estimate_horizon(maps.Custom(gradient=gradient, name=name))
    assert found.order == pytest.approx(order, abs=within)
    assert found.order == order or abs(found.raw - order) <= found.error


@pytest.mark.parametrize(
    ("name", "gradient", "text"),
    [
        ("x/sqrt(1+x²)", lambda x: x / torch.sqrt(1 + x * x), r"r' is bounded \(it approaches 1\)"),
        ("x/(1+|x|)", lambda x: 5 * x / (1 + x.abs()), r"r' is bounded \(it approaches 5\)"),
        ("2/pi atan", lambda x: torch.atan(x), r"r' is bounded \(it approaches 1.57"),
        (
            "log/(1+log)",
            lambda x: x.sign() * torch.log1p(x.abs()) / (1 + torch.log1p(x.abs())),
            r"r' is bounded",
        ),
        (
            "sin log",
            lambda x: x**3 * (1 + 0.3 * torch.sin(torch.log(x.abs().clamp(min=1e-300)))),
            r"keeps oscillating by 0\.",
        ),
        (
            "slow sin log",
            lambda x: x**3 * (1 + 0.1 * torch.sin(0.3 * torch.log(x.abs().clamp(min=1e-300)))),
            r"keeps oscillating by 0\.",
        ),
    ],
)
def test_no_horizon(name: str, gradient: object, text: str) -> None:
    with pytest.raises(NoHorizonError, match=text):
        maps.estimate_horizon(maps.Custom(gradient=gradient, name=name))


def test_a_dying_oscillation_has_a_horizon() -> None:
    def gradient(x: torch.Tensor) -> torch.Tensor:
        log = torch.log1p(x.abs())
        return x**3 * (1 + 0.1 * torch.sin(log) * torch.exp(-log))

    found = maps.estimate_horizon(maps.Custom(gradient=gradient))
    assert found.order == 4


def test_restricted_domain_says_so() -> None:
    with pytest.raises(NoHorizonError, match="orthant"):
        maps.estimate_horizon(maps.NegativeEntropy())


def custom(gradient: object) -> maps.Custom:
    return maps.Custom(gradient=gradient)


def test_sums_of_two_powers_are_right_or_refused() -> None:
    """`r' = x^p + b x^q`, at random: no answer is wrong where the last term counts at the end."""
    g = torch.Generator().manual_seed(18)
    right = unseen = 0
    reasons: list[str] = []
    for _ in range(300):
        p, q = sorted((1.1 + 4.9 * torch.rand(2, generator=g)).tolist())
        b = 10 ** float(-2 - 28 * torch.rand(1, generator=g))

        def gradient(x: torch.Tensor, p: float = p, q: float = q, b: float = b) -> torch.Tensor:
            m = x.abs()
            return x.sign() * (m ** (p - 1 + 0.05) + b * m ** (q - 1 + 0.05))

        low, high = p + 0.05, q + 0.05
        end = min(709 / (low - 1), (709 - math.log(b)) / (high - 1), 709.0)
        share = math.exp(min(0.0, math.log(b) + (high - low) * 0.97 * end))
        try:
            found = maps.estimate_horizon(custom(gradient))
        except NoHorizonError as error:
            reasons.append(str(error))
            continue
        if share < 1e-9:
            # Nothing in float64 tells the last term: the answer is that of what is seen.
            unseen += 1
            assert found.order == pytest.approx(low, abs=max(found.error, 1e-6))
        else:
            right += 1
            assert abs(found.order - high) <= found.error
            assert found.error < 1e-2
    assert all("not settled" in reason for reason in reasons)
    assert (right > 240, len(reasons) < 40) == (True, True), (right, len(reasons), unseen)


@pytest.mark.parametrize(
    ("name", "gradient", "order"),
    [
        ("a late cubic", lambda x: x * x.abs() + 1e-15 * x**3, 4.0),
        ("a late cosh", lambda x: 2 * x + 1e-30 * torch.sinh(x), math.inf),
        ("log and a late power", lambda x: torch.asinh(x) + 1e-20 * x, 2.0),
        ("three terms", lambda x: x + 1e-5 * x * x.abs() + 1e-30 * x**5, 6.0),
        ("x^log x", lambda x: x * torch.exp(torch.log1p(x.abs()) ** 2), math.inf),
        (
            "x^log log x",
            lambda x: x * torch.exp(torch.log1p(x.abs()) * torch.log1p(torch.log1p(x.abs()))),
            math.inf,
        ),
        ("exp sqrt x", lambda x: x * torch.exp(x.abs().sqrt()), math.inf),
        ("a kink", lambda x: torch.where(x.abs() < 10, x, x.sign() * x.abs() ** 3 / 100), 4.0),
    ],
)
def test_the_last_slope_decides(name: str, gradient: object, order: float) -> None:
    found = maps.estimate_horizon(maps.Custom(gradient=gradient, name=name))
    assert found.order == order
    assert found.error < 1e-6


def log(x: torch.Tensor) -> torch.Tensor:
    return torch.log1p(x.abs())


@pytest.mark.parametrize(
    ("name", "gradient", "text"),
    [
        (
            "slow swing",
            lambda x: x * torch.exp((1 + 0.1 * torch.sin(torch.log1p(log(x)))) * log(x)),
            "has not settled",
        ),
        (
            "slower swing",
            lambda x: x * torch.exp((1 + 0.1 * torch.sin(0.5 * torch.log1p(log(x)))) * log(x)),
            "has not settled",
        ),
        (
            "swing",
            lambda x: x * torch.exp((1 + 0.1 * torch.sin(5 * torch.log1p(log(x)))) * log(x)),
            "keeps oscillating",
        ),
        (
            "small swing",
            lambda x: x**3 * (1 + 1e-4 * torch.sin(torch.log(x.abs().clamp(min=1e-300)))),
            "keeps oscillating",
        ),
        ("exp log^1.1", lambda x: x * torch.exp(log(x) ** 1.1), "has not settled"),
        (
            "begins to count",
            lambda x: x + 1e-30 * x.sign() * x.abs() ** 1.1,
            "has not settled.*it rises",
        ),
        ("one over log", lambda x: x * torch.exp(log(x) / torch.log(3 + log(x))), "not settled"),
    ],
)
def test_what_has_not_settled_is_refused_for_a_true_reason(
    name: str, gradient: object, text: str
) -> None:
    mine = maps.Custom(gradient=gradient, name=name)
    with pytest.raises(NoHorizonError, match=text):
        maps.estimate_horizon(mine)
    with pytest.raises(NoHorizonError, match=text):
        _ = mine.index


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        (lambda x: 0.4 * torch.sinh(x / 0.4), (math.inf, math.nan, 1.0, 2.5)),
        (lambda x: x * torch.exp(x * x), (math.inf, math.nan, 2.0, 1.0)),
        (lambda x: x * torch.exp(x.abs().sqrt()), (math.inf, math.nan, 0.5, 1.0)),
        (lambda x: 3 * torch.asinh(x / 0.1), (1.0, math.log(3), 0.0, 0.0)),
        (lambda x: x + 1e-15 * x**3, (4.0, math.log(3e-15), 0.0, 0.0)),
        (lambda x: x / (1 + torch.sqrt(1 + x.abs())), (1.5, math.log(0.5), 0.0, 0.0)),
        (lambda x: x * log(x), (2.0, math.nan, 0.0, 0.0)),
    ],
)
def test_the_growth_of_a_custom_map(gradient: object, expected: tuple[float, ...]) -> None:
    """Against `dE/dQ = Q r''(Q)` by hand."""
    found = maps.estimate_growth(custom(gradient))
    values = (found.index, found.log_constant, found.order, found.rate)
    assert values == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_growth_that_cannot_be_told_is_refused() -> None:
    for gradient in (lambda x: torch.sinh(torch.sinh(x)), lambda x: x * torch.exp(log(x) ** 2)):
        with pytest.raises(NoHorizonError, match="growth of .* cannot be told"):
            maps.estimate_growth(custom(gradient))


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Quadratic(),
        maps.Power(3.5),
        maps.Mixed(3, 2.0, 0.5),
        maps.Mixed(1.5, 3.0, 0.5),
        maps.Mixed(3, 0, 2.0),
        maps.Mixed(2, 0.25, 0.5),
        maps.HyperbolicEntropy(0.1),
        maps.Logarithmic(2.0),
        maps.Scaled(maps.Power(1.5), 7.0),
        maps.Scaled(maps.HyperbolicEntropy(0.1), 1e-3),
    ],
    ids=repr,
)
def test_the_declared_growth_is_that_of_the_hessian(mirror_map: maps.SeparableMap) -> None:
    """`dE/dQ = Q r''(Q)` far out."""
    growth = mirror_map.radial_growth()
    x = torch.tensor([1e40], dtype=torch.float64)
    far = float((x * mirror_map.hessian(x)).log())
    expected = growth.log_constant + (growth.index - 1) * math.log(1e40)
    assert far == pytest.approx(expected, abs=1e-9)

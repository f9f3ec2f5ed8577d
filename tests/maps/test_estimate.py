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

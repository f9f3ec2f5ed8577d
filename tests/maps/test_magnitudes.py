"""Every operation at every magnitude: finite where the answer is, +∞ where it is not, never NaN."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import maps_mpmath as reference
import mpmath as mp
import pytest
import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.maps import SeparableMap

CASES: list[tuple[SeparableMap, reference.Reference]] = [
    (maps.Quadratic(), reference.quadratic()),
    (maps.Power(1.1), reference.power("1.1")),
    (maps.Power(1.5), reference.power("1.5")),
    (maps.Power(3), reference.power("3")),
    (maps.Power(10), reference.power("10")),
    (maps.HyperbolicEntropy(1.0), reference.hyperbolic_entropy("1")),
    (maps.HyperbolicEntropy(1e-6), reference.hyperbolic_entropy("1e-6")),
    (maps.HyperbolicEntropy(1e9), reference.hyperbolic_entropy("1e9")),
    (maps.Logarithmic(1.0), reference.logarithmic("1")),
    (maps.Logarithmic(1e-6), reference.logarithmic("1e-6")),
    (maps.Logarithmic(1e9), reference.logarithmic("1e9")),
    (maps.Mixed(), reference.mixed("4", "1", "1")),
    (maps.Mixed(10), reference.mixed("10", "1", "1")),
    (maps.Mixed(1.5, 1.0, 0.1), reference.mixed("1.5", "1", "0.1")),
    (maps.Mixed(3, 1e-6, 1e6), reference.mixed("3", "1e-6", "1e6")),
    (maps.Cosh(), reference.cosh("1")),
    (maps.Cosh(1e-6), reference.cosh("1e-6")),
    (maps.Cosh(1e9), reference.cosh("1e9")),
    (maps.Exponential(), reference.exponential()),
    (maps.Scaled(maps.Power(3), 1e-9), reference.scaled(reference.power("3"), "1e-9")),
    (maps.Scaled(maps.Cosh(), 1e9), reference.scaled(reference.cosh("1"), "1e9")),
]
IDS = [repr(mirror_map) for mirror_map, _ in CASES]
MAGNITUDES = {
    torch.float64: (
        *(-310, -300, -200, -155, -100, -30, -8, -3, -0.5, 0, 0.5, 1, 1.9, 2.5, 2.85),
        *(2.9, 4, 8, 30, 75, 103, 154, 200, 250, 300, 308),
    ),
    torch.float32: (
        *(-37.5, -25, -20, -8, -3, -0.5, 0, 0.5, 1, 1.8, 1.94, 2, 2.1, 3, 8, 13, 19),
        *(26, 34, 38),
    ),
}
# Relative, of the whole answer; cosh(700) has a condition of 700.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-4}


def sizes(dtype: torch.dtype) -> Tensor:
    size = torch.tensor([10.0**k if k < 308 else 1e308 for k in MAGNITUDES[dtype]])
    return torch.cat([size, -1.3 * size]).to(dtype)


def check(
    name: str,
    got: Tensor,
    arguments: Iterable[tuple[float, ...]],
    exact: Callable[..., mp.mpf],
) -> None:
    limits, tolerance = torch.finfo(got.dtype), TOLERANCE[got.dtype]
    wrong = []
    for value, numbers in zip(got.tolist(), arguments, strict=True):
        true = exact(*map(mp.mpf, numbers))
        if abs(true) > limits.max * (1 + tolerance):
            right = value == math.copysign(math.inf, float(mp.sign(true)))
        elif abs(true) > limits.max * (1 - tolerance):
            right = not math.isnan(value)
        else:
            # Vectorised functions take what is below the normal floats as 0.
            few = 2 * limits.tiny
            right = math.isfinite(value) and abs(value - true) <= tolerance * abs(true) + few
        if not right:
            wrong.append((numbers, value, mp.nstr(true, 8)))
    assert wrong == [], f"{name}: {len(wrong)} of {got.numel()}, first {wrong[:5]}"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("mirror_map", "exact"), CASES, ids=IDS)
@pytest.mark.parametrize(
    "name", ["to_dual", "to_primal", "potential", "dual_energy", "conjugate", "hessian"]
)
def test_one_argument(
    name: str, mirror_map: SeparableMap, exact: reference.Reference, dtype: torch.dtype
) -> None:
    x = sizes(dtype)
    entries = name if name in ("to_dual", "to_primal", "hessian") else f"{name}_entries"
    method = getattr(mirror_map, entries)
    with mp.workdps(700):
        check(name, method(x), [(v,) for v in x.tolist()], getattr(exact, name))
    zero = method(torch.zeros(1, dtype=dtype))
    assert not zero.isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("mirror_map", "exact"), CASES, ids=IDS)
@pytest.mark.parametrize("name", ["bregman", "step"])
def test_two_arguments(
    name: str, mirror_map: SeparableMap, exact: reference.Reference, dtype: torch.dtype
) -> None:
    pairs = list(itertools.product(sizes(dtype)[::4].tolist(), (0.7 * sizes(dtype))[1::4].tolist()))
    first, second = (torch.tensor(each, dtype=dtype) for each in zip(*pairs, strict=True))
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    method = mirror_map.bregman_entries if name == "bregman" else mirror_map.step
    with mp.workdps(700):
        check(name, method(first, second), pairs, getattr(exact, name))

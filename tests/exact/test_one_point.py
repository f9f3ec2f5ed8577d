"""The flow on one point: against the numbers of the theory, closed forms and mpmath."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from mirrorflow.exact import one_point_flow
from mirrorflow.maps import (
    Cosh,
    DoubleExponential,
    HyperbolicEntropy,
    Logarithmic,
    MirrorMap,
    Power,
    Quadratic,
)

X = torch.tensor([1.0, 2.0], dtype=torch.float64)


def degrees(w: torch.Tensor) -> float:
    return math.degrees(math.atan2(float(w[1]), float(w[0])))


@pytest.mark.parametrize(
    ("mirror_map", "angles"),
    [
        (HyperbolicEntropy(1.0), (79.034, 86.235, 88.803)),
        (HyperbolicEntropy(0.01), (88.892, 89.627, 89.881)),
        (Cosh(1.0), (48.161, 45.342, 45.034)),
    ],
)
def test_angles_of_the_theory(mirror_map: MirrorMap, angles: tuple[float, ...]) -> None:
    for log10_t, angle in zip((10, 100, 1000), angles, strict=True):
        w = one_point_flow(mirror_map, X, log10_t * math.log(10))  # type: ignore[arg-type]
        assert degrees(w) == pytest.approx(angle, abs=6e-4)


@pytest.mark.parametrize("log_t", [-20.0, -1.0, 0.0, 3.0, 700.0, 1e6, 1e12])
def test_one_dimension_in_closed_form(log_t: float) -> None:
    x = torch.ones(1)
    w = float(one_point_flow(Quadratic(), x, log_t))
    assert w == pytest.approx(float(mpmath.log1p(mpmath.exp(log_t))), rel=2e-12)
    # e^{2w}/4 + w/2 − 1/4 = t
    w = mpmath.mpf(float(one_point_flow(Cosh(1.0), x, log_t)))
    with mpmath.workdps(60):
        t = mpmath.expm1(2 * w) / 4 + w / 2
        assert float(mpmath.log(t)) == pytest.approx(log_t, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(
    "mirror_map", [Power(1.5), Power(3.0), Logarithmic(0.5), HyperbolicEntropy(0.1)]
)
def test_time_of_the_weights_by_mpmath(mirror_map: MirrorMap) -> None:
    """`t = ∫₀ˢ exp q` at 30 digits, from the weights that the function returns."""
    inverse = {
        "Power(p=1.5)": lambda u: u**2,
        "Power(p=3.0)": mpmath.sqrt,
        "Logarithmic(beta=0.5)": lambda u: 0.5 * mpmath.expm1(u),
        "HyperbolicEntropy(beta=0.1)": lambda u: mpmath.mpf("0.1") * mpmath.sinh(u),
    }[repr(mirror_map)]
    for log_t in (1.0, 40.0):
        w = one_point_flow(mirror_map, X, log_t)  # type: ignore[arg-type]
        s = float(mirror_map.to_dual(w)[0])
        with mpmath.workdps(30):
            points = [s * (1 - mpmath.mpf(2) ** -k) for k in range(40)]
            t = mpmath.quad(
                lambda v: mpmath.exp(inverse(v) + 2 * inverse(2 * v)),
                [*points, s],
            )
            assert float(mpmath.log(t)) == pytest.approx(log_t, rel=1e-10)


def test_exponentially_slow() -> None:
    """Double exponential map, one dimension: `ℓ ~ (2 log t)^{−1}` times powers of log log t."""
    w = [float(one_point_flow(DoubleExponential(), torch.ones(1), t)) for t in (1e6, 1e12)]
    assert w[1] - w[0] == pytest.approx(math.log(1e6), rel=0.02)


def test_entries_that_x_does_not_touch_stay_zero() -> None:
    w = one_point_flow(Quadratic(), torch.tensor([0.0, -2.0]), 5.0)
    assert float(w[0]) == 0
    assert float(w[1]) < 0


def test_bad_points_and_times_are_named() -> None:
    with pytest.raises(ValueError, match="log_t = inf"):
        one_point_flow(Quadratic(), X, math.inf)
    with pytest.raises(ValueError, match="not zero"):
        one_point_flow(Quadratic(), 0 * X, 1.0)
    with pytest.raises(TypeError, match="not separable"):
        one_point_flow("quadratic", X, 1.0)  # type: ignore[arg-type]

"""Log-scale maps against the library's own, and far beyond doubles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from every_map import SEPARABLE, plain
from hypothesis import given
from hypothesis import strategies as st

from mirrorflow import maps
from mirrorflow.flow.logscale.build import ScaledGeneric, scaled_map
from mirrorflow.flow.steppers.clock import Segment, log_elapsed

MAPS = plain(SEPARABLE, maps.Custom, maps.Scaled)
LEVELS = (-2.0, 0.0, 0.9)  # below the floor of the rapid maps


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@given(seed=st.integers(0, 50), rho=st.sampled_from(LEVELS))
def test_agrees_with_the_map(mirror_map: maps.SeparableMap, seed: int, rho: float) -> None:
    x = np.random.default_rng(seed).normal(size=7)
    x /= np.abs(x).max()
    true = torch.from_numpy(x * math.exp(rho))
    own = scaled_map(mirror_map)
    own.at_level(rho, x, 0.0, 1e-7)
    unit = math.exp(own.scale)
    u = own.dual(x)
    np.testing.assert_allclose(u * unit, mirror_map.to_dual(true).numpy(), rtol=1e-12)
    np.testing.assert_allclose(own.primal(u), x, rtol=1e-11)
    slope = mirror_map.hessian(true).numpy() * math.exp(rho) / unit
    np.testing.assert_allclose(own.slope(x, u), slope, rtol=1e-11)
    energy = mirror_map.dual_energy_entries(true).numpy() * math.exp(-rho) / unit
    np.testing.assert_allclose(own.energy(x, u), energy, rtol=1e-9, atol=1e-13)
    horizon = mirror_map.horizon()
    assert own.gauge(x) == pytest.approx(float(horizon.gauge(torch.from_numpy(x))), rel=1e-12)
    assert own.dual_gauge(x) == pytest.approx(float(horizon.dual_gauge(torch.from_numpy(x))))


@given(seed=st.integers(0, 50), rho=st.sampled_from(LEVELS))
def test_negative_entropy_agrees_on_the_orthant(seed: int, rho: float) -> None:
    x = np.random.default_rng(seed).random(7) + 1e-3
    true, own = torch.from_numpy(x * math.exp(rho)), scaled_map(maps.NegativeEntropy())
    own.at_level(rho, x, 0.0, 1e-7)
    unit, u = math.exp(own.scale), own.dual(x)
    np.testing.assert_allclose(u * unit, true.log().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(own.primal(u), x, rtol=1e-12)
    np.testing.assert_allclose(own.slope(x, u), 1.0 / x / unit, rtol=1e-12)
    np.testing.assert_allclose(own.energy(x, u) * unit, x, rtol=1e-12)
    np.testing.assert_allclose(own.grown(x, u, 0.3), own.dual(x * math.exp(0.3)), atol=1e-13)


@pytest.mark.parametrize("mirror_map", [maps.HyperbolicEntropy(0.3), maps.Power(3.0)], ids=repr)
def test_generic_form_agrees(mirror_map: maps.SeparableMap) -> None:
    x = np.array([0.3, -1.0, 0.01])
    own, generic = scaled_map(mirror_map), ScaledGeneric(mirror_map)
    for each in (own, generic):
        each.at_level(2.0, x, 0.0, 1e-7)
    ratio = math.exp(own.scale - generic.scale)
    np.testing.assert_allclose(generic.dual(x), own.dual(x) * ratio, rtol=1e-12)
    np.testing.assert_allclose(generic.primal(generic.dual(x)), x, rtol=1e-12)
    u = own.dual(x)
    np.testing.assert_allclose(generic.slope(x, u), own.slope(x, u) * ratio, rtol=1e-12)
    np.testing.assert_allclose(generic.energy(x, u), own.energy(x, u) * ratio, rtol=1e-12)


@pytest.mark.parametrize("rho", [1e3, 1e6])
def test_beyond_doubles(rho: float) -> None:
    """`asinh(e^rho x / beta) = rho + log(2x/beta)`; powers do not see the level."""
    x = np.array([1.0, 0.25, -1e-3])
    own = scaled_map(maps.HyperbolicEntropy(0.1))
    own.at_level(rho, x, 0.0, 1e-7)
    u = own.dual(x) * math.exp(own.scale)
    np.testing.assert_allclose(np.abs(u), rho + np.log(20 * np.abs(x)), rtol=1e-13)
    np.testing.assert_allclose(own.primal(own.dual(x)), x, rtol=1e-16 * rho * 1e2 + 1e-12)
    power = scaled_map(maps.Power(3.0))
    power.at_level(rho, x, 0.0, 1e-7)
    np.testing.assert_allclose(power.dual(x), np.sign(x) * x**2)
    cosh = scaled_map(maps.Cosh(1.0))
    cosh.at_level(600.0, x, 0.1, 1e-7)
    assert np.all(np.isfinite(cosh.dual(x)))
    assert cosh.scale > 1e250


@pytest.mark.parametrize("slope", [1e-3, 1.0, 30.0, 1e4, 1e12])
def test_elapsed_time_of_an_exponential(slope: float) -> None:
    """`∫_0^h exp(slope y) dy` at any steepness."""
    h = 0.4
    one = Segment(h, (0.0, slope * h), (slope, slope), np.zeros(5), math.log(h), 0.0, 0.0)
    level, excess = log_elapsed(one)
    expected = slope * h + math.log(-math.expm1(-slope * h) / slope)
    assert level + excess == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_non_separable_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="not separable"):
        scaled_map(maps.SimplexEntropy(1))

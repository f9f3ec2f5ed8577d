from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp

from mirrorflow.diagnostics import check_monotone, energy, fit_growth, predict
from mirrorflow.exact import one_point_flow
from mirrorflow.maps import (
    Cosh,
    DoubleExponential,
    HyperbolicEntropy,
    Power,
    Quadratic,
    Spectral,
)
from mirrorflow.nets import Linear, TwoLayer

X = torch.tensor([1.0, 2.0], dtype=torch.float64)


def exact_run(mirror_map, first: float, last: float, points: int = 40):
    """The flow on one point along its ray `∇R(w) = s x`, `t = ∫ exp⟨x, ∇R*(σx)⟩ dσ`: a table."""
    nodes, weights = np.polynomial.legendre.leggauss(16)

    def q(s):
        w = mirror_map.to_primal(torch.from_numpy(np.atleast_1d(s))[:, None] * X)
        return (w @ X).numpy()

    top = 709.0
    if q(math.exp(top))[0] > last:
        top = brentq(lambda v: float(q(math.exp(v))[0]) - last, -20, top)
    edges = np.exp(np.linspace(-20, top, 20_000))
    half = np.diff(edges)[:, None] / 2
    values = q((edges[:-1, None] + half * (1 + nodes)).reshape(-1)).reshape(-1, 16)
    pieces = logsumexp(values + np.log(half * weights), axis=1)
    start = float(q(edges[0])[0]) + math.log(edges[0])
    log_t = np.logaddexp.accumulate(np.append(start, pieces))
    chosen = np.searchsorted(log_t, np.geomspace(first, min(last, log_t[-1]), points))
    chosen = np.unique(chosen.clip(max=len(edges) - 1))
    w = mirror_map.to_primal(torch.from_numpy(edges[chosen])[:, None] * X)
    horizon = mirror_map.horizon()
    return {
        "log_t": log_t[chosen],
        "log_loss": -(w @ X).numpy(),
        "log_gauge": np.array([math.log(float(horizon.gauge(row))) for row in w]),
    }


def test_the_table_is_the_closed_form():
    run = exact_run(HyperbolicEntropy(1.0), 10.0, 100.0, 3)
    for log_t, log_loss in zip(run["log_t"], run["log_loss"], strict=True):
        w = one_point_flow(HyperbolicEntropy(1.0), X, float(log_t))
        assert -float(w @ X) == pytest.approx(log_loss, rel=1e-9)


@pytest.mark.parametrize(
    ("mirror_map", "last", "expected"),
    [
        (Quadratic(), 7200.0, {"d log Q/d log log t": 1.0, "−d log ℓ/d log t": 1.0}),
        (Power(3), 7200.0, {"−d log(ℓt)/d log log t": -1.0}),
        (HyperbolicEntropy(1.0), 7200.0, {"−d log(ℓt)/d log log t": 1.0}),
        (Cosh(), 690.0, {"−d log ℓ/d log t": 0.75}),  # γ/(1 + γ), γ = 3
        (DoubleExponential(), 690.0, {"dQ/d log log t": 1.0}),
    ],
    ids=repr,
)
def test_the_laws_of_the_closed_form_flow(mirror_map, last, expected):
    found = fit_growth(exact_run(mirror_map, 240.0, last), mirror_map=mirror_map, degree=1)
    assert not found.refused
    laws = {law.name: law for law in found.laws}
    assert all(law.agrees for law in found.laws), found.verdict
    for name, value in expected.items():
        assert laws[name].predicted == pytest.approx(value, abs=2e-3)
        assert laws[name].measured == pytest.approx(value, abs=0.05)
        assert laws[name].low <= laws[name].measured <= laws[name].high


def test_the_wrong_map_disagrees():
    run = exact_run(Power(3), 240.0, 7200.0)
    found = fit_growth(run, mirror_map=Power(1.5), degree=1)
    assert "disagree" in found.verdict
    assert not {law.name: law for law in found.laws}["−d log(ℓt)/d log log t"].agrees


def test_it_refuses_where_logarithms_dominate_and_says_from_where_on():
    early = exact_run(Quadratic(), 2.0, 23.0)
    found = fit_growth(early, mirror_map=Quadratic(), degree=1)
    assert found.refused
    assert found.verdict.startswith("refused: the run ends at t = 1e9.")
    assert "t = 1e271.8" in found.verdict
    with_few = {k: v[::20] for k, v in exact_run(Quadratic(), 240.0, 7200.0).items()}
    assert fit_growth(with_few, mirror_map=Quadratic(), degree=1).refused


def test_a_moving_margin_is_named():
    run = exact_run(HyperbolicEntropy(1.0), 231.0, 7200.0)
    found = fit_growth(run, mirror_map=HyperbolicEntropy(1.0), degree=1)
    assert "still moves" in found.verdict


def test_attributes_of_a_trajectory_and_rows_that_are_not_finite():
    run = exact_run(Quadratic(), 240.0, 7200.0)
    padded = {k: np.concatenate([[-math.inf], v, [math.inf]]) for k, v in run.items()}
    record = SimpleNamespace(**padded, degree=1.0)
    assert (
        fit_growth(record, mirror_map=Quadratic()).laws
        == fit_growth(run, mirror_map=Quadratic(), degree=1).laws
    )
    with pytest.raises(TypeError, match="pass degree=L"):
        fit_growth(run, mirror_map=Quadratic())
    with pytest.raises(TypeError, match="without a column 'log_t'"):
        fit_growth({}, mirror_map=Quadratic(), degree=1)
    with pytest.raises(ValueError, match="one length"):
        fit_growth({**run, "log_t": [1.0]}, mirror_map=Quadratic(), degree=1)


def test_predictions_of_the_table():
    assert predict(Power(3), 2, 0.5).loss_log_constant == pytest.approx(
        math.log(2 / (4 * 0.5**1.5))
    )
    assert predict(Power(3), 2, 0.5).log_exponent == pytest.approx(0.5)
    assert predict(HyperbolicEntropy(0.1), 2, 0.5).loss_log_constant == pytest.approx(
        math.log(1 / (4 * 0.5**0.5))
    )
    assert predict(Cosh(), 1, 3.0).time_exponent == pytest.approx(0.75)
    assert predict(Cosh(), 2, 3.0).time_exponent == 1


@pytest.mark.parametrize("mirror_map", [Quadratic(), Power(3), Cosh(), HyperbolicEntropy(0.5)])
def test_the_smoothed_margin_never_decreases_along_a_run(mirror_map):
    """Small loss-normalised steps on six points, from a poor start."""
    g = torch.Generator().manual_seed(1)
    z = torch.randn(6, 10, generator=g)
    w = torch.linalg.lstsq(z, torch.tensor([0.05, 0.1, 5.0, 1.0, 2.0, 4.0])[:, None])[0][:, 0]
    w = 4 * w
    net = Linear(10)
    losses, energies, indices = [], [], []
    for _ in range(300):
        q = z @ w
        gradient = torch.softmax(-q, 0) @ z
        with torch.no_grad():
            net.weight.copy_(w)
        found = energy(net, mirror_map)
        losses.append(float(torch.logsumexp(-q, 0)))
        energies.append(found.log_energy)
        indices.append(found.local_index)
        reach = float((z @ (gradient / mirror_map.hessian(w).clamp(min=1e-2))).abs().max())
        w = mirror_map.step(w, -0.05 / reach * gradient)
    result = check_monotone(losses, energies, 1, indices, tolerance=1e-4)
    assert np.isfinite(result.log_margin).sum() > 100
    assert result.holds, result.largest_drop
    # Backwards in time it must fail, or the check could not.
    late = [i for i, v in enumerate(losses) if v < 0]
    back = [np.array(v)[late][::-1] for v in (losses, energies)]
    assert check_monotone(*back, 1, max(indices)).largest_drop > 1e-2


def test_energy_by_hand_and_for_huge_parameters():
    net = TwoLayer(2, 3)
    total = sum(float(p.detach().square().sum()) for p in net.parameters())
    found = energy(net, Quadratic())
    assert found.log_energy == pytest.approx(math.log(total / 2))
    assert (found.local_index, found.degree) == (2, 2)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1e200)
    huge = energy(net, Quadratic()).log_energy
    assert huge == pytest.approx(math.log(total / 2) + 400 * math.log(10))
    with pytest.raises(TypeError, match="one MirrorMap"):
        energy(net, {"*": Quadratic()})  # type: ignore[arg-type]


@pytest.mark.parametrize("scalar", [Cosh(), HyperbolicEntropy(0.3)])
def test_local_index_of_a_map_that_is_not_separable(scalar):
    """On one singular value a spectral map is its scalar map."""
    net = TwoLayer(3, 1)
    values = torch.tensor([float(p.detach().norm()) for p in net.parameters()])
    expected = float(
        (values**2 * scalar.hessian(values)).sum() / scalar.dual_energy_entries(values).sum()
    )
    assert energy(net, Spectral(scalar)).local_index == pytest.approx(expected)


def test_check_monotone_bad_input_and_small_losses_only():
    result = check_monotone([1.0, -1.0, -2.0], [0.0, 0.0, 0.0], 2, 2)
    assert math.isnan(result.log_margin[0])
    assert result.holds
    falling = check_monotone([-2.0, -1.0], [0.0, 0.0], 2, 2)
    assert falling.largest_drop == pytest.approx(math.log(2))
    assert (falling.where, falling.holds) == (1, False)
    with pytest.raises(ValueError, match=r"two \(T,\) arrays"):
        check_monotone([1.0], [1.0, 2.0], 2, 2)
    with pytest.raises(ValueError, match="must be positive"):
        check_monotone([1.0], [1.0], 0, 2)

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp

from mirrorflow.diagnostics import (
    check_monotone,
    energy,
    fit_growth,
    predict,
    residual_scale,
)
from mirrorflow.exact import one_point_flow
from mirrorflow.maps import (
    Cosh,
    Custom,
    DoubleExponential,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    Mixed,
    PNorm,
    Power,
    Quadratic,
    Scaled,
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


def ray_run(log_second, degree: int, gamma: float, first: float, last: float) -> dict:
    """One dimension, `d r'(Q)/dt = L γ Q^{L−1} e^{−γ Q^L}`, by quadrature in log Q.

    `t = ∫ r''/(L γ Q^{L−1}) e^{γ Q^L} dQ`, on panels where the exponent is taken as linear.
    """

    def exponent(v):
        inner = gamma * np.exp(degree * v) + log_second(np.exp(v))
        return inner - math.log(degree * gamma) + (2 - degree) * v

    edges = np.arange(-12.0, 12.0, 1e-3)
    with np.errstate(all="ignore"):
        values = exponent(edges)
        kept = np.isfinite(values) & (values < 3 * last + 1e3)
    values, edges = values[kept], edges[kept]
    rise = np.diff(values)
    small = np.abs(rise) < 1e-6
    rise = np.where(small, 1.0, rise)
    area = np.where(small, 0.0, np.log(-np.expm1(-np.abs(rise))) - np.log(np.abs(rise)))
    log_t = np.logaddexp.accumulate(np.maximum(values[1:], values[:-1]) + area + math.log(1e-3))
    at = np.interp(np.geomspace(first, last, 60), log_t, np.arange(len(log_t)))
    at = np.unique(at.astype(int))
    log_q = edges[1:][at]
    return {"log_t": log_t[at], "log_loss": -gamma * np.exp(degree * log_q), "log_gauge": log_q}


def log_cosh(z):
    return np.logaddexp(z, -z) - math.log(2)


RAYS = [  # map, log r'' by hand
    (Quadratic(), lambda x: 0 * x),
    (Power(3), lambda x: math.log(2) + np.log(x)),
    (Power(1.5), lambda x: math.log(0.5) - 0.5 * np.log(x)),
    (Mixed(3, 1.0, 1.0), lambda x: np.log(1 + 2 * x)),
    (Mixed(3, 0.01, 5.0), lambda x: np.log(0.01 + 10 * x)),
    (Mixed(1.5, 3.0, 1.0), lambda x: np.log(3 + 0.5 / np.sqrt(x))),
    (Mixed(3, 0.0, 7.0), lambda x: math.log(14) + np.log(x)),
    (Mixed(3, 7.0, 0.0), lambda x: math.log(7) + 0 * x),
    (HyperbolicEntropy(0.1), lambda x: -0.5 * np.log(x * x + 0.01)),
    (Logarithmic(1.0), lambda x: -np.log(x + 1)),
    (Cosh(0.4), lambda x: log_cosh(x / 0.4)),
    (Exponential(), lambda x: x),
    (Custom(gradient=lambda x: 0.4 * torch.sinh(x / 0.4), name="c"), lambda x: log_cosh(x / 0.4)),
    (
        Custom(gradient=lambda x: x * torch.exp(x * x), name="gauss"),
        lambda x: np.log(1 + 2 * x * x) + x * x,
    ),
    (
        Custom(gradient=lambda x: x / (1 + torch.sqrt(1 + x.abs())), name="root"),
        lambda x: -math.log(2) - 0.5 * np.log1p(x),
    ),
]


@pytest.mark.parametrize(("mirror_map", "log_second"), RAYS, ids=[str(m)[:40] for m, _ in RAYS])
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("weight", [1e-3, 1.0, 1e3])
def test_laws_of_one_dimension(mirror_map, log_second, degree, weight) -> None:
    """Every number, constants too, is where the ODE has it, or the fit is refused."""
    scaled = mirror_map if weight == 1 else Scaled(mirror_map, weight)
    run = ray_run(lambda x: log_second(x) + math.log(weight), degree, 2.0, 240.0, 900.0)
    found = fit_growth(run, mirror_map=scaled, degree=degree)
    if found.refused:
        assert "not asymptotic yet at log t = " in found.verdict
        assert "follow further" in found.verdict
        assert isinstance(mirror_map, Mixed)
        return
    assert all(law.agrees for law in found.laws), found.verdict
    for law in found.laws:
        size = max(abs(law.predicted), 0.5)
        assert law.measured == pytest.approx(law.predicted + law.correction, abs=0.02 * size)


def test_a_cosh_given_as_a_function_has_the_law_of_cosh() -> None:
    """`−d log ℓ/d log t = γ/(1/s + γ)`, 0.286 for s = 0.4 and γ = 1; not 1."""
    mine = Custom(gradient=lambda x: 0.4 * torch.sinh(x / 0.4))
    assert predict(mine, 1, 1.0).time_exponent == pytest.approx(1 / 3.5, rel=1e-6)
    run = ray_run(lambda x: log_cosh(x / 0.4), 1, 1.0, 240.0, 900.0)
    laws = {law.name: law for law in fit_growth(run, mirror_map=mine, degree=1).laws}
    assert laws["−d log ℓ/d log t"].measured == pytest.approx(0.2857, abs=2e-3)
    assert laws["−d log ℓ/d log t"].agrees


def test_what_is_not_asymptotic_is_refused() -> None:
    late = Custom(gradient=lambda x: x + 1e-15 * x**3)
    run = ray_run(lambda x: np.log(1 + 3e-15 * x * x), 1, 1.0, 240.0, 900.0)
    found = fit_growth(run, mirror_map=late, degree=1)
    assert found.refused
    assert "not asymptotic yet at log t = " in found.verdict
    slow = Custom(gradient=lambda x: x * torch.exp(torch.log1p(x.abs()) ** 2), name="slow")
    found = fit_growth(run, mirror_map=slow, degree=1)
    assert found.refused
    assert "the growth of Custom(gradient=slow) cannot be told" in found.verdict


def test_constants_of_weights() -> None:
    """`C = A/(L² γ^{α/L})` with A by hand: `w (p−1)`, `b (p−1)`, a, w, and 1 for p-norms."""
    for mirror_map, constant in (
        (Scaled(Power(3), 10.0), 20.0),
        (Mixed(3, 5.0, 0.25), 0.5),
        (Mixed(3, 0.0, 7.0), 14.0),
        (Mixed(1.5, 3.0, 9.0), 3.0),
        (Mixed(3, 4.0, 0.0), 4.0),
        (Mixed(2, 0.25, 0.5), 0.75),
        (Scaled(HyperbolicEntropy(0.1), 1e-3), 1e-3),
        (PNorm(3), 1.0),
        (Spectral(Scaled(Power(4), 2.0)), 6.0),
    ):
        alpha = mirror_map.index
        found = predict(mirror_map, 2, 0.5).loss_log_constant
        assert found == pytest.approx(math.log(constant / 4) - alpha / 2 * math.log(0.5))
    assert predict(Scaled(Cosh(0.1), 7.0), 1, 3.0).time_exponent == pytest.approx(3 / 13)


def test_the_residual_of_a_scaled_map_is_that_of_the_map() -> None:
    """The weight is a unit of time: the path is the same."""
    for inner in (Cosh(0.1), HyperbolicEntropy(0.01), Power(1.5), Mixed(3, 1.0, 2.0)):
        plain = residual_scale(inner, 5.0, 9.0)
        assert residual_scale(Scaled(inner, 50.0), 5.0, 9.0) == pytest.approx(plain, rel=1e-6)
        assert 1e-6 < plain < 1
    assert residual_scale(Cosh(0.1), 5.0, 50.0) == pytest.approx(0.1 * math.exp(-5), rel=1e-6)
    mine = Custom(gradient=lambda x: 0.1 * torch.sinh(x / 0.1))
    assert residual_scale(mine, 3.0, 50.0) == pytest.approx(0.1 * math.exp(-3), rel=1e-6)
    # (a/b)/((p−1)…): the local index of a x + b x² is off by a/(a + b Q).
    off = residual_scale(Mixed(3, 1.0, 2.0), 5.0, 50.0)
    assert off == pytest.approx(1 / (1 + 2 * math.exp(5)), rel=1e-6)


@pytest.mark.parametrize("bad", [None, "abc", math.nan, math.inf, -1, 0, 1j, [], True])
def test_bad_numbers_are_named(bad: object) -> None:
    run = {k: [1.0] for k in ("log_t", "log_loss", "log_gauge")}
    for call, name in (
        (lambda: predict(Power(3), bad, 1.0), "degree"),
        (lambda: predict(Power(3), 1.0, bad), "gamma"),
        (lambda: fit_growth(run, mirror_map=Power(3), degree=1, from_log_t=bad), "from_log_t"),
    ):
        with pytest.raises((TypeError, ValueError), match=rf"^{name} = "):
            call()
    if not (isinstance(bad, int) and bad in (0, -1)) or isinstance(bad, bool):
        with pytest.raises((TypeError, ValueError), match=r"^log_gauge = "):
            residual_scale(Power(3), bad, 1.0)
    with pytest.raises((TypeError, ValueError), match="^mirror_map"):
        residual_scale(bad, 1.0, 1.0)
    with pytest.raises(TypeError, match="^run"):
        fit_growth({**run, "log_t": [object()]}, mirror_map=Power(3), degree=1)

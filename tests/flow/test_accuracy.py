"""What a tolerance buys: dense output, global error and closed forms against independent truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from mirrorflow import maps
from mirrorflow.exact import one_point_flow
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.flow.follow import start
from mirrorflow.flow.integrate import integrate
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.record.recorder import Recorder
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.implicit import ImplicitStepper
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer

POINT = (0.7, -1.6, 0.3)
TIMES = np.concatenate([np.linspace(-5.0, 20.0, 18), np.exp(np.linspace(3.1, 9.2, 15))])


def one_point(m: maps.SeparableMap, x: torch.Tensor, log_t_end: float, tol: float) -> Trajectory:
    net = Linear(len(x))
    torch.nn.init.zeros_(net.weight)
    return mirror_flow(net, x[None], torch.ones(1), m, log_t_end=log_t_end, tol=tol)


def errors(flow: Trajectory, m: maps.SeparableMap, x: torch.Tensor, log_t: float) -> float:
    """Relative error of the weights, and of the log loss, whichever is larger."""
    here, truth = flow.at(log_t), one_point_flow(m, x, log_t).numpy()
    weights = here.direction * math.exp(here.log_gauge)
    q = float(truth @ x.numpy())
    off = float(np.linalg.norm(weights - truth) / np.linalg.norm(truth))
    return max(off, abs(here.log_loss + q) / (1.0 + q))


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Quadratic(),
        maps.Power(1.5),
        maps.Power(3.0),
        maps.HyperbolicEntropy(0.1),
        maps.Logarithmic(1.0),
        maps.Mixed(3.0),
        maps.Cosh(1.0),
        maps.Exponential(),
    ],
    ids=repr,
)
def test_dense_output(mirror_map: maps.SeparableMap) -> None:
    """Between steps, from log t = -5 to 1e4: accurate to the tolerance, and tenfold better for a
    tenth of it."""
    x = torch.tensor(POINT)
    worst = []
    for tol in (1e-5, 1e-6):
        flow = one_point(mirror_map, x, 1e4, tol)
        assert not np.isin(TIMES, flow.log_t).any()
        worst.append(max(errors(flow, mirror_map, x, t) for t in TIMES))
    assert worst[0] < 5e-5
    assert worst[1] < 5e-6
    assert worst[1] < 0.3 * worst[0]


def test_norm_between_steps_of_cosh_at_late_times() -> None:
    """L = 1: the time scale itself grows like e^Q, which the slopes have to know."""
    m, x = maps.Cosh(1.0), torch.tensor([1.0, 2.0])
    flow = one_point(m, x, 1e11, 1e-5)
    for log_t in (1e4, 3e6, 1e7, 1e9, 4e10):
        assert errors(flow, m, x, log_t) < 5e-6


def named_map(kind: str, beta: float) -> maps.SeparableMap:
    match kind:
        case "hyperbolic":
            return maps.HyperbolicEntropy(beta)
        case "logarithmic":
            return maps.Logarithmic(beta)
        case "power":
            return maps.Power(1.2 + 2.8 * beta)
        case "cosh":
            return maps.Cosh(0.5 + beta)
    return maps.Mixed(1.5 + 2.0 * beta, 1.0, 0.5 + beta)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["hyperbolic", "logarithmic", "power", "cosh", "mixed"]),
    beta=st.floats(0.01, 1.0),
    x=st.lists(
        st.floats(0.2, 3.0).flatmap(lambda a: st.sampled_from([a, -a])), min_size=2, max_size=4
    ),
)
@example(kind="power", beta=1.0, x=[1.0, 0.3])
def test_closed_forms_of_any_point_and_map(kind: str, beta: float, x: list[float]) -> None:
    """t = 1e10, 1e100, 1e1000 to 1e-6."""
    m, point = named_map(kind, beta), torch.tensor(x)
    flow = one_point(m, point, 1000 * math.log(10), 1e-8)
    for power in (10, 100, 1000):
        assert errors(flow, m, point, power * math.log(10)) < 1e-6


def problem(kind: str) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(8, 3, generator=g)
    y = torch.where(x[:, 0] + 0.5 * x[:, 1] > 0, 1.0, -1.0)
    if kind == "linear":
        return Linear(3, generator=g), x, y
    if kind == "two":
        return TwoLayer(3, 5, "smooth_relu", 0.1, generator=g), x, y
    return MLP((3, 4, 4, 1), "smooth_relu", eps=0.1, generator=g), x, y


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mirror_map"),
    [
        ("linear", maps.Quadratic()),
        ("linear", maps.HyperbolicEntropy(0.1)),
        ("linear", maps.Power(3)),
        ("linear", maps.Cosh(1.0)),
        ("two", maps.HyperbolicEntropy(0.1)),
    ],
    ids=str,
)
def test_the_error_is_proportional_to_the_tolerance(kind: str, mirror_map: maps.MirrorMap) -> None:
    """Three halvings of tol: the error falls eightfold, so the answer moves by 7/8 of it. In the
    middle of five times, since at a single one errors of either sign may meet."""
    net, x, y = problem(kind)
    full, eighth, truth = (
        [
            here.direction * math.exp(here.log_gauge)
            for here in map(flow.at, (2.0, 5.0, 10.0, 15.0, 20.0))
        ]
        for flow in (
            mirror_flow(net, x, y, mirror_map, log_t_end=20.1, tol=tol)
            for tol in (4e-5, 5e-6, 4e-7)
        )
    )

    def apart(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
        return np.array([np.linalg.norm(v - w) for v, w in zip(a, b, strict=True)])

    error = apart(full, truth)
    assert np.all(error < 4e-5 * np.linalg.norm(truth, axis=1))
    assert 4 < np.median(error / apart(eighth, truth)) < 20
    assert np.median(apart(full, eighth) / error) == pytest.approx(7 / 8, rel=0.2)


@pytest.mark.parametrize("mirror_map", [maps.Cosh(1.0), maps.Exponential()], ids=repr)
def test_slaved_coordinates_keep_the_tolerance(mirror_map: maps.SeparableMap) -> None:
    """Inside the cube velocities are differences of nearly equal terms, and far from their values
    at a state that is off by the tolerance; at and between steps, against SciPy's Radau."""
    net, x, y = problem("linear")
    start = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    signed = (x * y[:, None]).numpy()

    def primal(u: np.ndarray) -> np.ndarray:
        return mirror_map.to_primal(torch.from_numpy(u)).numpy()

    truth = solve_ivp(
        lambda s, u: signed.T @ np.exp(s - signed @ primal(u)),  # s = log(1 + t)
        (0.0, 21.0), mirror_map.to_dual(start).numpy(), "Radau", rtol=1e-9, atol=1e-10,
        dense_output=True,
    ).sol  # fmt: skip
    for tol in (1e-4, 1e-5):
        flow = mirror_flow(net, x, y, mirror_map, log_t_end=20.0, tol=tol)
        for log_t in (0.5, 5.2, 9.9, 12.8, 17.3, 19.1, 20.0):
            here = flow.at(log_t)
            w = primal(truth(np.logaddexp(0.0, log_t)))
            off = here.direction * math.exp(here.log_gauge) - w
            assert np.linalg.norm(off) < tol * np.linalg.norm(w)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_balance_falls_at_the_order_of_the_stepper(order: int) -> None:
    """Steps of a fixed size, to the same point: the drift is a global error like any other."""
    net, x, y = problem("two")
    margins = net_margins(net, x, y, 1e-2)
    sizes, drift = (0.04, 0.02), []
    for h in sizes:
        frame = Frame(
            margins, scaled_map(maps.HyperbolicEntropy(0.3)), FlowLoss("exponential", margins.point)
        )
        position = start(frame, flat_parameters(net)[margins.order], 1e-7)
        position.h = h
        recorder = Recorder(frame)
        # a tolerance that never binds leaves the largest step as the step
        stepper = ImplicitStepper(order, 1e3, 1e-7, h, h, newton_tol=1e-13)
        integrate(
            frame, stepper, position, recorder,
            log_t_end=math.inf, log_log_t_end=math.inf, max_steps=round(0.8 / h), delta=1e-7,
        )  # fmt: skip
        drift.append(recorder.rows[-1]["balance_drift"])
    assert math.log2(drift[0] / drift[1]) == pytest.approx(order, abs=0.35)

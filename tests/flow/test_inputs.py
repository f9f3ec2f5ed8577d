"""Bad input is refused by name, with its value and the cure; every call is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from mirrorflow import maps
from mirrorflow.errors import NotHomogeneousError
from mirrorflow.flow import (
    KKT,
    Explicit,
    Implicit,
    Krylov,
    LogLog,
    Smooth,
    compare_maps,
    mirror_flow,
)
from mirrorflow.nets import Linear, TwoLayer


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, generator=g, dtype=torch.float64)
    return x, torch.where(x[:, 0] > 0, 1.0, -1.0).double()


class Scaleless(nn.Module):
    """Degree 0: `f(cw) = f(w)`."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w / self.w.norm()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"log_t_end": None}, TypeError, "log_t_end = None"),
        ({"log_t_end": math.nan}, ValueError, "log_t_end = nan"),
        ({"log_t_end": math.inf}, ValueError, "log_t_end = inf is not a time"),
        ({"log_t_end": "1"}, TypeError, "log_t_end = '1' is a str"),
        ({"log_t_end": 1.0, "tol": 0.0}, ValueError, "tol = 0.0 cannot be kept; choose"),
        ({"log_t_end": 1.0, "tol": 1e-10}, ValueError, "choose 1e-09 <= tol <= 0.1"),
        ({"log_t_end": 1.0, "tol": math.nan}, ValueError, "tol = nan is not allowed"),
        ({"log_t_end": 1.0, "tol": "1e-3"}, TypeError, "tol = '1e-3' is a str"),
        ({"log_t_end": 1.0, "loss": "hinge"}, ValueError, "loss = 'hinge' is unknown; choose"),
        ({"log_t_end": 1.0, "stepper": "euler"}, TypeError, "stepper = 'euler' is unknown; pass"),
        ({"log_t_end": 1.0, "max_steps": 0}, ValueError, "max_steps = 0"),
        ({"log_t_end": 1.0, "max_steps": True}, TypeError, "max_steps = True"),
        ({"log_t_end": 1.0, "relu": 1e-2}, TypeError, "relu = 0.01 is unknown; pass Smooth"),
        ({"log_t_end": 1.0, "stop": 1e-3}, TypeError, "stop = 0.001 is not a rule; pass KKT"),
        ({"log_t_end": 1.0, "progress": "yes"}, TypeError, "progress = 'yes'"),
        ({"log_t_end": 1.0, "callback": 3}, TypeError, "callback = 3 is a int"),
        ({"log_t_end": 1.0, "checkpoint": "no/folder/f"}, FileNotFoundError, "create it first"),
    ],
)
def test_settings(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    x, y = problem()
    with pytest.raises(error, match=text):
        mirror_flow(Linear(2), x, y, maps.Quadratic(), **arguments)


X, Y = problem()


def frozen() -> nn.Module:
    net = TwoLayer(2, 3)
    net.weights[0].requires_grad_(False)
    return net


def on_the_simplex() -> nn.Module:
    net = TwoLayer(2, 3)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.softmax(p, -1))
    return net


@pytest.mark.parametrize(
    ("x", "y", "error", "text"),
    [
        ("points", Y, TypeError, "x = 'points' is a str; pass a torch.Tensor or an array"),
        (X, None, TypeError, "y = None is a NoneType; pass a torch.Tensor or an array"),
        (X.to(torch.complex128), Y, TypeError, "x is complex"),
        (X[:0], Y[:0], ValueError, "there are no points"),
        (torch.tensor(1.0), Y, ValueError, "there are no points"),
        (X * math.nan, Y, ValueError, "x holds NaN or infinity in 6 of 6 points"),
        (X * 0.0, Y, ValueError, "largest entry of x is 0"),
        (X * 1e200, Y, ValueError, "scale the points"),
        (X[:, :1], Y, ValueError, "x has 1 features a point, but the net takes 2"),
        (X, Y * math.nan, ValueError, "takes labels -1 and"),
        (X, Y[:3], ValueError, "one label a point"),
        (X, torch.stack([Y, -Y], 1), ValueError, "one label a point"),
        (X, (Y > 0).double(), ValueError, r"from 0/1: 2\*y - 1"),
    ],
    ids=[
        "text", "none", "complex", "empty", "scalar", "nan", "zero", "huge", "features",
        "nan labels", "short labels", "labels (n, 2)", "labels 0 and 1",
    ],
)  # fmt: skip
def test_data(x: Any, y: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        mirror_flow(Linear(2), x, y, maps.Quadratic(), log_t_end=1.0)


@pytest.mark.parametrize(
    ("net", "mirror_map", "error", "text"),
    [
        ("net", maps.Quadratic(), TypeError, "net = 'net' is not a network"),
        (Linear(2), "cubic", ValueError, "mirror_map: 'cubic' is not a map|mirror_map: .*cubic"),
        (Scaleless(), maps.Quadratic(), NotHomogeneousError, "best exponent 0"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
            maps.Quadratic(), NotHomogeneousError, "Tanh",
        ),
        (frozen(), maps.Quadratic(), ValueError, r"parameters \['weights.0'\] do not require"),
        (
            on_the_simplex(), maps.SimplexEntropy(1), ValueError,
            "mirror_map = SimplexEntropy.* is not separable, .* optim.MirrorDescent",
        ),
        (
            TwoLayer(2, 3), {"weights.0": maps.Cosh(2.0), "*": maps.Cosh(1.0)}, ValueError,
            r"mirror_map gives Cosh\(scale=2.* only one can be followed: use it wherever",
        ),
        (
            TwoLayer(2, 3), {"weights.0": maps.Spectral(maps.Cosh(1.0)), "*": maps.Cosh(1.0)},
            ValueError, r"mirror_map gives Spectral.* only one can be followed: use it wherever",
        ),
        (
            nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)),
            {"0.weight": maps.Quadratic(), "*": maps.Power(1.5)}, ValueError,
            "mirror_map gives several maps, but the net .*; use a net of mirrorflow.nets",
        ),
    ],
    ids=[
        "no module", "unknown map", "degree 0", "tanh", "frozen", "simplex",
        "two rapid", "rapid and its lift", "several on a module",
    ],
)  # fmt: skip
def test_net_and_map(net: Any, mirror_map: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        mirror_flow(net, X, Y, mirror_map, log_t_end=1.0)


def test_weights_that_are_not_finite() -> None:
    net = Linear(2)
    nn.init.constant_(net.weight, math.inf)
    with pytest.raises(ValueError, match=r"NaN or infinity \(in weight\)"):
        mirror_flow(net, X, Y, maps.Quadratic(), log_t_end=1.0)


@pytest.mark.parametrize("start", [(0.2, 0.3, 0.1), (2.0, 3.0, 1.5)])
def test_negative_entropy_lives_on_the_orthant(start: tuple[float, ...]) -> None:
    """`du/dt = J'e^{-q}`, `w = e^u`, against SciPy; weights of both signs are refused."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(5, 3, generator=g) * torch.tensor([1.0, 1.0, -0.3]), torch.ones(5)
    net = Linear(3)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(start))
    a = x.numpy()

    def rhs(_: float, u: np.ndarray) -> np.ndarray:
        return a.T @ np.exp(-a @ np.exp(u))

    out = solve_ivp(rhs, (0, 20), np.log(start), "DOP853", rtol=1e-10, atol=1e-12)
    flow = mirror_flow(net, x, y, maps.NegativeEntropy(), log_t_end=math.log(20.0), tol=1e-7)
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    np.testing.assert_allclose(theta, np.exp(out.y[:, -1]), rtol=1e-5)
    with torch.no_grad():
        net.weight[..., 0] = -0.5
    with pytest.raises(ValueError, match=r"negative entry \(-0.5\).*HyperbolicEntropy"):
        mirror_flow(net, x, y, maps.NegativeEntropy(), log_t_end=1.0)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Implicit(order=7), ValueError, "order = 7"),
        (lambda: Krylov(order=2.5), TypeError, "order = 2.5"),
        (lambda: Implicit(max_step=5.0), ValueError, "max_step = 5.0"),
        (lambda: Explicit(temperature=0.5), ValueError, "temperature = 0.5"),
        (lambda: KKT(-1.0), ValueError, "tol = -1.0"),
        (lambda: Smooth(-1.0), ValueError, "eps = -1.0"),
        (lambda: LogLog(math.inf), ValueError, r"LogLog\(inf\) is not a time"),
        (lambda: LogLog("1"), TypeError, "value = '1'"),
    ],
)
def test_options(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("stepper", [Implicit(), Krylov(), Explicit()], ids=repr)
@pytest.mark.parametrize("steps", [1, 7])
def test_every_method_is_bounded_and_keeps_what_it_has(
    stepper: Implicit | Explicit, steps: int
) -> None:
    net = TwoLayer(2, 3, "smooth_relu", generator=torch.Generator().manual_seed(0))
    flow = mirror_flow(
        net, X, Y, maps.Power(3.0), log_t_end=1e100, stepper=stepper, max_steps=steps
    )
    assert flow.outcome == "stalled"
    assert flow.stats.reason == f"max_steps = {steps} was used up"
    assert flow.stats.steps + flow.stats.rejected + flow.stats.failed == steps
    assert 1 <= len(flow) <= steps + 1
    assert np.all(np.isfinite(flow.direction))


@pytest.mark.parametrize("log_t", [-1e5, -50.0, -4.0])
def test_a_time_before_separation_is_reached(log_t: float) -> None:
    """The margin is negative because it is early, not because the points cannot be separated."""
    net = Linear(2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([-1.0, 0.0]))
    flow = mirror_flow(net, X, Y, maps.Quadratic(), log_t_end=log_t)
    assert flow.log_t[-1] == log_t
    assert flow.margin[-1] < 0
    assert flow.outcome == "reached"


def test_half_separable_points_are_not_separable() -> None:
    """Two points contradict each other for ever, while a third is pushed away without end."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([1.0, -1.0, 1.0])
    for m in (maps.Quadratic(), maps.HyperbolicEntropy(0.1)):
        flow = mirror_flow(Linear(2), x, y, m, log_t_end=1e2, max_steps=500)
        assert flow.outcome == "not_separable"


def test_comparison_refuses_by_name(tmp_path: Path) -> None:
    q = maps.Quadratic()
    with pytest.raises(ValueError, match="at least one"):
        compare_maps(Linear(2), X, Y, [], log_t_end=0.0)
    for workers in (0, 1.5, True):
        with pytest.raises((ValueError, TypeError), match=f"workers = {workers}"):
            compare_maps(Linear(2), X, Y, [q], workers=workers, log_t_end=0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one cannot serve several flows"):
        compare_maps(Linear(2), X, Y, [q], checkpoint=tmp_path / "f", log_t_end=0.0)

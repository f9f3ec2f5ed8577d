"""A user's default dtype is float32: the README and the door give there what float64 gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mirrorflow as mf

README = (Path(__file__).parent.parent / "README.md").read_text()
CLOSE = 2e-5  # of numbers that a few hundred roundings of float32 enter


@pytest.fixture(autouse=True)
def _float32(_reproducible: None) -> None:
    torch.set_default_dtype(torch.float32)


def problem(dtype: torch.dtype) -> tuple[mf.nets.TwoLayer, Tensor, Tensor]:
    """The same values in either dtype: those that float32 holds."""
    points = mf.data.random_labels(n=8, d=2, seed=0)
    generator = torch.Generator().manual_seed(0)
    net = mf.nets.TwoLayer(d=2, m=12, activation="smooth_relu", bias=True, generator=generator)
    return net.to(dtype), points.x.float().to(dtype), points.y


def both(call: Any) -> tuple[Any, Any]:
    """`call` on the problem in float32, and with float64 everywhere."""
    short = call(*problem(torch.float32))
    start = [p.detach().double() for p in problem(torch.float32)[0].parameters()]
    net, x, y = problem(torch.float64)
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        for p, value in zip(net.parameters(), start, strict=True):
            p.copy_(value)
    long = call(net, x, y)
    torch.set_default_dtype(torch.float32)
    return short, long


def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block.replace("torch.set_default_dtype(torch.float64)\n", ""), names)
    outcome, _, gap = capsys.readouterr().out.splitlines()[0].split()
    assert outcome == "converged"
    assert float(gap) < 1e-6
    assert {p.dtype for p in names["net"].parameters()} == {torch.float32}


@pytest.mark.parametrize("text", ["quadratic", "hyperbolic_entropy(0.1)", "cosh(0.5)"])
def test_the_flow(text: str) -> None:
    short, long = both(lambda net, x, y: mf.mirror_flow(net, x, y, text, log_t_end=40.0))
    assert short.outcome == long.outcome
    assert short.margin[-1] == pytest.approx(long.margin[-1], rel=CLOSE)
    assert long.margin[-1] > 0.01
    assert {p.dtype for p in short.net().parameters()} == {torch.float32}  # the user's own


def test_the_diagnostics() -> None:
    def measured(net: mf.nets.TwoLayer, x: Tensor, y: Tensor) -> dict[str, float]:
        trained = mf.mirror_flow(net, x, y, "quadratic", log_t_end=30.0).net().to(x.dtype)
        certificate = mf.certify(trained, x, y, "quadratic")
        weights = mf.features(trained, x).weights
        assert mf.check_degree(trained, x).total == pytest.approx(2.0, abs=1e-3)
        return {
            "margin": mf.margin(trained, x, y, "quadratic").margin,
            "certified": certificate.margin,
            "epsilon": certificate.epsilon,
            "slack": certificate.slack,
            "hoyer": next(iter(weights.values())).hoyer,
            "energy": next(iter(mf.balance(trained, "quadratic").layers.values())),
        }

    short, long = both(measured)
    exact = ("margin", "certified", "hoyer", "energy")
    assert {k: short[k] for k in exact} == pytest.approx({k: long[k] for k in exact}, rel=CLOSE)
    # the weights are rounded to float32: a residual of that size is what the rounding leaves
    assert short["epsilon"] == pytest.approx(long["epsilon"], rel=0.02, abs=1e-5)
    assert short["slack"] == pytest.approx(long["slack"], rel=0.02, abs=1e-5)
    assert all(long[key] > 1e-6 for key in (*exact, "epsilon"))


def test_exact_answers_and_maps() -> None:
    def solved(net: mf.nets.TwoLayer, x: Tensor, y: Tensor) -> list[float]:
        del net
        x = torch.cat([x, (y * 0.3).to(x)[:, None]], 1)  # separable
        weights = torch.nn.Parameter(x)
        weights.grad = x**2
        return [
            mf.max_margin(x, y, mf.maps.LpHorizon(1.5)).margin,
            float(mf.Cosh(0.5).to_dual(x)[0, 0]),
            float(mf.log_loss(x[:, 0], y, "exponential")),
            mf.match_lr([weights], 0.1, mirror_map="power(3)", like="adamw"),
        ]

    short, long = both(solved)
    assert short == pytest.approx(long, rel=CLOSE)
    assert min(map(abs, long)) > 1e-3
    assert mf.estimate_horizon(mf.Power(3)).horizon == mf.maps.LpHorizon(3)


@pytest.mark.parametrize("kind", [mf.MirrorDescent, mf.MirrorAdamW])
def test_training(kind: Any) -> None:
    def trained(net: mf.nets.TwoLayer, x: Tensor, y: Tensor) -> list[float]:
        optimizer = kind(net.parameters(), lr=0.02, mirror_map="hyperbolic_entropy(0.1)")
        for _ in range(100):
            optimizer.zero_grad()
            mf.log_loss(net(x), y, "exponential").exp().backward()
            optimizer.step()
        assert all(p.dtype == x.dtype for p in net.parameters())
        return [float(p.detach().abs().mean()) for p in net.parameters()]

    short, long = both(trained)
    assert short == pytest.approx(long, rel=2e-4)
    assert min(long) > 1e-3

"""Findings on deep linear nets: which norm of the predictor does their depth and shape prefer?

All of them compute `⟨β, x⟩`; they differ in how β is made of the weights. Gradient flow maximises
the ℓ2 margin of the weights, and so, by what a β of given size costs in weights, another margin of
β: ℓ1 for a diagonal net of depth 2, ℓ2 for full matrices, ℓ1 of the Fourier coefficients for
circular convolutions, and at depth 3 stationary points of ℓ_{2/3}, which is no norm.

Source: Gunasekar, Lee, Soudry & Srebro, NeurIPS 2018; Ji & Telgarsky, ICLR 2019.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor, nn

from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import random_labels
from mirrorflow.errors import MirrorFlowError
from mirrorflow.exact.extra import load_cvxpy, solve
from mirrorflow.flow import mirror_flow
from mirrorflow.losses import log_loss
from mirrorflow.maps import Quadratic
from mirrorflow.nets import MLP, Circular, Diagonal, HomogeneousNet
from mirrorflow.optim import MirrorDescent, RelativeStep

__all__ = ["KINDS", "findings", "oracle", "predictor", "stationarity", "tasks", "train_linear_net"]

KINDS = {
    "diagonal-2": "ℓ1",
    "diagonal-3": "ℓ2/3",
    "full-2": "ℓ2",
    "full-3": "ℓ2",
    "circular-2": "Fourier ℓ1",
    "circular-3": "Fourier ℓ2/3",
}
"""The nets, and the norm of the predictor that each is to prefer."""

# Fixed before the first run. The margins of the flow are those at log t = 1e20.
_NEAR = {"flow": 1e-4, "descent": 3e-2}
_STATIONARY = {"flow": 1e-3, "descent": 1e-1}
_LOG_T = 1e20
_LOSS = -100.0
_STEPS = 20_000
_CURVATURE = 0.1
_POINTS, _FEATURES = 6, 10


def _net(kind: str, seed: int) -> HomogeneousNet:
    shape, depth = kind.split("-")
    g = torch.Generator().manual_seed(seed)
    if shape == "diagonal":
        return Diagonal(_FEATURES, int(depth), init_scale=0.5, generator=g).double()
    if shape == "circular":
        return Circular(_FEATURES, int(depth), generator=g).double()
    sizes = (_FEATURES, *[_FEATURES] * (int(depth) - 1), 1)
    return MLP(sizes, "linear", init_scale=0.3, generator=g).double()


@torch.no_grad()
def predictor(net: nn.Module) -> Tensor:
    """β (d,) of a net that computes `⟨β, x⟩`, from its outputs at the unit vectors."""
    first = next(net.parameters())
    beta: Tensor = net(torch.eye(_FEATURES, dtype=first.dtype))
    return beta


def _spectrum(beta: Tensor) -> Tensor:
    out: Tensor = torch.fft.fft(beta)
    return out


def _size(kind: str, beta: Tensor) -> float:
    """The norm of β that the net is to prefer; at depth 3 the quasi-norm of its entries."""
    entries = (_spectrum(beta) if kind.startswith("circular") else beta).abs()
    if kind.startswith("full"):
        return float(entries.norm())
    power = 2 / int(kind.split("-")[1])
    return float(entries.pow(power).sum() ** (1 / power))


def oracle(kind: str, rows: Tensor) -> float | None:
    """The largest margin in the net's own norm by an outside solver: a linear program (HiGHS) for
    ℓ1, a conic one (Clarabel) for the others; None at depth 3, which is not convex.

    Args:
        kind: a key of `KINDS`.
        rows: (n, d), the points times their labels ±1.

    Raises:
        MissingExtraError: the extra `exact` is not installed.
    """
    a = rows.numpy()
    n, d = a.shape
    if kind == "diagonal-2":
        found = linprog(np.ones(2 * d), A_ub=-np.hstack([a, -a]), b_ub=-np.ones(n))
        return 1.0 / float(found.fun or math.nan)
    if kind.endswith("-3") and not kind.startswith("full"):
        return None
    cvxpy = load_cvxpy()
    w = cvxpy.Variable(d)
    size = cvxpy.norm(w, 2)
    if kind.startswith("circular"):
        transform = np.fft.fft(np.eye(d))
        parts = cvxpy.vstack([transform.real @ w, transform.imag @ w])
        size = cvxpy.sum(cvxpy.norm(parts, 2, axis=0))
    gamma = cvxpy.Variable()
    problem = cvxpy.Problem(cvxpy.Maximize(gamma), [a @ w >= gamma, size <= 1])
    status = solve(problem)
    if problem.value is None:
        raise MirrorFlowError(f"the conic solver ended with status {status!r} on {kind!r}")
    return float(problem.value)


def stationarity(kind: str, rows: Tensor, beta: Tensor) -> float:
    """How far β is from a stationary point of `Σ|b_k|^{2/3}` subject to margins ≥ 1, relative.

    b is β, or its Fourier coefficients. On the entries that count (above 1e-3 of the largest) the
    gradient of the sum has to be `Σ λ_i y_i x_i` with λ ≥ 0 on the smallest margins: nonnegative
    least squares (SciPy) fits λ.
    """
    beta = beta / float((rows @ beta).min())
    b, z = beta.to(torch.complex128), rows.to(torch.complex128)
    if kind.startswith("circular"):
        b, z = _spectrum(beta), _spectrum(rows)
    used = b.abs() > 1e-3 * b.abs().max()
    slope = b[used] / b[used].abs() * b[used].abs().pow(-1 / 3)
    near = (rows @ beta) < 1 + 1e-2
    # Of a real β, the derivative is the real and the imaginary part alike.
    columns = torch.view_as_real(z[near][:, used]).flatten(1).numpy().T
    target = torch.view_as_real(slope).flatten().numpy()
    return float(nnls(columns, target)[1] / np.linalg.norm(target))


def train_linear_net(
    folder: Path,  # noqa: ARG001  every task takes one
    *,
    kind: str,
    seed: int,
    log_t_end: float,
    loss: float,
    steps: int,
) -> Record:
    """One net by flow and by descent, from one random start, under the quadratic map.

    Descent takes full-batch steps, `RelativeStep(curvature=0.1)`, until its summed exponential loss
    is below `10**loss` or `steps` were taken. The summary holds for each the margin of the
    predictor in the net's own norm and, at depth 3, its stationarity; `exact` is the oracle's.
    """
    data = random_labels(_POINTS, _FEATURES, seed=seed)
    rows = data.x * data.y[:, None].to(torch.float64)
    name = f"deep-{kind}-{seed}"
    summary: dict[str, Any] = {"kind": kind, "seed": seed, "exact": oracle(kind, rows)}
    flow = mirror_flow(_net(kind, seed), data.x, data.y, Quadratic(), log_t_end=log_t_end)
    net = _net(kind, seed)
    optimizer = MirrorDescent(
        net.parameters(), lr=RelativeStep(curvature=_CURVATURE), mirror_map=Quadratic()
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = log_loss(net(data.x), data.y, "exponential", reduction="sum")
        value.backward()  # type: ignore[no-untyped-call]
        return value

    taken, value = 0, math.inf
    while taken < steps and value > loss * math.log(10):
        value = float(optimizer.step(closure).detach())
        taken += 1
    for how, end in (("flow", flow.net()), ("descent", net)):
        beta = predictor(end)
        margin = float((rows @ beta).min())
        summary[how] = margin / _size(kind, beta)
        if summary["exact"] is None:
            summary[f"{how}_residual"] = stationarity(kind, rows, beta) if margin > 0 else None
    summary |= {
        "outcome": flow.outcome,
        "log_t": float(flow.log_t[-1]),
        "steps": taken,
        "log10_loss": value / math.log(10),
    }
    return Record(name, summary)


def tasks(seeds: int, first: int) -> list[Task]:
    """One for each net and seed."""
    options = {"log_t_end": _LOG_T, "loss": _LOSS, "steps": _STEPS}
    return [
        Task(f"deep-{kind}-{seed}", train_linear_net, {"kind": kind, "seed": seed, **options})
        for kind in KINDS
        for seed in range(first, first + seeds)
    ]


def findings(records: dict[str, Record], seeds: int, first: int) -> list[Finding]:
    """For each net, flow and descent: is its predictor the one of its own norm?"""
    made = []
    for kind in KINDS:
        for how in ("flow", "descent"):
            found = [records.get(f"deep-{kind}-{seed}") for seed in range(first, first + seeds)]
            made.append(_judge(kind, how, [r.summary for r in found if r is not None], seeds))
    return made


def _judge(kind: str, how: str, found: list[dict[str, Any]], seeds: int) -> Finding:
    shape, depth = kind.split("-")
    convex = kind not in ("diagonal-3", "circular-3")
    if convex:
        values = [abs(s[how] / s["exact"] - 1) for s in found]
        bound, what = _NEAR[how], "below the exact margin by"
        prediction = f"the largest {KINDS[kind]} margin of the predictor"
        rule = f"within {bound:g} of the outside solver's margin, relative, in every seed"
        shown = [f"{plain(s[how], 7)} of {plain(s['exact'], 7)}" for s in found[:1]]
    else:
        values = [math.inf if s[f"{how}_residual"] is None else s[f"{how}_residual"] for s in found]
        bound, what = _STATIONARY[how], "residual"
        prediction = f"a stationary point of {KINDS[kind]} on the predictor"
        rule = f"residual of stationarity at most {bound:g} in every seed"
        shown = []
    worst = max(values, default=math.nan)
    verdict: Verdict = "not yet reached"
    if any(value > bound for value in values):
        verdict = "no"
    elif len(values) == seeds:
        verdict = "yes"
    about = {"diagonal": "diagonal net", "full": "net of full matrices", "circular": "circular net"}
    return Finding(
        claim=0,
        question=f"Which norm does the {about[shape]} of depth {depth} prefer ({how})?",
        prediction=prediction,
        measured=f"{what} at most {plain(worst, 2)}" + "".join(f"; seed 0: {t}" for t in shown),
        rule=rule,
        verdict=verdict,
    )

"""Findings on interpolation: which of the many solutions does the square loss end at?

A linear model with fewer points than features fits its targets in many ways. Mirror flow and mirror
descent end at the solution nearest to the start in the map's own divergence; hyperbolic entropy
leads, as β falls, from the ℓ2-nearest to the ℓ1-smallest, from lazy to rich.

Source: Gunasekar, Lee, Soudry & Srebro, ICML 2018; Azizan & Hassibi, ICLR 2019; Woodworth et al.,
COLT 2020.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import sparse_targets
from mirrorflow.exact import interpolation_certificate, min_bregman
from mirrorflow.flow import mirror_flow
from mirrorflow.maps import HyperbolicEntropy, parse_map
from mirrorflow.nets import Diagonal, Linear
from mirrorflow.optim import MirrorDescent

__all__ = ["BETAS", "MAPS", "findings", "follow_beta", "smallest_sum", "tasks", "train_map"]

MAPS = {
    "quadratic": 0.5,
    "power(1.3)": 0.1,
    "power(3)": 0.005,
    "hyperbolic_entropy(0.02)": 0.8,
    "logarithmic(0.1)": 0.8,
    "mixed(4)": 0.3,
    "cosh(0.4)": 0.5,
    "exponential": 0.5,
}
"""The maps, each with the step size of its descent."""
BETAS = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

# Fixed before the first run.
_SAME = 1e-8  # stationarity and feasibility of an interpolant
_LAZY, _RICH = 1e-2, 5e-2  # of the ℓ2 distance to the shortest, of the ℓ1 norm over the smallest
_PRODUCT = 1e-6  # between the diagonal net and hyperbolic entropy
_POINTS, _FEATURES, _ACTIVE = 12, 30, 3
_STEPS = 40_000
_LOG_T = 100.0


def _problem(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points with orthonormal rows, so that few steps lead to rest; their targets, and a start."""
    data = sparse_targets(_POINTS, _FEATURES, active=_ACTIVE, seed=seed)
    x = torch.linalg.qr(data.x.T).Q.T.contiguous()
    y = x @ torch.linalg.lstsq(data.x, data.y[:, None]).solution[:, 0]
    g = torch.Generator().manual_seed(seed)
    return x, y, 0.3 * torch.randn(_FEATURES, generator=g, dtype=torch.float64)


def smallest_sum(x: Tensor, y: Tensor) -> float:
    """The least `‖w‖₁` with `Xw = y`, by a linear program (HiGHS)."""
    a = x.numpy()
    found = linprog(np.ones(2 * a.shape[1]), A_eq=np.hstack([a, -a]), b_eq=y.numpy())
    return math.nan if found.fun is None else float(found.fun)


def train_map(
    folder: Path,  # noqa: ARG001  every task takes one
    *,
    mirror_map: str,
    lr: float,
    seed: int,
    steps: int,
) -> Record:
    """One map from one start: the flow, full batches and single samples, each until it rests.

    The summary holds for each the larger of the certificate's stationarity and feasibility, and
    the largest difference from `exact.min_bregman`.
    """
    x, y, start = _problem(seed)
    chosen = parse_map(mirror_map)
    want = min_bregman(x, y, chosen, start).weights
    ends = {"flow": _flow(x, y, start, chosen)}
    for how, batch in (("descent", len(x)), ("single", 1)):
        w = nn.Parameter(start.clone())
        optimizer = MirrorDescent([w], lr, mirror_map=chosen)
        for step in range(steps):
            at = torch.arange(step, step + batch) % len(x)
            w.grad = (x[at] @ w.detach() - y[at]) @ x[at]
            optimizer.step()
            if step % 100 == 0 and float((x @ w.detach() - y).abs().max()) < 1e-12:
                break
        ends[how] = w.detach()
    summary: dict[str, Any] = {"map": mirror_map, "seed": seed}
    for how, weights in ends.items():
        judged = interpolation_certificate(x, y, chosen, weights, start)
        summary[how] = max(judged.stationarity, judged.feasibility)
        summary[f"{how}_apart"] = float((weights - want).abs().max())
    return Record(f"interpolation-{mirror_map}-{seed}", summary)


def _flow(x: Tensor, y: Tensor, start: Tensor, mirror_map: Any) -> Tensor:
    net = Linear(_FEATURES).double()
    with torch.no_grad():
        net.weight.copy_(start)
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=_LOG_T, loss="square")
    return flow.net().get_parameter("weight").detach()


def follow_beta(folder: Path, *, seed: int) -> Record:  # noqa: ARG001
    """Hyperbolic entropy from zero, for each β: ℓ1 and ℓ2 norm of the end of the flow, and the
    diagonal net of depth 2 under gradient flow with the same β.

    With `u₀ = √(2β)` and `v₀ = 0` the product `w = u ⊙ v` starts at 0, and `|u₀² − v₀²|/2 = β`.
    """
    data = sparse_targets(_POINTS, _FEATURES, active=_ACTIVE, seed=seed)
    x, y = data.x / math.sqrt(_FEATURES), data.y / math.sqrt(_FEATURES)
    short = torch.linalg.pinv(x) @ y
    rows = []
    for beta in BETAS:
        w = _flow(x, y, torch.zeros(_FEATURES, dtype=torch.float64), HyperbolicEntropy(beta))
        net = Diagonal(_FEATURES).double()
        with torch.no_grad():
            net.weights[0].fill_(math.sqrt(2 * beta))
            net.weights[1].zero_()
        deep = mirror_flow(net, x, y, "quadratic", log_t_end=_LOG_T, loss="square", tol=1e-7)
        factors = [p.detach() for p in deep.net().parameters()]
        product = factors[0] * factors[1]
        rows.append(
            {
                "beta": beta,
                "l1": float(w.abs().sum()),
                "l2": float(w.norm()),
                "from_shortest": float((w - short).norm() / short.norm()),
                "product_apart": float((product - w).abs().max()),
                "above": float((w.abs() > 1e-2 * w.abs().max()).sum()),
            }
        )
    summary = {
        "seed": seed,
        "l1": smallest_sum(x, y),
        "l2": float(short.norm()),
        "short_l1": float(short.abs().sum()),
    }
    return Record(f"interpolation-beta-{seed}", summary, rows)


def tasks(seeds: int, first: int) -> list[Task]:
    """One for each map and seed, and one path over β for each seed."""
    made = [
        Task(f"interpolation-beta-{seed}", follow_beta, {"seed": seed})
        for seed in range(first, first + seeds)
    ]
    for text, lr in MAPS.items():
        for seed in range(first, first + seeds):
            options = {"mirror_map": text, "lr": lr, "seed": seed, "steps": _STEPS}
            made.append(Task(f"interpolation-{text}-{seed}", train_map, options))
    return made


def findings(records: dict[str, Record], seeds: int, first: int) -> list[Finding]:
    """For each map, do all three end at the interpolant; and three on the path over β."""
    wanted = range(first, first + seeds)
    made = []
    for text in MAPS:
        found = [records.get(f"interpolation-{text}-{seed}") for seed in wanted]
        made.append(_of_map(text, [r.summary for r in found if r is not None], seeds))
    paths = [records.get(f"interpolation-beta-{seed}") for seed in wanted]
    return made + _of_path([r for r in paths if r is not None], seeds)


def _of_map(text: str, found: list[dict[str, Any]], seeds: int) -> Finding:
    ways = ("flow", "descent", "single")
    worst = {how: max((s[how] for s in found), default=math.nan) for how in ways}
    return Finding(
        claim=0,
        question=f"Do flow, descent and single samples end at one interpolant ({text})?",
        prediction="yes: argmin D_R(θ, θ₀) subject to Xθ = y, whatever the batches",
        measured=", ".join(f"{how} {plain(worst[how], 2)}" for how in ways) + " from it",
        rule=f"stationarity and feasibility of all three at most {_SAME:g} in every seed",
        verdict=_verdict([s[how] <= _SAME for s in found for how in ways], 3 * seeds),
    )


def _of_path(found: list[Record], seeds: int) -> list[Finding]:
    far = [r.rows[0]["from_shortest"] for r in found]
    excess = [r.rows[-1]["l1"] / r.summary["l1"] - 1 for r in found]
    falls = [
        all(a["l1"] > b["l1"] for a, b in zip(r.rows, r.rows[1:], strict=False)) for r in found
    ]
    apart = [max(row["product_apart"] for row in r.rows) for r in found]

    def worst(values: list[float]) -> str:
        return plain(max(values, default=math.nan), 2)

    return [
        Finding(
            claim=0,
            question="Does a large β end at the shortest solution?",
            prediction=f"yes: at β = {BETAS[0]:g} the weights are X⁺y (SVD)",
            measured=f"{worst(far)} away, relative",
            rule=f"within {_LAZY:g} of X⁺y in every seed",
            verdict=_verdict([v <= _LAZY for v in far], seeds),
        ),
        Finding(
            claim=0,
            question="Does a small β end at the solution of least ℓ1 norm?",
            prediction=f"yes: ‖w‖₁ falls with β, to the linear program's at β = {BETAS[-1]:g}",
            measured=f"{worst([100 * v for v in excess])} per cent above it; "
            f"{'falls at every step' if all(falls) else 'does not fall at every step'}",
            rule=f"falls at every β and ends within {100 * _RICH:g} per cent, in every seed",
            verdict=_verdict([v <= _RICH and f for v, f in zip(excess, falls, strict=True)], seeds),
        ),
        Finding(
            claim=0,
            question="Is w = u ⊙ v under gradient flow hyperbolic entropy?",
            prediction="yes: both end at one point, with β = |u₀² − v₀²|/2",
            measured=f"ends apart by {worst(apart)} at most",
            rule=f"apart by at most {_PRODUCT:g} at every β in every seed",
            verdict=_verdict([v <= _PRODUCT for v in apart], seeds),
        ),
    ]


def _verdict(right: list[bool], count: int) -> Verdict:
    if not all(right):
        return "no"
    return "yes" if len(right) == count else "not yet reached"

"""Finding 1: do distinct maps with one horizon reach one max-margin solution?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.flows import degrees_between, flow_record
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import Dataset, blobs
from mirrorflow.exact import max_margin
from mirrorflow.flow import Trajectory
from mirrorflow.maps import parse_map
from mirrorflow.nets import Linear
from mirrorflow.runs.names import slug

__all__ = ["PAIRS", "SHORTFALL", "findings", "judge", "limit_record", "linear_limit", "tasks"]

PAIRS = {
    "ℓ1": ("hyperbolic_entropy(beta=0.1)", "logarithmic(beta=0.1)"),
    "ℓ2": ("quadratic", "mixed(p=1.5, a=1, b=1)"),
    "ℓ∞": ("cosh(scale=1)", "exponential"),
}
"""Two distinct maps for each horizon; in each pair at least one is not homogeneous."""

_LOG_T = 1e100
SHORTFALL = 1e-3
"""Of the exact margin, relatively, that a flow may lack where it counts as there."""


def linear_limit(folder: Path, *, mirror_map: str, seed: int, log_t_end: float) -> Record:
    """A linear classifier on 20 points in 10 dimensions, against the exact max margin."""
    data = blobs(20, 10, gap=0.2, seed=seed)
    net = Linear(10, generator=torch.Generator().manual_seed(seed)).double()
    name = _name(mirror_map, seed)
    return limit_record(folder, name, net, data, mirror_map, log_t_end)[0]


def limit_record(
    folder: Path, name: str, net: Linear, data: Dataset, mirror_map: str, log_t_end: float
) -> tuple[Record, Trajectory]:
    """The flow of a linear net to `log_t_end`, and what it lacks of the exact max margin."""
    chosen = parse_map(mirror_map)
    exact = max_margin(data.x.flatten(1), data.y, chosen.horizon())
    record, trajectory = flow_record(folder, name, net, data, chosen, log_t_end)
    end = torch.as_tensor(trajectory.direction[-1])
    summary = {
        **record.summary,
        "map": mirror_map,
        "exact_margin": float(exact.margin),
        "exact_gap": float(exact.gap),
        "shortfall": 1 - record.summary["margin"] / float(exact.margin),
        "degrees_to_exact": degrees_between(end, exact.weights),
        "direction": end.tolist(),
    }
    rows = [{**row, "exact_margin": float(exact.margin)} for row in record.rows]
    return Record(name, summary, rows), trajectory


def _name(mirror_map: str, seed: int) -> str:
    return f"linear-{slug(mirror_map)}-{seed}"


def tasks(seeds: int, first: int) -> list[Task]:
    """One flow for each map and seed."""
    return [
        Task(
            _name(text, seed),
            linear_limit,
            {"mirror_map": text, "seed": seed, "log_t_end": _LOG_T},
        )
        for seed in range(first, first + seeds)
        for pair in PAIRS.values()
        for text in pair
    ]


def findings(records: dict[str, Record], seeds: int, first: int) -> list[Finding]:
    """One answer for each horizon; the worst seed decides."""
    made = []
    for horizon, pair in PAIRS.items():
        names = [[_name(text, seed) for text in pair] for seed in range(first, first + seeds)]
        made.append(judge(horizon, pair, records, names, "linear net"))
    return made


def judge(
    horizon: str,
    pair: tuple[str, str],
    records: dict[str, Record],
    wanted: list[list[str]],
    where: str,
) -> Finding:
    """Whether both maps of a horizon end at its exact max margin, in every repetition.

    Args:
        horizon: its symbol.
        pair: the maps.
        records: by name.
        wanted: for each repetition the names of both records.
        where: net and data, for the question.
    """
    ends: list[list[dict[str, Any]]] = [
        [records[name].summary for name in both]
        for both in wanted
        if all(name in records for name in both)
    ]
    short = [abs(s["shortfall"]) for both in ends for s in both]
    apart = [abs(a["margin"] - b["margin"]) / max(a["exact_margin"], 1e-300) for a, b in ends]
    names = " and ".join(text.split("(")[0].replace("_", " ") for text in pair)
    verdict: Verdict
    if len(ends) < len(wanted):
        verdict = "not yet reached"
    elif max(short) <= SHORTFALL:
        verdict = "yes"
    else:
        # A margin that is short while the gap is open has not converged; one that is short with
        # the gap closed would contradict the theory.
        open_gap = max(s["gap"] for both in ends for s in both) > 1e-6
        verdict = "not yet reached" if open_gap else "no"
    return Finding(
        claim=1,
        question=f"Do {names} reach the one {horizon} max margin ({where}, log t = 1e100)?",
        prediction=f"both margins equal the exact {horizon} max margin",
        measured=(
            f"short of the exact margin by at most {plain(max(short, default=math.nan))} "
            f"(relative), apart by {plain(max(apart, default=math.nan))}"
        ),
        rule=f"relative shortfall of both maps at most {SHORTFALL:g}",
        verdict=verdict,
        subject=f"the {horizon} max margin, {where}",
        reason=_reason(verdict, len(wanted) - len(ends), max(short, default=math.nan)),
    )


def _reason(verdict: Verdict, missing: int, short: float) -> str:
    if missing:
        return f"{missing} of the flows are missing."
    if verdict == "yes":
        return ""
    where = "its limit is another one" if verdict == "no" else "it still moves"
    return (
        f"A flow is {plain(short)} short where {SHORTFALL:g} is allowed, and {where}, by its gap."
    )

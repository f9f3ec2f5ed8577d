"""Finding 3 on real data: does the map range the weights from sparse to dense?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mirrorflow.claims.finding import Finding, Verdict, map_label, plain
from mirrorflow.claims.statistics import interval, ordered
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.diagnostics import certify
from mirrorflow.errors import NotSeparableError
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.names import slug
from mirrorflow.runs.train import train

__all__ = ["LADDER", "findings", "rises", "tasks", "train_digits"]

LADDER = (
    "hyperbolic_entropy(beta=0.01)",
    "power(p=1.5)",
    "quadratic",
    "power(p=3)",
    "power(p=4)",
)
"""Maps by the order of their horizon, 1 to 4: predicted to go from sparse to dense."""

_EQUAL = 0.005
_SCATTER = 0.05
_RULE_SEEDS = (
    "yes if the 95 % interval over seeds of the rise from each map to the next is above 0, no if "
    "one is below, else noise"
)
_RULE_ONE = (
    f"one seed: yes if the rise from each map to the next is above {_SCATTER:.0%}, no if one falls "
    "by as much, else noise"
)


def train_digits(
    folder: Path, *, mirror_map: str, seed: int, until: list[float], steps: int
) -> Record:
    """A 64-64-64-10 ReLU net, full batch, to each threshold of log10 loss."""
    config = RunConfig(
        data="digits",
        data_options={"seed": seed},
        mirror_map=mirror_map,
        until=tuple(until),
        certify_margins=0,  # the end is certified whole
        steps=steps,
        seed=seed,
    )
    name = _name(mirror_map, seed)
    try:
        run = train(config, folder / "runs" / name)
    except NotSeparableError as error:
        run = error.state
    last = run.rows[-1]
    certificate = certify(run.net, run.data.x, run.data.y, run.mirror_map)
    first_layer = next(iter(run.net.parameters())).detach()
    strongest = first_layer.norm(dim=1).argsort(descending=True)[:16]
    active = run.net.activations(run.data.x_test[:60])[0] > 0
    summary = {
        "map": mirror_map,
        "seed": seed,
        "outcome": run.outcome,
        "log10_loss": last["log10_loss"],
        "steps": last["step"],
        "margin": certificate.margin,
        "epsilon": certificate.epsilon,
        "delta": certificate.delta,
        "gap": certificate.gap,
        "support": len(certificate.support),
        "train_accuracy": last["train_accuracy"],
        "test_accuracy": last["test_accuracy"],
        "weights": first_layer[strongest].to(torch.float64).tolist(),
        "active": active.to(torch.int64).tolist(),
    }
    return Record(name, summary, [{"map": mirror_map, "seed": seed, **row} for row in run.rows])


def _name(mirror_map: str, seed: int) -> str:
    return f"digits-{slug(mirror_map)}-{seed}"


def tasks(seeds: int, first: int, until: list[float], steps: int) -> list[Task]:
    """One run for each map and seed."""
    return [
        Task(
            _name(text, seed),
            train_digits,
            {"mirror_map": text, "seed": seed, "until": until, "steps": steps},
        )
        for seed in range(first, first + seeds)
        for text in LADDER
    ]


def at_threshold(
    records: dict[str, Record], threshold: float, seeds: int, first: int
) -> dict[str, list[dict[str, Any]]]:
    """Rows at the first state below `threshold`, by map; a map that lacks one is left out."""
    found = {}
    for text in LADDER:
        rows = [
            row
            for seed in range(first, first + seeds)
            if _name(text, seed) in records
            for row in records[_name(text, seed)].rows
            # A step can pass several thresholds at once: the row carries the lowest.
            if row["threshold"] <= threshold
        ]
        best: dict[int, dict[str, Any]] = {}
        for row in rows:
            best.setdefault(row["seed"], row)
        if len(best) == seeds:
            found[text] = [best[seed] for seed in sorted(best)]
    return found


def findings(
    records: dict[str, Record], thresholds: list[float], seeds: int, first: int
) -> list[Finding]:
    """Sparse to dense in the weights and in the activations, at each threshold."""
    weights = ("weight_participation", "participation ratio of the weights")
    units = ("active_share", "share of active units a point")
    asked = [(level, *what) for what in (weights, units) for level in thresholds]
    return [_finding(records, *question, seeds, first) for question in asked]


def _finding(
    records: dict[str, Record], level: float, key: str, what: str, seeds: int, first: int
) -> Finding:
    found = at_threshold(records, level, seeds, first)
    by_map = {text: [float(row[key]) for row in rows] for text, rows in found.items()}
    trained = [row["train_accuracy"] for rows in found.values() for row in rows]
    equal = max(trained, default=1.0) - min(trained, default=0.0) <= _EQUAL
    verdict: Verdict = "not yet reached"
    if len(found) == len(LADDER):
        verdict = rises(list(by_map.values())) if equal else "no"
    means = ", ".join(f"{map_label(text)} {plain(sum(v) / len(v))}" for text, v in by_map.items())
    falls = ""
    if len(found) < len(LADDER):
        falls = "No run of every map has reached this loss."
    elif not equal:
        falls = f"The training accuracies differ by more than {_EQUAL:g}."
    elif verdict != "yes":
        falls = _weakest(list(by_map), list(by_map.values()))
    strict = seeds > 1 and len(found) == len(LADDER)
    strict = strict and ordered(list(zip(*by_map.values(), strict=True)), rising=True)
    shown = means + ("; strictly ordered in every seed" if strict else "")
    return Finding(
        claim=3,
        question=f"Digits at loss 1e{level:g}: does the {what} rise with the order of the horizon?",
        prediction="rising from hyperbolic entropy (ℓ1) to power 4 (ℓ4)",
        measured=shown or "no run has reached this loss",
        rule=(_RULE_SEEDS if seeds > 1 else _RULE_ONE)
        + f"; training accuracies within {_EQUAL:g} of another",
        verdict=verdict,
        subject=f"{what}, digits",
        reason=falls,
    )


def _weakest(maps: list[str], values: list[list[float]]) -> str:
    """The step between neighbouring maps at which the rule fails."""
    steps = [(sum(b) / sum(a) - 1, k) for k, (a, b) in enumerate(itertools.pairwise(values))]
    change, k = min(steps)
    against = (
        f"with one seed a change counts from {_SCATTER:.0%} on"
        if len(values[0]) == 1
        else "over the seeds its 95 % interval does not stay above 0"
    )
    return (
        f"From {map_label(maps[k])} to {map_label(maps[k + 1])} it changes by {change:+.1%}; "
        f"{against}."
    )


def rises(values: Sequence[Sequence[float]]) -> Verdict:
    """Whether a measure rises from each map to the next.

    Over seeds by the paired 95 % Student intervals: "yes" if every rise is above 0, "no" if one is
    below, else "noise". One seed has no interval: there a rise or fall counts from 5 % on, since
    seeds scatter by two or three.

    Args:
        values: a row for each map in the predicted order, with a value for each seed.
    """
    found: Verdict = "yes"
    for low, high in zip(values, values[1:], strict=False):
        mean, half = interval([b - a for a, b in zip(low, high, strict=True)])
        if len(low) == 1:
            half = _SCATTER * max(abs(low[0]), abs(high[0]))
        if mean + half < 0:
            return "no"
        if mean - half <= 0:
            found = "noise"
    return found

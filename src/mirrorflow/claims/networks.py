"""Findings 1 and 3 on two-layer nets: one max-margin problem for two maps, few or many neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirrorflow.claims.finding import Finding, map_label, plain
from mirrorflow.claims.flows import flow_record
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import Dataset, random_labels
from mirrorflow.exact import two_layer_max_margin
from mirrorflow.flow import verify
from mirrorflow.maps import parse_map
from mirrorflow.nets import TwoLayer
from mirrorflow.runs.names import slug

__all__ = ["LADDER", "findings", "network_flow", "start", "tasks"]

LADDER = ("hyperbolic_entropy(beta=0.01)", "power(p=1.5)", "quadratic", "power(p=3)")
"""Maps by the order of their horizon: predicted to use more and more neurons."""
PARTNER = "logarithmic(beta=0.01)"
"""Distinct from the first of the ladder, with the same horizon."""

_LOG_T = 1e100
_GRID = 81


def network_flow(
    folder: Path, *, mirror_map: str, seed: int, units: int, points: int, log_t_end: float
) -> Record:
    """A two-layer net with smooth ReLU on `points` random labels in the plane."""
    data = random_labels(points, 2, seed=seed)
    net = start(units, seed)
    chosen = parse_map(mirror_map)
    name = _name(mirror_map, seed)
    record, path = flow_record(folder, name, net, data, chosen, log_t_end)
    # Above order 2 a loose tolerance can end at another KKT point: check it at a tenth.
    loose = chosen.index > 2 and record.summary["outcome"] != "stalled"
    hidden, output = (p.detach() for p in net.parameters())
    strength = hidden.norm(dim=1) * output[0].abs()
    order = strength.argsort(descending=True)
    with torch.no_grad():
        field = net(_grid(data.x))
    summary = {
        **record.summary,
        "map": mirror_map,
        "neurons": float(strength.sum() ** 2 / strength.square().sum()),
        "alive": int((strength > 1e-3 * strength.max()).sum()),
        "units": units,
        **({"same": verify(path).same} if loose else {}),
        "x": data.x.tolist(),
        "y": data.y.tolist(),
        "hidden": hidden[order].tolist(),
        "output": output[0, order].tolist(),
        "field": (field / field.abs().max()).reshape(_GRID, _GRID).tolist(),
        "reach": _reach(data.x),
        **_global_optimum(data, mirror_map),
    }
    return Record(name, summary, record.rows)


def start(units: int, seed: int) -> TwoLayer:
    """The net that every flow of a seed starts from."""
    g = torch.Generator().manual_seed(seed)
    return TwoLayer(2, units, "smooth_relu", 1e-2, bias=True, init_scale=0.5, generator=g).double()


def _global_optimum(data: Dataset, mirror_map: str) -> dict[str, float]:
    """For ℓ2 the max margin over all widths of exact ReLU nets is a convex program."""
    if mirror_map != "quadratic":
        return {}
    return {"exact_margin": two_layer_max_margin(data.x, data.y, bias=True).upper_bound}


def _reach(x: Tensor) -> float:
    return float(1.3 * x.abs().max())


def _grid(x: Tensor) -> Tensor:
    line = torch.linspace(-_reach(x), _reach(x), _GRID, dtype=x.dtype)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)


def _name(mirror_map: str, seed: int) -> str:
    return f"net-{slug(mirror_map)}-{seed}"


def tasks(seeds: int, first: int, units: int, points: int) -> list[Task]:
    """One flow for each map and seed."""
    settings = {"units": units, "points": points, "log_t_end": _LOG_T}
    return [
        Task(_name(text, seed), network_flow, {"mirror_map": text, "seed": seed, **settings})
        for seed in range(first, first + seeds)
        for text in (*LADDER, PARTNER)
    ]


def findings(records: dict[str, Record], seeds: int, first: int) -> list[Finding]:
    """Whether the partners certify one problem, and whether neurons grow in number."""
    chosen = range(first, first + seeds)
    ends: dict[str, list[dict[str, Any]]] = {
        text: [records[_name(text, s)].summary for s in chosen if _name(text, s) in records]
        for text in (*LADDER, PARTNER)
    }
    complete = all(len(found) == seeds for found in ends.values())
    return [_same_problem(ends, complete), _few_or_many(ends, complete)]


def _same_problem(ends: dict[str, list[dict[str, Any]]], complete: bool) -> Finding:
    both = ends[LADDER[0]] + ends[PARTNER]
    worst = max((end["epsilon"] for end in both), default=float("nan"))
    slack = max((end["delta"] for end in both), default=float("nan"))
    reached = complete and worst <= 0.05 and slack <= 1e-3
    return Finding(
        claim=1,
        question=(
            "Do hyperbolic entropy and logarithmic end at KKT points of the one ℓ1 max-margin "
            "problem (two-layer net)?"
        ),
        prediction="both certified for the ℓ1 horizon",
        measured=f"largest ε {plain(worst)}, largest δ {plain(slack)}",
        rule="ε ≤ 0.05 and δ ≤ 1e-3 for both maps and every seed",
        verdict="yes" if reached else "not yet reached",
        subject="one ℓ1 problem, two-layer net",
        reason=""
        if reached
        else f"The largest residual is ε = {plain(worst)}, the largest excess δ = {plain(slack)}."
        if complete
        else "A flow is missing.",
    )


def _few_or_many(ends: dict[str, list[dict[str, Any]]], complete: bool) -> Finding:
    means = {
        text: sum(end["neurons"] for end in ends[text]) / max(len(ends[text]), 1) for text in LADDER
    }
    values = list(means.values())
    rising = all(a <= b for a, b in zip(values, values[1:], strict=False))
    rising = rising and values[-1] >= 2 * values[0]
    shown = ", ".join(f"{map_label(text)} {plain(v, 4)}" for text, v in means.items())
    return Finding(
        claim=3,
        question="Two-layer net: does the number of neurons in use rise with the horizon's order?",
        prediction="few neurons for order below 2, more at 2, most above",
        measured=shown,
        rule="mean over seeds of (Σs)²/Σs² never falling, and twice as large at the end",
        verdict=("yes" if rising else "no") if complete else "not yet reached",
        subject="neurons in use, two-layer net",
        reason=("" if rising else f"The numbers are {', '.join(plain(v) for v in values)}.")
        if complete
        else "A flow is missing.",
    )

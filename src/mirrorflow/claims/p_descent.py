"""Findings of p-descent: is each potential's own norm the one in which its margin is best?

Sun, Gatmiry, Ahn and Azizan train one linear classifier with each of several powers and measure
every margin in every one of the norms: each column should be largest in the row trained for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.flows import flow_record
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import Dataset, load, random_labels
from mirrorflow.errors import MirrorFlowError
from mirrorflow.exact import max_margin
from mirrorflow.files import make_folder
from mirrorflow.losses import log_loss
from mirrorflow.maps import LpHorizon, Power
from mirrorflow.nets import Linear
from mirrorflow.optim import MirrorDescent, RelativeStep

__all__ = ["POWERS", "SETS", "check", "findings", "margins", "tasks", "train_power"]

POWERS = (1.1, 2.0, 3.0, 10.0)
"""The potentials `|x|^p/p` that train, and the norms ℓp in which every margin is measured."""
SETS = ("random_labels", "mnist")
"""15 Gaussian points with fair-coin labels in 100 dimensions; 200 images of a 3 or a 5."""

_LOG_T = 1e100
_LOSS = -100.0
_STEPS = 20_000
_CURVATURE = 0.1


def _problem(data: str, seed: int) -> Dataset:
    if data == "random_labels":
        return random_labels(15, 100, seed=seed)
    return load(data, classes=[3, 5], n=200, n_test=0, seed=seed).to(torch.float64)


def check(sets: Sequence[str]) -> None:
    """Whether the data are there.

    Raises:
        DataError: they are not; the text says how to get them.
    """
    for data in sets:
        _problem(data, 0)


def margins(rows: Tensor, weights: Tensor, powers: Sequence[float] = POWERS) -> list[float]:
    """`min_i ⟨y_i x_i, w⟩ / ‖w‖_p` for each p.

    Args:
        rows: (n, d), the points times their labels ±1.
        weights: (d,), not all zero.
        powers: the exponents p ≥ 1.

    Raises:
        ValueError: shapes that do not fit, or weights that are all zero.
    """
    if rows.ndim != 2 or weights.shape != rows.shape[1:] or not bool((weights != 0).any()):
        raise ValueError(
            f"weights have shape {tuple(weights.shape)} and rows {tuple(rows.shape)}; pass weights "
            "(d,) that are not all zero and rows (n, d)"
        )
    smallest = float((rows @ weights).min())
    return [smallest / float(LpHorizon(p).gauge(weights)) for p in powers]


def train_power(
    folder: Path, *, data: str, p: float, seed: int, log_t_end: float, loss: float, steps: int
) -> Record:
    """One row of the table, by flow and by descent, from one random start.

    Descent takes full-batch steps, `RelativeStep(curvature=0.1)`, until its summed exponential
    loss is below `10**loss` or `steps` were taken; the flow runs to `log_t_end`. The summary's
    `flow` and `descent` are the margins in each norm, or None where the flow did not start or
    descent did not separate the points; `exact` is the largest ℓp margin that there is, or None
    where no solver found it.

    Raises:
        DataError: the images are not there.
    """
    problem, chosen = _problem(data, seed), Power(p)
    x, y = problem.x.flatten(1), problem.y.to(torch.float64)
    rows, name = x * y[:, None], _name(data, p, seed)
    net = Linear(x.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    start = net.weight.detach().clone()
    about = {"data": data, "p": p, "seed": seed, "map": f"power(p={p:g})"}
    summary: dict[str, Any] = {**about, "exact": None, "flow": None, "flow_log_t": None}
    table: list[dict[str, Any]] = []
    try:
        summary["exact"] = float(max_margin(x, problem.y, chosen.horizon()).margin)
    except MirrorFlowError as error:
        summary["exact_failed"] = str(error)
    # At p = 10 on images the flow takes a quarter of an hour: a killed run goes on where it stood.
    make_folder(folder / "flows")
    unfinished = folder / "flows" / f"{name}.checkpoint"
    try:
        record, path = flow_record(
            folder, name, net, problem, chosen, log_t_end, checkpoint=unfinished
        )
        unfinished.unlink(missing_ok=True)
        table, end = record.rows, torch.as_tensor(path.direction[-1])
        summary |= {"flow": margins(rows, end), "flow_log_t": record.summary["log_t"]}
    except MirrorFlowError as error:
        summary["flow_failed"] = str(error)
    with torch.no_grad():
        net.weight.copy_(start)
    taken, value = _descend(net, problem, chosen, loss, steps)
    weights = net.weight.detach().flatten()
    separated = float((rows @ weights).min()) > 0
    summary |= {
        "descent": margins(rows, weights) if separated else None,
        "steps": taken,
        "log10_loss": value / math.log(10),
    }
    return Record(name, summary, table)


def _descend(
    net: Linear, data: Dataset, chosen: Power, loss: float, steps: int
) -> tuple[int, float]:
    optimizer = MirrorDescent(
        net.parameters(),
        lr=RelativeStep(curvature=_CURVATURE),
        mirror_map=chosen,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = log_loss(net(data.x), data.y, "exponential", reduction="sum")
        found.backward()  # type: ignore[no-untyped-call]
        return found

    best, kept, at = math.inf, net.weight.detach().clone(), 0
    for step in range(steps + 1):
        value = float(optimizer.step(closure).detach())
        # The loss is that of the weights before the step, after any that was taken back.
        if value < best:
            held = optimizer.state[net.weight]["previous_value"]
            best, kept, at = value, held.clone(), step
        if best <= loss * math.log(10):
            break
    with torch.no_grad():
        net.weight.copy_(kept)
    return at, best


def _name(data: str, p: float, seed: int) -> str:
    return f"power-{data}-p{p:g}-{seed}"


def tasks(sets: Sequence[str], seeds: int, first: int) -> list[Task]:
    """One task for each set, seed and power."""
    options = {"log_t_end": _LOG_T, "loss": _LOSS, "steps": _STEPS}
    return [
        Task(_name(data, p, seed), train_power, {"data": data, "p": p, "seed": seed, **options})
        # The long ones first, so that no core waits at the end.
        for data in reversed(sets)
        for seed in range(first, first + seeds)
        for p in reversed(POWERS)
    ]


def findings(
    records: dict[str, Record], sets: Sequence[str], seeds: int, first: int
) -> list[Finding]:
    """For each set, flow and descent, and each norm: is its own row the best of its column?"""
    made = []
    for data in sets:
        for how in ("flow", "descent"):
            for column, p in enumerate(POWERS):
                tables = [
                    [_row(records, data, q, seed, how) for q in POWERS]
                    for seed in range(first, first + seeds)
                ]
                made.append(_judge(data, how, column, p, tables))
    return made


def _row(
    records: dict[str, Record], data: str, p: float, seed: int, how: str
) -> list[float] | None:
    record = records.get(_name(data, p, seed))
    return None if record is None else record.summary[how]


def _judge(
    data: str, how: str, column: int, p: float, tables: list[list[list[float] | None]]
) -> Finding:
    """Every seed decides alike; a row that is missing leaves the question open."""
    complete = all(row is not None for table in tables for row in table)
    best = all(own > other for own, other in _pairs(tables, column))
    leads = [own / other - 1 for own, other in _pairs(tables, column) if other > 0]
    verdict: Verdict = "not yet reached"
    if not best:
        verdict = "no"
    elif complete:
        verdict = "yes"
    told = {"random_labels": "15 Gaussian points, d = 100", "mnist": "mnist, classes 3 and 5"}
    first = [plain(row[column], 4) if row is not None else "–" for row in tables[0]]
    return Finding(
        claim=1,
        question=f"Is the ℓ{p:g} margin largest where power {p:g} trained ({how}, {told[data]})?",
        prediction="yes: the potential's own norm is the one that its margin is best in",
        measured=(
            f"margins of powers {', '.join(f'{q:g}' for q in POWERS)}: {', '.join(first)}; ahead "
            f"of the next by {plain(100 * min(leads, default=math.nan), 2)} per cent"
        ),
        rule="its own row is the largest of the column in every seed",
        verdict=verdict,
        subject=f"the ℓ{p:g} margin of {how}, {told[data]}",
        reason={
            "no": f"Another power has a larger ℓ{p:g} margin.",
            "not yet reached": "A row of the table is missing.",
        }.get(verdict, ""),
    )


def _pairs(tables: list[list[list[float] | None]], column: int) -> Iterator[tuple[float, float]]:
    """The margin of the row trained for this column, beside each other row's."""
    for table in tables:
        own = table[column]
        for k, row in enumerate(table):
            if own is not None and row is not None and k != column:
                yield own[column], row[column]

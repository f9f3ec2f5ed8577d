"""Findings of whose margin: does each optimizer have the largest margin in its own norm?

Steepest descent in a norm and mirror flow with that norm as its horizon lead to one max-margin
problem (Tsilivis et al. 2024; Gronich & Vardi 2026). So ten optimizers train one net from one
start, and each is measured in every norm: a column should be largest in a row of its norm.

Rates, numbers of steps and the size of the net were set in a pilot with seed 100, before the rules
were applied to seeds 0, 1 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.flows import degrees_between
from mirrorflow.claims.steepest import SignDescent, SpectralDescent
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import Dataset, load, random_labels
from mirrorflow.diagnostics import certify, margin_profile
from mirrorflow.exact import max_margin
from mirrorflow.flow import mirror_flow
from mirrorflow.losses import Loss, log_loss
from mirrorflow.maps import Cosh, Horizon, LpHorizon, MirrorMap, Power, Quadratic, Spectral
from mirrorflow.maps import SchattenHorizon as Schatten
from mirrorflow.nets import Linear, TwoLayer
from mirrorflow.nets.base import HomogeneousNet
from mirrorflow.optim import MirrorDescent, RelativeStep

__all__ = ["METHODS", "NORMS", "SETS", "Method", "check", "findings", "tasks", "train_method"]

NORMS: dict[str, Horizon] = {
    "ℓ1.1": LpHorizon(1.1),
    "ℓ2": LpHorizon(2),
    "ℓ3": LpHorizon(3),
    "ℓ10": LpHorizon(10),
    "ℓ∞": LpHorizon(math.inf),
    "spectral": Schatten(math.inf),
}
"""The norms of all parameters; "spectral" is the largest spectral norm over the layers."""
SETS = ("linear", "mnist")
"""A linear net on 20 Gaussian matrices with coin-flip labels; two layers on 100 MNIST digits."""
LEVELS = (-3.0, -10.0, -30.0, -100.0)
"""log10 of the summed loss at which a method is measured; the last one ends it."""

_MOMENTUM = 0.9
_SLOWER = 100  # steps after which they begin to shrink, like 1/√t
_CURVATURE = 0.1
_STEPS = {"linear": 6_000, "mnist": 3_000}
_MARGINS = 80  # that enter a certificate, the smallest
_LOG_T = 1e6  # of the flow of cosh
_NEAR = 0.95  # of the exact margin
_ANGLE = 5.0  # degrees


@dataclass(frozen=True)
class Method:
    """An optimizer, the norm that the theory gives it, and what makes it.

    `rate` is its first step by data set; mirror descent finds its own (`RelativeStep`).
    """

    norm: str
    make: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
    rate: dict[str, float]


def _mirror(mirror_map: MirrorMap, norm: str) -> Method:
    def make(params: Iterable[nn.Parameter], _: float) -> torch.optim.Optimizer:
        params = list(params)
        # On the net, steps that follow the flow closely leave the loss at 1 after 4,000 of them.
        rule = RelativeStep(curvature=_CURVATURE if len(params) == 1 else None)
        return MirrorDescent(params, lr=rule, mirror_map=mirror_map)

    return Method(norm, make, {})


METHODS: dict[str, Method] = {
    "SGD": Method("ℓ2", lambda p, lr: torch.optim.SGD(p, lr), {"linear": 1.0, "mnist": 2e-2}),
    "sign descent": Method(
        "ℓ∞",
        lambda p, lr: SignDescent(p, lr, _MOMENTUM),
        {"linear": 0.1, "mnist": 2e-3},
    ),
    "Adam": Method(
        "ℓ∞",
        # ε = 0 would divide 0 by 0 at pixels that are always black.
        lambda p, lr: torch.optim.Adam(p, lr, betas=(_MOMENTUM, 0.99), eps=1e-30),
        {"linear": 0.1, "mnist": 2e-3},
    ),
    "Muon": Method(
        "spectral",
        lambda p, lr: SpectralDescent(p, lr, _MOMENTUM),
        {"linear": 0.2, "mnist": 2e-2},
    ),
    "quadratic": _mirror(Quadratic(), "ℓ2"),
    "power 1.1": _mirror(Power(1.1), "ℓ1.1"),
    "power 3": _mirror(Power(3), "ℓ3"),
    "power 10": _mirror(Power(10), "ℓ10"),
    "cosh": _mirror(Cosh(), "ℓ∞"),
    "spectral(cosh)": _mirror(Spectral(Cosh()), "spectral"),
}
"""Ten optimizers: four that are used, and mirror descent with six maps."""


class _MatrixLinear(HomogeneousNet):
    """`f(W; x) = ⟨W, x⟩` of matrices x (n, a, b): linear, with a spectral norm to speak of."""

    def __init__(self, rows: int, columns: int, generator: torch.Generator) -> None:
        super().__init__()
        start = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(start / (rows * columns) ** 0.5)

    @property
    def layer_degrees(self) -> dict[str, float]:
        return {"weight": 1.0}

    @property
    def binary(self) -> bool:
        return True

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nab,ab->n", x, self.weight)


def _problem(data: str, seed: int) -> tuple[Dataset, HomogeneousNet, Loss]:
    """The points, the net at its start, and the loss."""
    generator = torch.Generator().manual_seed(seed)
    if data == "linear":
        made = random_labels(20, 30, seed=seed)
        matrices = made.x.reshape(20, 5, 6)
        points = Dataset(made.name, matrices, made.y, matrices[:0], made.y[:0], None)
        return points, _MatrixLinear(5, 6, generator), "exponential"
    made = load(data, n=100, n_test=0, seed=seed).to(torch.float64)
    # Four pixels to one: nine runs in ten are then of some seconds.
    small = torch.nn.functional.avg_pool2d(made.x.reshape(-1, 1, 28, 28), 2).flatten(1)
    points = Dataset(made.name, small, made.y, small[:0], made.y[:0], made.classes)
    net = TwoLayer(small.shape[1], 24, classes=made.classes, generator=generator)
    return points, net.double(), "cross_entropy"


def check(sets: Iterable[str]) -> None:
    """Whether the data are there.

    Raises:
        DataError: they are not; the text says how to get them.
    """
    for data in sets:
        _problem(data, 0)


def train_method(_: Path, *, data: str, method: str, seed: int, steps: int) -> Record:
    """One row of the table: train from the seed's start, measure in every norm at every level.

    Full-batch steps on the logarithm of the loss (so the gradient is scaled by the loss), which
    shrink like 1/√t; to loss 1e-100, or `steps`. The summary holds the `margins` at the end in the
    order of `NORMS`, the `weights` there at Euclidean size 1, of its own norm the `exact` largest
    margin (linear net), and of the certificate in it at the first and the last level the duality
    `gap` and the largest of ε, δ and κ (`residual`).
    """
    points, net, loss = _problem(data, seed)
    about = METHODS[method]
    optimizer: Any = about.make(net.parameters(), about.rate.get(data, 1.0))
    shrinking = about.rate and torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (1 + t / _SLOWER) ** -0.5
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = log_loss(net(points.x), points.y, loss, reduction="sum")
        value.backward()  # type: ignore[no-untyped-call]
        return value

    rows: list[dict[str, Any]] = []
    left = list(LEVELS)
    step, value = 0, math.inf
    best, kept = math.inf, _weights(net)
    for step in range(steps + 1):
        before = _weights(net)
        value = float(optimizer.step(closure).detach()) / math.log(10)
        if about.rate == {}:  # a step that was taken back ends elsewhere
            state = [optimizer.state[p].get("previous_value") for p in net.parameters()]
            if all(part is not None for part in state):
                before = torch.cat([part.detach().reshape(-1) for part in state])
        if shrinking:
            shrinking.step()
        if value < best:
            best, kept = value, before
        if left and best <= left[0]:
            while left and best <= left[0]:
                left.pop(0)
            rows.append(_measure(net, kept, points, step, best))
        if not left:
            break
    if left:
        rows.append(_measure(net, kept, points, step, best))
    return _record(data, method, seed, net, points, rows)


def _weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def _measure(
    net: nn.Module, weights: Tensor, points: Dataset, step: int, log10_loss: float
) -> dict[str, Any]:
    """A row of margins, with the net left as it was."""
    now = _weights(net)
    _put(net, weights)
    profile = margin_profile(net, points.x, points.y, NORMS)
    row = {"step": step, "log10_loss": log10_loss, "weights": weights.tolist()}
    row |= dict(zip(NORMS, profile.margins[0].tolist(), strict=True))
    _put(net, now)
    return row


def _put(net: nn.Module, weights: Tensor) -> None:
    torch.nn.utils.vector_to_parameters(weights, net.parameters())


def _record(
    data: str,
    method: str,
    seed: int,
    net: HomogeneousNet,
    points: Dataset,
    rows: list[dict[str, Any]],
) -> Record:
    own = METHODS[method].norm
    last = rows[-1]
    weights = [torch.tensor(row.pop("weights"), dtype=torch.float64) for row in rows]
    summary: dict[str, Any] = {
        "data": data,
        "method": method,
        "norm": own,
        "seed": seed,
        "map": method,
        "margins": [last[name] for name in NORMS],
        "steps": last["step"],
        "log10_loss": last["log10_loss"],
        "weights": (weights[-1] / weights[-1].norm()).tolist(),
        "exact": None,
        "flow": None,
        "flow_margin": None,
    }
    for name, at in (("first", 0), ("last", -1)):
        _put(net, weights[at])
        found = certify(net, points.x, points.y, NORMS[own], max_margins=_MARGINS)
        summary[f"gap_{name}"], summary[f"residual_{name}"] = found.duality_gap, found.residual
    if data == "linear":
        summary["exact"] = max_margin(points.x, points.y, NORMS[own]).margin
    if data == "linear" and method == "cosh":
        summary["flow"], summary["flow_margin"] = _flow(points, seed)
    return Record(_name(data, method, seed), summary, rows)


def _flow(points: Dataset, seed: int) -> tuple[list[float], float]:
    """Direction and ℓ∞ margin where cosh's mirror flow ends, linear, from the same start."""
    flat = points.x.flatten(1)
    net = Linear(flat.shape[1]).double()
    generator = torch.Generator().manual_seed(seed)
    rows, columns = points.x.shape[1:]
    start = _MatrixLinear(rows, columns, generator).weight.detach()
    with torch.no_grad():
        net.weight.copy_(start.flatten())
    found = mirror_flow(net, flat, points.y, Cosh(), log_t_end=_LOG_T)
    direction = torch.as_tensor(found.direction[-1])
    return (direction / direction.norm()).tolist(), float(found.margin[-1])


def _name(data: str, method: str, seed: int) -> str:
    slug = method.replace(" ", "_").replace("(", "_").replace(")", "").replace(".", "_").lower()
    return f"margin-{data}-{slug}-{seed}"


def tasks(sets: Iterable[str], seeds: int, first: int) -> list[Task]:
    """One task for each seed, set and optimizer; a whole table first, then the next seed's."""
    return [
        Task(
            _name(data, method, seed),
            train_method,
            {"data": data, "method": method, "seed": seed, "steps": _STEPS[data]},
        )
        for seed in range(first, first + seeds)
        for data in sets
        for method in METHODS
    ]


def findings(
    records: dict[str, Record], sets: Iterable[str], seeds: int, first: int
) -> list[Finding]:
    """Whose margin is largest in each norm, how near to the exact one, and what is shared."""
    made = []
    for data in sets:
        tables = [
            {
                method: records[_name(data, method, seed)].summary
                for method in METHODS
                if _name(data, method, seed) in records
            }
            for seed in range(first, first + seeds)
        ]
        made += [_column(data, name, tables) for name in NORMS]
        if data == "linear":
            made.append(_reached(tables))
        made.append(_falls(data, tables))
        made.append(_shared(data, tables))
    return made


_ABOUT = {"linear": "linear, 20 Gaussian matrices", "mnist": "mnist, two layers, 100 digits"}
Table = list[dict[str, dict[str, Any]]]


def _column(data: str, name: str, tables: Table) -> Finding:
    """Is the largest margin of the column in a row of its own norm, in every seed?"""
    at = list(NORMS).index(name)
    own = [method for method, about in METHODS.items() if about.norm == name]
    leads, best = [], []
    for table in tables:
        mine = [table[m]["margins"][at] for m in own if m in table]
        others = {m: s["margins"][at] for m, s in table.items() if m not in own}
        if mine and others:
            leads.append(max(mine) / max(others.values()) - 1)
            best.append(max(table, key=lambda m: table[m]["margins"][at]))
    won = all(lead > 0 for lead in leads)
    verdict: Verdict = "no" if not won else "yes" if _complete(tables) else "not yet reached"
    return Finding(
        claim=1,
        question=f"Is the {name} margin largest where {name} is the optimizer's own norm "
        f"({_ABOUT[data]})?",
        prediction=f"yes: by {' or '.join(own)}",
        measured=(
            f"largest by {', '.join(dict.fromkeys(best)) or '–'}; its own rows against the others: "
            f"{', '.join(f'{100 * lead:+.1f}' for lead in leads)} per cent"
        ),
        rule="in every seed the largest margin of the column is in a row of that norm",
        verdict=verdict,
    )


def _complete(tables: Table) -> bool:
    return all(len(table) == len(METHODS) for table in tables)


def _reached(tables: Table) -> Finding:
    """How near each optimizer comes to the largest margin that there is, in its own norm."""
    shares: dict[str, float] = {}
    for table in tables:
        for method, s in table.items():
            at = list(NORMS).index(s["norm"])
            share = s["margins"][at] / s["exact"]
            shares[method] = min(share, shares.get(method, math.inf))
    short = [method for method, share in shares.items() if share < _NEAR]
    verdict: Verdict = "no" if short else "yes" if _complete(tables) else "not yet reached"
    return Finding(
        claim=1,
        question=f"Does each optimizer come near the exact margin of its own norm "
        f"({_ABOUT['linear']})?",
        prediction="yes, but cosh and spectral(cosh), whose directions move like 1/log t",
        measured="of the exact margin, the worst seed: "
        + ", ".join(f"{method} {plain(share, 3)}" for method, share in shares.items()),
        rule=f"at least {_NEAR:g} of it in every seed, for every optimizer",
        verdict=verdict,
    )


def _falls(data: str, tables: Table) -> Finding:
    """Does the duality gap in the own norm fall from the first level to the end?"""
    ends: dict[str, tuple[float, float, float]] = {}
    falling = True
    for table in tables:
        for method, s in table.items():
            falling = falling and s["gap_last"] < s["gap_first"]
            ends.setdefault(method, (s["gap_first"], s["gap_last"], s["residual_last"]))
    verdict: Verdict = "no" if not falling else "yes" if _complete(tables) else "not yet reached"
    return Finding(
        claim=1,
        question=f"Does each optimizer come closer to a KKT point of its own norm "
        f"({_ABOUT[data]})?",
        prediction="yes: the duality gap is smaller at the last loss than at the first",
        measured="duality gap, first seed: "
        + ", ".join(f"{m} {plain(a, 2)} → {plain(b, 2)}" for m, (a, b, _) in ends.items()),
        rule="it is smaller in every seed, for every optimizer",
        verdict=verdict,
    )


def _shared(data: str, tables: Table) -> Finding:
    """Cosh and sign descent have one problem; do they have one solution?"""
    angles, ratios = [], []
    at = list(NORMS).index("ℓ∞")
    for table in tables:
        if "cosh" not in table or "sign descent" not in table:
            continue
        cosh, sign = table["cosh"], table["sign descent"]
        end = torch.tensor(cosh["flow"] or cosh["weights"], dtype=torch.float64)
        angles.append(degrees_between(end, torch.tensor(sign["weights"], dtype=torch.float64)))
        margin = cosh["flow_margin"] if cosh["flow"] else cosh["margins"][at]
        ratios.append(margin / sign["margins"][at])
    linear = data == "linear"
    one = all(angle <= _ANGLE for angle in angles)
    verdict: Verdict = (
        "no" if not one else "yes" if len(angles) == len(tables) else "not yet reached"
    )
    return Finding(
        claim=1,
        question=f"Do cosh and sign descent, which share the ℓ∞ problem, share its solution "
        f"({_ABOUT[data]})?",
        prediction="yes: the flow of cosh and sign descent end in one direction"
        if linear
        else "no: the net has many KKT points",
        measured=f"{', '.join(plain(a, 3) for a in angles)} degrees apart; ℓ∞ margin of cosh over "
        f"that of sign descent {', '.join(plain(r, 3) for r in ratios)}",
        rule=f"at most {_ANGLE:g} degrees in every seed",
        verdict=verdict,
    )

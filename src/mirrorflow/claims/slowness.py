"""Finding 2: how slow is the approach to the limit?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirrorflow.claims.finding import Finding, Verdict, map_label, plain
from mirrorflow.claims.flows import flow_record
from mirrorflow.claims.tasks import Record, Task
from mirrorflow.data import one_point
from mirrorflow.diagnostics import fit_growth, predict
from mirrorflow.exact import one_point_direction, one_point_flow
from mirrorflow.flow import Trajectory
from mirrorflow.maps import MirrorMap, SeparableMap, parse_map
from mirrorflow.nets import Linear
from mirrorflow.runs.names import slug

__all__ = ["MAPS", "TIMES", "findings", "follow_one_point", "tasks"]

MAPS = (
    "hyperbolic_entropy(beta=1)",
    "hyperbolic_entropy(beta=0.01)",
    "logarithmic(beta=1)",
    "power(p=1.5)",
    "quadratic",
    "mixed(p=3, a=1, b=1)",
    "power(p=3)",
    "cosh(scale=1)",
    "double_exponential",
)
TIMES = (10.0, 100.0, 1000.0)
"""log10 t at which the direction is compared with the closed form."""

_LOG_T = 1e12
_TOL = 1e-6
_FIT_FROM = 1e6
_CURVE = [10.0 ** (0.5 * k) for k in range(1, 23)]
# Where the logarithmic corrections to the loss are below a per cent.
_LATE = 1e9


def follow_one_point(folder: Path, *, mirror_map: str, log_t_end: float, tol: float) -> Record:
    """The linear net on (1, 2) from zero, to `log_t_end`, beside its closed form."""
    chosen = parse_map(mirror_map)
    data = one_point()
    net = Linear(2).double()
    with torch.no_grad():
        net.weight.zero_()
    name = _name(mirror_map)
    record, path = flow_record(folder, name, net, data, chosen, log_t_end, tol=tol)
    limit = _degrees(one_point_direction(data.x[0], chosen.index))
    angles = [_compare(path, mirror_map, time) for time in TIMES]
    late = [row for row in record.rows if row["log_t"] >= _LATE]
    slope = -late[0]["log_loss"] / late[0]["log_t"] if late else math.nan
    measured = {"map": mirror_map, "angles": angles, "limit": limit, "loss_exponent": slope}
    growth = fit_growth(path, mirror_map=chosen, from_log_t=_FIT_FROM)
    laws = [{**asdict(law), "agrees": law.agrees} for law in growth.laws]
    curve = [_compare(path, mirror_map, time) for time in _CURVE]
    measured |= {"laws": laws, "growth": growth.verdict, "curve": curve}
    summary = {**record.summary, **measured}
    law = _loss_law(chosen, float(path.margin[-1]))
    thinned = {row["log_t"]: row for row in record.rows}
    rows = []
    for k, log_t in enumerate(path.log_t):
        if float(log_t) in thinned:
            away = abs(_degrees(torch.as_tensor(path.direction[k])) - limit)
            row = thinned[float(log_t)]
            rows.append({**row, "degrees_to_limit": away, "law_log_loss": law(row["log_t"])})
    return Record(record.name, summary, rows)


def _loss_law(mirror_map: MirrorMap, gamma: float) -> Callable[[float], float]:
    """`log ℓ` as the theory predicts it from log t on; NaN where it gives no constant."""
    law = predict(mirror_map, 1.0, gamma)

    def value(log_t: float) -> float:
        if not 1 < log_t < math.inf:
            return math.nan
        power = law.log_exponent if law.log_exponent == law.log_exponent else 0.0
        constant = law.loss_log_constant if power else 0.0
        return constant - law.time_exponent * log_t - power * math.log(log_t)

    return value


def _compare(path: Trajectory, mirror_map: str, log10_t: float) -> dict[str, float]:
    log_t = log10_t * math.log(10)
    chosen = parse_map(mirror_map)
    if not isinstance(chosen, SeparableMap):
        raise TypeError(f"{mirror_map} is not separable; its flow on one point is not known")
    exact = one_point_flow(chosen, torch.tensor([1.0, 2.0]).double(), log_t)
    direction = torch.as_tensor(path.at(log_t).direction)
    return {"log10_t": log10_t, "flow": _degrees(direction), "exact": _degrees(exact)}


def _degrees(w: Tensor) -> float:
    return math.degrees(math.atan2(float(w[1]), float(w[0])))


def _name(mirror_map: str) -> str:
    return f"slow-{slug(mirror_map)}"


def tasks() -> list[Task]:
    """One flow for each map; there is nothing random in it."""
    return [
        Task(_name(text), follow_one_point, {"mirror_map": text, "log_t_end": _LOG_T, "tol": _TOL})
        for text in MAPS
    ]


def findings(records: dict[str, Record]) -> list[Finding]:
    """The integrator against the closed form, the slow direction, and the decay of the loss."""
    found = {text: records[_name(text)].summary for text in MAPS if _name(text) in records}
    return [_trust(found), _direction(found), _loss(found)]


def _verdict(complete: bool, agrees: bool) -> Verdict:
    if not complete:
        return "not yet reached"
    return "yes" if agrees else "no"


def _reason(verdict: Verdict, why: str) -> str:
    if verdict == "yes":
        return ""
    return why if verdict == "no" else "A flow is missing."


def _trust(found: dict[str, dict[str, Any]]) -> Finding:
    errors = [abs(row["flow"] - row["exact"]) for s in found.values() for row in s["angles"]]
    worst = max(errors, default=math.nan)
    verdict = _verdict(len(found) == len(MAPS), worst <= 1e-3)
    return Finding(
        claim=2,
        question="Is the integrator where the closed form is at t = 1e10, 1e100 and 1e1000?",
        prediction="the same direction for every map",
        measured=f"largest difference {plain(worst, 2)} degrees over {len(found)} maps",
        rule="at most 1e-3 degrees",
        verdict=verdict,
        subject="the integrator beside the closed form",
        reason=_reason(verdict, f"It is {plain(worst, 2)} degrees away from the closed form."),
    )


def _direction(found: dict[str, dict[str, Any]]) -> Finding:
    slow = ("hyperbolic_entropy(beta=1)", "cosh(scale=1)")
    quick = ("power(p=1.5)", "quadratic", "power(p=3)")
    away = {
        text: abs(found[text]["angles"][0]["flow"] - found[text]["limit"])
        for text in (*slow, *quick)
        if text in found
    }
    complete = len(away) == len(slow) + len(quick)
    agrees = complete and all(away[t] > 1 for t in slow) and all(away[t] < 1e-6 for t in quick)
    shown = ", ".join(f"{map_label(text)} {plain(away[text])}" for text in slow if text in away)
    rest = max((away[t] for t in quick if t in away), default=math.nan)
    verdict = _verdict(complete, agrees)
    return Finding(
        claim=2,
        question="Is the direction still far from its limit at t = 1e10 if the map has a scale?",
        prediction="degrees away for hyperbolic entropy (10.97) and cosh (3.16), none for powers",
        measured=f"{shown} degrees; powers at most {plain(rest, 2)}",
        rule="more than 1 degree for the first two, less than 1e-6 for the powers",
        verdict=verdict,
        subject="the direction at t = 1e10",
        reason=_reason(verdict, f"It lacks {shown} degrees, with powers {plain(rest, 2)}."),
    )


def _loss(found: dict[str, dict[str, Any]]) -> Finding:
    predicted = dict.fromkeys(MAPS, 1.0)
    # γ = 3 is the ℓ∞ margin of (1, 2).
    predicted |= {"cosh(scale=1)": 0.75, "double_exponential": 0.0}
    errors = {text: abs(s["loss_exponent"] - predicted[text]) for text, s in found.items()}
    worst = max(errors.values(), default=math.nan)
    slow = found.get("double_exponential", {}).get("loss_exponent", math.nan)
    cosh = found.get("cosh(scale=1)", {}).get("loss_exponent", math.nan)
    verdict = _verdict(len(found) == len(MAPS), worst <= 0.01)
    return Finding(
        claim=2,
        question="Does the loss fall like 1/t, for cosh like t^(−3/4), and slower still beyond?",
        prediction="exponent 1; cosh γ/(1+γ) = 0.75; double exponential 0",
        measured=(
            f"cosh {plain(cosh, 4)}, double exponential {plain(slow, 2)}, "
            f"largest error over all maps {plain(worst, 2)}"
        ),
        rule=f"−log ℓ/log t within 0.01 of the exponent at the first log t ≥ {_LATE:g}",
        verdict=verdict,
        subject="the decay of the loss",
        reason=_reason(verdict, f"An exponent is off by {plain(worst, 2)}."),
    )

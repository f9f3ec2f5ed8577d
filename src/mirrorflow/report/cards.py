"""The first screen of the page: for each claim one picture, one number, one verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.claims import Record
from mirrorflow.claims.finding import map_label as label
from mirrorflow.claims.one_limit import SHORTFALL
from mirrorflow.claims.p_descent import POWERS
from mirrorflow.plot.time_axis import as_times
from mirrorflow.report.card_pictures import bars, curves, planes, table
from mirrorflow.report.wording import number

__all__ = ["Card", "cards"]

_QUESTIONS = {
    1: "Do distinct mirror maps share one max-margin solution?",
    2: "Is convergence extremely slow?",
    3: "Do features range from sparse to dense?",
}
_OWN_NORM = "Does each potential do best in its own norm?"
_WORDS = {"no": "No", "noise": "Not settled", "not yet reached": "Not yet reached"}
_TIMES = ((0.0, "t = 10"), (1.0, "10^10"), (2.0, "10^100"), (3.0, "10^1000"))


@dataclass(frozen=True)
class Card:
    """One claim at a glance.

    Args:
        claim: 1, 2 or 3.
        question: what is asked.
        picture: inline SVG.
        alt: what the picture shows, as a finding.
        number: the one number.
        unit: what it counts.
        word: the verdict in a word or two.
        answer: the verdict in a sentence.
        verdict: "yes", "no" or "open": how the word looks.
        count: how many checks say what.
        others: for what is not a "yes": the verdict, what was asked, and a sentence why.
    """

    claim: int
    question: str
    picture: str
    alt: str
    number: str
    unit: str
    word: str
    answer: str
    verdict: str
    count: str
    others: list[tuple[str, str, str]]


def cards(records: Mapping[str, Record], findings: list[dict[str, Any]]) -> list[Card]:
    """A card for each claim that has findings.

    Args:
        records: of the preset, by name.
        findings: as `findings.json` holds them.
    """
    made = []
    for claim, question in _QUESTIONS.items():
        asked = [finding for finding in findings if finding["claim"] == claim]
        if not asked:
            continue
        if claim == 1 and all(name.startswith("power-") for name in records):
            question = _OWN_NORM
        picture, alt, value, unit, answer = _content(claim, list(records.values()))
        kind, word, count = _verdict(asked)
        made.append(
            Card(
                claim, question, picture, alt, value, unit, word, answer, kind, count,
                _others(asked),
            )
        )  # fmt: skip
    return made


def _verdict(asked: list[dict[str, Any]]) -> tuple[str, str, str]:
    """How it looks, the word for it, and the count of the checks."""
    verdicts = [finding["verdict"] for finding in asked]
    agree = verdicts.count("yes")
    count = f"{agree} of {len(asked)} checks say yes."
    if agree == len(asked):
        return "yes", "yes", count
    if "no" in verdicts:
        return "no", f"no in {verdicts.count('no')} of {len(asked)}", count
    return "open", "in part" if agree else "not settled", count


def _others(asked: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What is not a yes, once for each subject, with the reason of the last one."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in asked:
        if finding["verdict"] != "yes":
            subject = finding.get("subject") or finding["question"].rstrip("?")
            groups.setdefault((finding["verdict"], subject), []).append(finding)
    made = []
    for (verdict, subject), of in groups.items():
        many = f" ({len(of)} checks)" if len(of) > 1 else ""
        why = of[-1].get("reason") or f"Measured: {of[-1]['measured']}."
        made.append((f"{_WORDS[verdict]}{many}", subject, why))
    return made


Content = tuple[str, str, str, str, str]
_NOTHING: Content = ("", "No record yet.", "–", "", "")


def _content(claim: int, records: list[Record]) -> Content:
    def named(prefix: str) -> list[Record]:
        return [record for record in records if record.name.startswith(prefix)]

    if claim == 1:
        if found := named("linear-"):
            return _one_limit(found)
        if found := named("image-"):
            return _one_limit(found)
        return _own_norm(named("power-"))
    if claim == 2:
        return _still_far(named("slow-")) if named("slow-") else _out_of_reach(named("image-"))
    return _few_or_many(named("net-")) if named("net-") else _participation(named("digits-"))


def _times(record: Record) -> Array:
    return as_times([row["log_t"] for row in record.rows])


def _one_limit(found: list[Record]) -> Content:
    ends = [record.summary for record in found]
    worst = max(abs(end["shortfall"]) for end in ends)
    orders = sorted({end["order"] for end in ends})
    norms = ", ".join(f"ℓ{'∞' if math.isinf(p) else f'{p:g}'}" for p in orders)
    pair = [record for record in found if record.summary["order"] == orders[0]][:2]
    lines = []
    for record in pair:
        share = np.array([row["margin"] / row["exact_margin"] for row in record.rows])
        lines.append((label(record.summary["map"]), _times(record), share))
    names = " and ".join(label(record.summary["map"]) for record in pair)
    picture = curves(
        lines, x=(0.0, 10.0), y=(0.5, 1.06), rule=(1.0, "exact max margin"),
        marks=[(0.0, "t = 10"), (5.0, "10^(10^5)"), (10.0, "10^(10^10)")],
    )  # fmt: skip
    alt = f"The margins of {names} run into one line, the exact max margin."
    answer = (
        f"Both maps of each norm ({norms}) end at its exact max margin."
        if worst <= SHORTFALL
        else f"Flows end up to {number(worst)} short of the exact max margin."
    )
    return picture, alt, number(worst), f"largest shortfall, relative; {len(ends)} flows", answer


def _own_norm(found: list[Record]) -> Content:
    if not found:
        return _NOTHING
    first = found[0].summary
    same = [r.summary for r in found if (r.summary["data"], r.summary["seed"]) ==
            (first["data"], first["seed"])]  # fmt: skip
    rows = {s["p"]: s["flow"] for s in same}
    values = [rows.get(p) or [math.nan] * len(POWERS) for p in POWERS]
    leads = [
        100 * (values[k][k] / values[j][k] - 1)
        for k in range(len(POWERS))
        for j in range(len(POWERS))
        if j != k
    ]
    names = [f"{p:g}" for p in POWERS]
    least = min((lead for lead in leads if lead == lead), default=math.nan)
    leads_all = least > 0
    alt = "Margins by the power that trained and the norm that measures: the diagonal leads."
    answer = "In the picture each power has the largest margin in its own norm."
    if not leads_all:
        alt = "Margins by the power that trained and the norm that measures."
        answer = "Not every power has the largest margin in its own norm."
    unit = f"smallest lead of a power in its own norm, flow on {found[0].summary['data']}"
    return table(values, names), alt, f"{least:.2g} %", unit, answer


def _still_far(found: list[Record]) -> Content:
    by_map = {record.summary["map"]: record for record in found}
    slow = by_map.get("hyperbolic_entropy(beta=1)")
    quick = by_map.get("quadratic")
    if slow is None or quick is None:
        return _NOTHING
    lines = [
        (
            label(record.summary["map"]),
            _times(record),
            np.array([row["degrees_to_limit"] for row in record.rows]),
        )
        for record in (slow, quick)
    ]
    first = slow.summary["angles"][0]
    away = abs(first["flow"] - slow.summary["limit"])
    picture = curves(
        lines, x=(0.0, 3.3), y=(0.0, 30.0), marks=_TIMES, what="degrees to the limit",
        names_at="top",
    )  # fmt: skip
    late = abs(slow.summary["angles"][-1]["flow"] - slow.summary["limit"])
    alt = (
        f"Degrees to the limit: hyperbolic entropy falls slowly and still lacks {late:.2g} at "
        "t = 10^1000, quadratic lacks none."
    )
    there = abs(quick.summary["angles"][0]["flow"] - quick.summary["limit"])
    rest = "nothing" if there < 1e-6 else f"{there:.2g}°"
    answer = (
        f"At t = 10^1000 hyperbolic entropy still lacks {late:.2g}°. The quadratic map lacks "
        f"{rest} at t = 10^10."
    )
    unit = "to the limit direction at t = 10^10, hyperbolic entropy β=1"
    return picture, alt, f"{away:.1f}°", unit, answer


def _out_of_reach(found: list[Record]) -> Content:
    if not found:
        return _NOTHING
    data = found[0].summary["data"]
    ends = [
        (label(record.summary["map"]), 100 * (1 - record.summary["beside"][-1]["descent"]))
        for record in found
        if record.summary["data"] == data
    ]
    name, most = max(ends, key=lambda end: end[1])
    steps = found[0].summary["beside"][-1]["steps"]
    late = 100 * max(abs(record.summary["shortfall"]) for record in found)
    alt = f"What training lacks of the max margin on {data}: most with {name}, {most:.3g} per cent."
    answer = f"Training ends short of the max margin. The flow ends within {number(late)} % of it."
    unit = f"short of the max margin after {steps:,} steps, {name}, {data}"
    return bars(ends, " %"), alt, f"{most:.3g} %", unit, answer


def _few_or_many(found: list[Record]) -> Content:
    first = min(record.name.rsplit("-", 1)[-1] for record in found)
    nets = sorted(
        (r.summary for r in found if r.name.endswith(f"-{first}")), key=lambda net: net["neurons"]
    )
    few, many = nets[0], nets[-1]
    pictures = [(label(net["map"]), net) for net in (few, many)]
    alt = (
        f"Two nets on the same points: {label(few['map'])} uses {few['neurons']:.1f} neurons, "
        f"{label(many['map'])} {many['neurons']:.1f} of {many['units']}."
    )
    answer = (
        f"On the same points {label(few['map'])} uses {few['neurons']:.1f} neurons, "
        f"{label(many['map'])} {many['neurons']:.1f}."
    )
    unit = f"as many neurons in use with {label(many['map'])}, two-layer net"
    times = f"{many['neurons'] / few['neurons']:.1f} times"
    return planes(pictures), alt, times, unit, answer


def _participation(found: list[Record]) -> Content:
    if not found:
        return _NOTHING
    rows = [
        (label(record.summary["map"]), float(record.rows[-1]["weight_participation"]))
        for record in found
        if record.rows
    ]
    rows.sort(key=lambda row: row[1])
    if len(rows) < 2:
        return _NOTHING
    (low, least), (high, most) = rows[0], rows[-1]
    alt = f"Participation ratio of the weights, from {least:.2g} ({low}) to {most:.2g} ({high})."
    answer = f"The participation ratio goes from {least:.2g} ({low}) to {most:.2g} ({high})."
    return bars(rows, ""), alt, f"{most / least:.1f} times", f"as dense with {high}", answer

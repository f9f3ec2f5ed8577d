"""Finding 3 on images: sparse to dense over maps and seeds, judged from the table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mirrorflow.claims.finding import Finding, Verdict, map_label, plain
from mirrorflow.claims.statistics import interval, ordered, trend
from mirrorflow.maps import parse_map

__all__ = ["MEASURES", "Answer", "Measure", "answer", "findings", "ladder", "levels"]

_EQUAL = 0.005
_P = 1e-3


@dataclass(frozen=True)
class Measure:
    """What is measured: the mean of the columns that begin with `column`, and the prediction:
    that it rises or falls with the order of the horizon."""

    column: str
    name: str
    short: str
    rises: bool
    layers: bool = False

    def of(self, row: dict[str, Any]) -> float:
        """Its value in a row of the table; over layers, the mean."""
        if not self.layers:
            return float(row[self.column])
        found = [
            float(value)
            for name, value in row.items()
            if name.startswith(self.column + "_")
            and name.removeprefix(self.column + "_").isdigit()
            and value is not None
            and not math.isnan(value)
        ]
        return sum(found) / len(found)


MEASURES = (
    Measure("weight_participation", "participation ratio of the weights", "participation", True),
    Measure("weights_above_1e-3", "share of weights above 1e-3 of the largest", "w > 1e-3", True),
    Measure("weights_above", "share of weights above 1e-2 of the largest", "w > 1e-2", True),
    Measure("zero_activations", "share of zero activations", "zeros", False, layers=True),
    Measure("alive", "share of units alive", "alive", True, layers=True),
    Measure("effective_rank", "effective rank of the features", "rank", True, layers=True),
)


@dataclass(frozen=True)
class Answer:
    """One measure at one loss.

    Attributes:
        values: for each map that every seed brought to this loss, a value a seed.
        missing: maps that did not get there with every seed.
        monotone: whether the means follow the predicted order strictly.
        p: of Page's test; NaN where it cannot be asked.
        every_seed: whether every seed by itself follows the predicted order strictly. Then p is
            the smallest that there can be for so many maps and seeds, and says no more.
        verdict: by the rule of `answer`.
    """

    values: dict[str, list[float]]
    missing: tuple[str, ...]
    monotone: bool
    p: float
    every_seed: bool
    verdict: Verdict

    @property
    def order(self) -> str:
        """How well the order holds, in words."""
        if math.isnan(self.p):
            return "–"
        if self.every_seed:
            return "strictly ordered in every seed"
        return f"p = {plain(self.p, 2)}{'' if self.monotone else ', not monotone'}"


def levels(rows: Iterable[dict[str, Any]]) -> list[float]:
    """The thresholds of log10 loss that any row reached, falling."""
    return sorted({r["threshold"] for r in rows if _reached(r)}, reverse=True)


def _reached(row: dict[str, Any]) -> bool:
    level = row.get("threshold")
    return level is not None and not math.isnan(level)


def order(mirror_map: str) -> float:
    """Of the horizon of a map that a table names, 1 to ∞: predicted to go from sparse to dense."""
    return parse_map(mirror_map).index


def ladder(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The maps of a table by the order of their horizons."""
    return sorted({row["mirror_map"] for row in rows}, key=lambda text: (order(text), text))


def at_level(rows: Sequence[dict[str, Any]], level: float) -> dict[str, dict[int, dict[str, Any]]]:
    """Rows at the first state below a loss, by map (in the order of `ladder`) and seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {text: {} for text in ladder(rows)}
    for row in rows:
        if _reached(row) and row["threshold"] == level:
            found[row["mirror_map"]][int(row["seed"])] = row
    return found


def answer(rows: Sequence[dict[str, Any]], level: float, measure: Measure) -> Answer:
    """Does the measure follow the order of the horizon, at the first state below `level`?

    The rule: "yes" if the means over seeds are strictly monotone as predicted, Page's p is below
    1e-3, and the training accuracies lie within 0.005 of one another; over the maps that every
    seed brought to this loss. "Not yet reached" if these are too few for the test ever to say yes:
    the smallest p of k maps and s seeds is `(k!)^−s`, 0.005 for three and three.

    Args:
        rows: of the table of a sweep over maps of different order and two or more seeds.
        level: a threshold of log10 loss.
        measure: one of `MEASURES`.
    """
    found = at_level(rows, level)
    seeds = sorted({int(row["seed"]) for row in rows})
    full = {text: by_seed for text, by_seed in found.items() if sorted(by_seed) == seeds}
    values = {text: [measure.of(by_seed[seed]) for seed in seeds] for text, by_seed in full.items()}
    missing = tuple(text for text in found if text not in full)
    if len(full) < 3 or len(seeds) < 2:
        return Answer(values, missing, False, math.nan, False, "not yet reached")
    means = [sum(v) / len(v) for v in values.values()]
    steps = [b - a if measure.rises else a - b for a, b in zip(means, means[1:], strict=False)]
    monotone = all(step > 0 for step in steps)
    blocks = list(zip(*values.values(), strict=True))
    p = trend(blocks, rising=measure.rises)
    every_seed = ordered(blocks, rising=measure.rises)
    trained = [row["train_accuracy"] for by_seed in full.values() for row in by_seed.values()]
    equal = max(trained) - min(trained) <= _EQUAL
    verdict: Verdict = "yes" if monotone and p < _P and equal else "no"
    if float(math.factorial(len(full))) ** -len(seeds) >= _P:
        verdict = "not yet reached"
    return Answer(values, missing, monotone, p, every_seed, verdict)


def findings(
    name: str, rows: Sequence[dict[str, Any]], thresholds: Sequence[float]
) -> list[Finding]:
    """Each measure at each loss, as a question with an expected answer.

    Args:
        name: of the data and the net, as a reader knows them.
        rows: see `answer`.
        thresholds: of log10 loss.
    """
    return [
        _finding(name, level, measure, ladder(rows), answer(rows, level, measure))
        for measure in MEASURES
        for level in thresholds
    ]


def _finding(
    name: str, level: float, measure: Measure, maps: Sequence[str], found: Answer
) -> Finding:
    shown = ", ".join(f"{map_label(t)} {with_interval(v)}" for t, v in found.values.items())
    without = ", ".join(map_label(text) for text in found.missing)
    verb = "rise" if measure.rises else "fall"
    first, last = (f"{map_label(text)} (ℓ{order(text):g})" for text in (maps[0], maps[-1]))
    return Finding(
        claim=3,
        question=f"{name} at loss 1e{level:g}: does the {measure.name} {verb} with the order?",
        prediction=f"{verb}s from {first} to {last}",
        measured=(shown or "no map")
        + ("" if math.isnan(found.p) else f"; {found.order}")
        + (f"; not reached: {without}" if without else ""),
        rule=f"means strictly monotone, Page's p < {_P:g}, training accuracies within {_EQUAL:g}; "
        "over the maps that got there with every seed, if they are enough for that p",
        verdict=found.verdict,
    )


def with_interval(values: Sequence[float]) -> str:
    """Mean ± half of the 95 % interval, to as many digits as the interval has."""
    mean, half = interval(values)
    if math.isinf(half):
        return plain(mean)
    digits = 3 if half == 0 else max(0, min(4, 1 - math.floor(math.log10(half))))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"

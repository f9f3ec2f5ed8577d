"""What the page says: one section a claim, its figures, its tables of certificates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mirrorflow.claims import Record
from mirrorflow.claims.digits import LADDER as DIGIT_MAPS
from mirrorflow.claims.finding import map_label as label
from mirrorflow.claims.finding import plain
from mirrorflow.plot import records as figures
from mirrorflow.report.image_section import on_images
from mirrorflow.report.margin_section import of_margins
from mirrorflow.report.p_descent_section import of_powers
from mirrorflow.report.parts import Picture, Section, Table
from mirrorflow.report.wording import number

__all__ = ["sections"]

_YES = {True: "yes", False: "no", None: "–"}


def sections(records: dict[str, Record], thresholds: list[float]) -> list[Section]:
    """The sections, without what has no record.

    Args:
        records: of the preset, by name.
        thresholds: of log10 loss, falling.
    """
    groups = {
        prefix: [record for name, record in records.items() if name.startswith(prefix)]
        for prefix in ("linear-", "slow-", "net-", "digits-", "image-", "power-", "margin-")
    }
    groups["net-"].sort(key=lambda record: record.summary["order"])
    made = []
    if groups["linear-"]:
        made.append(_limits(groups["linear-"], groups["net-"]))
    if groups["slow-"]:
        made.append(_slowness(groups["slow-"]))
    if groups["net-"] or groups["digits-"]:
        made.append(_sparse_to_dense(groups["net-"], groups["digits-"], thresholds))
    if groups["image-"]:
        made.append(on_images(groups["image-"]))
    if groups["power-"]:
        made.append(of_powers(groups["power-"]))
    if groups["margin-"]:
        made.append(of_margins(groups["margin-"]))
    return made


def _first_seed(found: list[Record]) -> list[Record]:
    """Figures show the first seed; the findings are judged over all of them."""
    seeds = [record.name.rsplit("-", 1)[-1] for record in found]
    return [record for record, seed in zip(found, seeds, strict=True) if seed == min(seeds)]


def _named(record: Record, found: list[Record]) -> str:
    """The map, and the seed where there are several."""
    name = label(record.summary["map"])
    several = sum(other.summary["map"] == record.summary["map"] for other in found) > 1
    return f"{name}, seed {record.name.rsplit('-', 1)[-1]}" if several else name


def _certificates(found: list[Record], caption: str) -> Table:
    exact = any("exact_margin" in record.summary for record in found)
    header = ["map", "outcome", "log₁₀ t", "Q-margin", *(["exact"] if exact else [])]
    checked = any("same" in record.summary for record in found)
    header += ["gap", "ε", "δ", "balance drift", "steps", "seconds"]
    header += ["same at tol/10"] if checked else []
    rows = []
    for record in found:
        s = record.summary
        own = [plain(s.get("exact_margin", math.nan), 7)] if exact else []
        rows.append(
            [
                _named(record, found),
                s["outcome"],
                plain(s["log_t"] / math.log(10)),
                plain(s["margin"], 7),
                *own,
                *(plain(s[key], 2) for key in ("gap", "epsilon", "delta", "drift")),
                str(s["steps"]),
                plain(s["seconds"]),
                *([_YES[s.get("same")]] if checked else []),
            ]
        )
    return Table(caption, header, rows)


def _limits(linear: list[Record], nets: list[Record]) -> Section:
    tables = [
        _certificates(
            linear,
            "Linear nets: the certificate at the end of each flow, beside the exact max margin of "
            "a conic solver. ε is the stationarity residual of the KKT conditions, δ the "
            "complementary slackness, the gap is zero only at a KKT point.",
        )
    ]
    if nets:
        caption = (
            "Two-layer nets with smooth ReLU (ε = 1e-2). For ℓ2 the exact column is the global "
            "optimum over all widths of exact ReLU nets, a convex program; a KKT point need not "
            "reach it. For the other horizons no global optimum is known."
        )
        tables.append(_certificates(nets, caption))
    ends = [record.summary for record in linear]
    worst = max(abs(end["shortfall"]) for end in ends)
    return Section(
        "Claim 1. Distinct maps, one max-margin solution",
        (1,),
        [
            "Two potentials that grow alike at infinity have one horizon. The theory says that "
            "their flows then solve one max margin problem, whatever the maps do at finite size.",
            "Each pair below shares a horizon: hyperbolic entropy and logarithmic (ℓ1), quadratic "
            "and mixed (ℓ2), cosh and exponential (ℓ∞). A conic solver gives the exact answer.",
        ],
        [
            Picture.of(
                "limits",
                figures.limits(_first_seed(linear)),
                f"The margins of {len(_first_seed(linear))} maps run into the exact max margin of "
                f"their horizon; at the end at most {number(worst)} of it is missing.",
                "Left: the margin over the exact max margin. Right: what is still missing. It ends "
                "near 1e-7, the temperature of the integrator. The axis is log log t: 20 is "
                "t = 10^(10^20).",
            )
        ],
        tables,
    )


def _slowness(found: list[Record]) -> Section:
    late = [record.summary["angles"][-1]["flow"] - record.summary["limit"] for record in found]
    name = label(found[int(np.argmax(np.abs(late)))].summary["map"])
    return Section(
        "Claim 2. How slow",
        (2,),
        [
            "One point x = (1, 2) with label +1, and a linear net that starts at zero. This flow "
            "is known in closed form, and so is the limit direction of every mirror map.",
        ],
        [
            Picture.of(
                "slowness",
                figures.slowness(found),
                f"At t = 10^1000 {name} still lacks {max(map(abs, late)):.2g} degrees; the power "
                "maps lack none at any time.",
                "Left: degrees to the limit; lines are the flow, circles the closed form. Right: "
                "the decay of the loss, circles the law of the theory. 1 is a loss like 1/t, 0 is "
                "exponentially slow. The floor near 1e-6 degrees is the integrator's.",
            )
        ],
        [_certificates(found, "The end of each flow."), _angles(found), _growth(found)],
    )


def _angles(found: list[Record]) -> Table:
    times = [row["log10_t"] for row in found[0].summary["angles"]]
    header = ["map", *(f"t = 1e{time:g}" for time in times), "largest error"]
    rows = []
    for record in found:
        angles = record.summary["angles"]
        error = max(abs(row["flow"] - row["exact"]) for row in angles)
        cells = [f"{row['flow']:.5f}" for row in angles]
        rows.append([label(record.summary["map"]), *cells, plain(error, 2)])
    caption = (
        "Degrees from the first axis along the flow, and the largest error against the closed form."
    )
    return Table(caption, header, rows)


def _growth(found: list[Record]) -> Table:
    columns = {
        "d log Q/d log log t": "d log Q/d log log t",
        "Q over its law": "Q/",
        "−d log ℓ/d log t": "−d log ℓ/d log t",
        "−d log(ℓt)/d log log t": "−d log(ℓt)/d log log t",
        "constant of log ℓ": "log(ℓ t",
    }
    rows, others = [], []
    for record in found:
        laws = record.summary["laws"]
        cells = []
        for start in columns.values():
            law = next((law for law in laws if law["name"].startswith(start)), None)
            cells.append("–" if law is None else _beside(law["measured"], law["predicted"]))
        name = label(record.summary["map"])
        others += [
            f"{name}, {law['name']}: {_beside(law['measured'], law['predicted'])}"
            for law in laws
            if not law["name"].startswith(tuple(columns.values()))
        ]
        verdict = "yes" if all(law["agrees"] for law in laws) else "no"
        rows.append([name, *cells, verdict if laws else "too few points"])
    caption = (
        "Growth laws fitted from log t = 1e6 on: measured, and predicted in brackets. They agree "
        "if each prediction lies in its 95 % interval, widened by the correction that the theory "
        "leaves out."
    )
    more = f" Not in the columns: {'; '.join(others)}." if others else ""
    return Table(caption + more, ["map", *columns, "agree"], rows)


def _beside(measured: float, predicted: float) -> str:
    return f"{round(measured, 4):.5g} ({round(predicted, 4):.5g})"


def _sparse_to_dense(nets: list[Record], digits: list[Record], thresholds: list[float]) -> Section:
    pictures = []
    if nets:
        shown = _first_seed(nets)
        used = [f"{label(r.summary['map'])} {r.summary['neurons']:.1f}" for r in shown]
        pictures.append(
            Picture.of(
                "neurons",
                figures.neurons(shown),
                f"Neurons in use on the same points: {', '.join(used)}.",
                "A two-layer net on random labels, at the end of its flow. An arrow is a neuron, "
                "as long as its strength s. The neurons in use are (Σs)²/Σs².",
                raster=True,
            )
        )
    if digits:
        ordered = sorted(_first_seed(digits), key=lambda r: DIGIT_MAPS.index(r.summary["map"]))
        ends = [r.rows[-1]["weight_participation"] for r in ordered if r.rows]
        few, many = (label(r.summary["map"]) for r in (ordered[0], ordered[-1]))
        pictures += [
            Picture.of(
                "digit-measures",
                figures.digit_measures(digits),
                f"The participation ratio of the weights ends at {ends[0]:.2g} with {few} and at "
                f"{ends[-1]:.2g} with {many}; the test accuracies stay close.",
                "A 64-64-64-10 ReLU net on digits, full batch. The weights separate the more the "
                "lower the loss. The activations separate less.",
            ),
            Picture.of(
                "weights",
                figures.weights(ordered),
                f"First-layer weights: few pixels with {few}, all of them with {many}.",
                "First-layer weights of the 16 strongest units at the end of training, each scaled "
                "to its largest weight.",
                raster=True,
            ),
            Picture.of(
                "activations",
                figures.activation_pictures(ordered),
                "Active first-layer units: "
                + ", ".join(
                    f"{label(r.summary['map'])} {100 * np.mean(r.summary['active']):.0f} %"
                    for r in ordered
                )
                + ".",
                "Active units (columns, ordered by frequency) on 60 test digits (rows).",
                raster=True,
            ),
        ]
    tables = [_digit_table(digits, level) for level in thresholds] if digits else []
    if digits:
        tables.append(_trained(digits))
    return Section(
        "Claim 3. From sparse to dense features",
        (3,),
        [
            "The order of the horizon decides how the cost of a solution is spread. Below 2 few "
            "weights and neurons carry the net, above 2 many do.",
            "The maps run at different speeds. So they are compared at equal loss, not at equal "
            "epochs.",
        ],
        pictures,
        [table for table in tables if table.rows],
    )


def _trained(digits: list[Record]) -> Table:
    rows = []
    for record in sorted(digits, key=lambda r: DIGIT_MAPS.index(r.summary["map"])):
        s = record.summary
        numbers = [plain(s[key], 3) for key in ("margin", "epsilon", "delta", "gap")]
        loss = f"1e{s['log10_loss']:.1f}"
        rows.append([_named(record, digits), s["outcome"], loss, *numbers, str(s["support"])])
    caption = (
        "Certificates of the trained nets. Even at the lowest loss none is near a KKT point, where "
        "ε and the gap are both near 0. Training does not show the limit: that is claim 2."
    )
    return Table(caption, ["map", "outcome", "loss", "Q-margin", "ε", "δ", "gap", "support"], rows)


def _digit_table(found: list[Record], level: float) -> Table:
    keys = {
        "participation": "weight_participation",
        "w > 1e-2": "weights_above",
        "active": "active_share",
        "rank": "effective_rank_0",
        "alive 1": "alive_0",
        "alive 2": "alive_1",
        "moved": "cka_movement_0",
        "train acc.": "train_accuracy",
        "test acc.": "test_accuracy",
        "steps": "step",
    }
    rows = []
    for text in DIGIT_MAPS:
        chosen = [_at(record, level) for record in found if record.summary["map"] == text]
        kept: list[dict[str, Any]] = [row for row in chosen if row is not None]
        if kept:
            means = [sum(row[key] for row in kept) / len(kept) for key in keys.values()]
            digits = [4 if "acc" in name else 5 if name == "steps" else 3 for name in keys]
            cells = [plain(m, n) for m, n in zip(means, digits, strict=True)]
            rows.append([label(text), *cells])
    count = len({record.summary["seed"] for record in found})
    caption = (
        f"Digits at the first state with loss below 1e{level:g} (seeds: {count}): participation "
        "ratio (Σ|w|)²/(N Σw²) of all weights, share of weights above 1e-2 of the largest, share "
        "of active first-layer units a training point, effective rank of the first layer, share "
        "of units alive in both layers, movement 1 − CKA of the first layer's kernel."
    )
    return Table(caption, ["map", *keys], rows)


def _at(record: Record, level: float) -> dict[str, Any] | None:
    return next((row for row in record.rows if row["threshold"] <= level), None)

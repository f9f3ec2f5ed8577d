"""What the page says: one section a claim, its figures, its tables of certificates."""

from __future__ import annotations

import math
from typing import Any

from mirrorflow.claims import Record
from mirrorflow.claims.digits import LADDER as DIGIT_MAPS
from mirrorflow.claims.finding import map_label as label
from mirrorflow.claims.finding import plain
from mirrorflow.report import figures
from mirrorflow.report.image_section import on_images
from mirrorflow.report.margin_section import of_margins
from mirrorflow.report.p_descent_section import of_powers
from mirrorflow.report.parts import Picture, Section, Table
from mirrorflow.report.style import inline

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
    return Section(
        "1. Distinct maps, one max-margin solution",
        [
            "Two potentials that grow alike at infinity have one horizon function, and the theory "
            "says that the flow then solves one max-margin problem, whatever the maps do at finite "
            "size. Each pair below shares a horizon: hyperbolic entropy and logarithmic (ℓ1), "
            "quadratic and quadratic plus a p = 1.5 term (ℓ2), cosh and exponential (ℓ∞)."
        ],
        [
            Picture(
                "limits",
                inline(figures.limits(_first_seed(linear))),
                "Margins of six maps against log log t, each pair running into the exact value",
                "Left: margin over the exact max margin of the horizon. Right: what is still "
                "missing, down to the relative temperature of the integrator. The time axis is "
                "doubly logarithmic: 20 is t = 10^(10^20); the table is at t = exp(1e100).",
            )
        ],
        tables,
    )


def _slowness(found: list[Record]) -> Section:
    return Section(
        "2. How slow",
        [
            "One point x = (1, 2) with label +1 and a linear net started at zero: the flow is "
            "known in closed form, so that the integrator can be checked at any time, and the "
            "limit direction is known for every map.",
        ],
        [
            Picture(
                "slowness",
                inline(figures.slowness(found)),
                "Angle to the limit and decay exponent of the loss against log log t",
                "Lines: the flow. Left: degrees that are still missing to the limit direction, "
                "circles: the closed form. Maps without a scale (power, quadratic) are there at "
                "once; the others approach like a power of 1/log t, which is extremely slow in t; "
                "the floor near 1e-6 degrees is the relative temperature of the integrator. "
                "Right: the decay of the loss, circles: the law of the theory. The exponent tends "
                "to 1 for all maps but cosh (γ/(1+γ) = 3/4) and the double exponential (0: "
                "exponentially slow).",
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
        pictures.append(
            Picture(
                "neurons",
                inline(figures.neurons(_first_seed(nets)), raster=True),
                "Decision boundaries and neurons of a two-layer net for each map",
                "A two-layer net on random labels in the plane, at the end of its flow. Each line "
                "is the kink of a neuron, its strength the width; the effective number of neurons "
                "is (Σs)²/Σs².",
            )
        )
    if digits:
        ordered = sorted(_first_seed(digits), key=lambda r: DIGIT_MAPS.index(r.summary["map"]))
        pictures += [
            Picture(
                "digit-measures",
                inline(figures.digit_measures(digits)),
                "Measures of sparsity on digits as the loss falls",
                "Digits, 64-64-64-10 ReLU net, mirror descent with lr='auto', full batch. The "
                "weights separate the more the lower the loss; activations separate less.",
            ),
            Picture(
                "weights",
                inline(figures.weights(ordered), raster=True),
                "First-layer weights of the 16 strongest units for each map",
                "First-layer weights of the 16 strongest units, each scaled to its largest weight, "
                "at the end of training.",
            ),
            Picture(
                "activations",
                inline(figures.activation_pictures(ordered), raster=True),
                "Which first-layer units are active on 60 test digits for each map",
                "Active units (columns, ordered by frequency) on 60 test digits (rows).",
            ),
        ]
    tables = [_digit_table(digits, level) for level in thresholds] if digits else []
    if digits:
        tables.append(_trained(digits))
    return Section(
        "3. From sparse to dense features",
        [
            "The order of the horizon decides how the cost of a solution is spread: below 2 few "
            "weights and neurons carry the net, above 2 many do. Measured at equal loss, not at "
            "equal epochs, because the maps run at different speeds.",
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
        "Certificates of the trained nets. At loss 1e-100 none is near a KKT point of its "
        "max-margin problem, where ε and the gap are both near 0: the limit cannot be seen by "
        "training, which is the second finding."
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

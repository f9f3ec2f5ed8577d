"""docs/results.md: its tables and figures, from the tables in results/ alone; nothing is trained.

python tools/results_page.py                               # write the page and its figures
python tools/results_page.py --check                       # exit code 1 if the page differs
python tools/results_page.py --reproduction reproduce-out  # take findings into the tables first
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import margin_table
from mirrorflow.claims.finding import map_label
from mirrorflow.claims.pruning import METHODS, SHARES
from mirrorflow.claims.pruning import findings as pruning_findings
from mirrorflow.claims.statistics import interval
from mirrorflow.claims.vision import MEASURES, answer, ladder, levels, with_interval
from mirrorflow.errors import RunError
from mirrorflow.files import make_folder, write_text
from mirrorflow.runs.tables import read_rows, write_rows

__all__ = ["blocks", "rebuild", "render", "take_reproduction"]

_BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = dict[str, Any]


def rebuild(page: Path, results: Path) -> str:
    """The page with every table that stands between its marks made again from `results`.

    A table stands between `<!-- table: NAME -->` and `<!-- end -->`.

    Args:
        page: a Markdown file.
        results: folder of the Parquet tables.

    Returns:
        The new text; nothing is written.

    Raises:
        RunError: a mark whose table is not to be had.
    """
    made = blocks(results)

    def fill(found: re.Match[str]) -> str:
        name = found[2]
        if name not in made:
            raise RunError(
                f"{page} asks for the table {name!r}, which {results} does not give; it gives "
                f"{sorted(made)}"
            )
        return f"{found[1]}\n{made[name]}\n{found[3]}"

    return _BLOCK.sub(fill, page.read_text(encoding="utf-8"))


def render(page: Path, results: Path, figures: Path) -> list[Path]:
    """Write the page again, and its figures as SVG.

    Args:
        page: see `rebuild`.
        results: see `rebuild`.
        figures: folder, made if need be.

    Returns:
        What was written.

    Raises:
        RunError: see `rebuild`.
    """
    from mirrorflow.plot.output import save
    from results_figures import drawings

    text = rebuild(page, results)
    write_text(page, text)
    make_folder(figures)
    written = [page]
    for name, made in drawings(results).items():
        written.append(save(made, figures / f"{name}.svg"))
    return written


def blocks(results: Path) -> dict[str, str]:
    """Every Markdown table that the folder gives, by name."""
    made: dict[str, str] = {}
    makers: dict[str, Callable[[list[Row]], dict[str, str]]] = {
        "reproduce": _reproduce,
        "pruning": _pruning,
        "accuracy": _accuracy,
        "tune": _tune,
        "margins": _margins,
    }
    sparse: list[list[Row]] = []
    for path in sorted(results.glob("*.parquet")):
        rows = read_rows(path)
        kind = path.stem.partition("-")[0]
        if kind == "sparse":
            sparse.append(rows)
            made |= {f"{path.stem}-{k}": v for k, v in _sparse(rows).items()}
        elif kind in makers:
            made |= {
                (path.stem if not k else f"{path.stem}-{k}"): v
                for k, v in makers[kind](rows).items()
            }
    if sparse:
        made["sparse-summary"] = _summary(sparse)
    return made


def take_reproduction(folder: Path, results: Path) -> Path:
    """Write the findings of a finished `mirrorflow reproduce` as `results/reproduce.parquet`, those
    of another preset than quick and full as `results/reproduce-PRESET.parquet`; the margins of
    whose-margin as `results/margins.parquet` too.

    Raises:
        RunError: there is none in the folder.
    """
    try:
        found = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} holds no finished reproduction: {error}") from error
    about = {key: found["surroundings"][key] for key in ("mirrorflow", "torch", "git", "started")}
    rows = [{"preset": found["preset"], **about, **finding} for finding in found["findings"]]
    make_folder(results)
    preset = found["preset"]
    name = "reproduce" if preset in ("quick", "full") else f"reproduce-{preset}"
    write_rows(results / f"{name}.parquet", rows)
    margin_table.take(folder, results)
    return results / f"{name}.parquet"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sparse(rows: list[Row]) -> dict[str, str]:
    made = {f"{-level:g}": _at_level(rows, level) for level in levels(rows)}
    made["verdicts"] = _verdicts(rows)
    made["cost"] = _cost(rows)
    return made


def _summary(tables: Sequence[list[Row]]) -> str:
    """Participation of the weights in every table, a line for each loss."""
    lines = []
    maps = ladder(row for rows in tables for row in rows)
    for rows in sorted(tables, key=lambda found: (found[0]["data"], found[0]["net"], _size(found))):
        first = rows[0]
        for level in levels(rows):
            found = answer(rows, level, MEASURES[0])
            cells = [
                with_interval(found.values[text]) if text in found.values else "–" for text in maps
            ]
            told = "–" if math.isnan(found.p) else f"{found.verdict} ({found.order})"
            about = f"{first['data']}, {first['net']}, {_size(rows):,} points"
            lines.append([about, f"1e{level:g}", *cells, told])
    header = ["set, net", "loss", *(map_label(text) for text in maps), "rises"]
    return markdown(header, lines)


def _size(rows: Sequence[Row]) -> int:
    # A row with minibatches may have measured on some points only; the last one has them all.
    return max(int(row["points"]) for row in rows)


def _at_level(rows: list[Row], level: float) -> str:
    found = {measure: answer(rows, level, measure) for measure in MEASURES}
    lines = []
    for text in ladder(rows):
        kept = [r for r in rows if r["mirror_map"] == text and r["threshold"] == level]
        if not kept:
            continue
        told = [
            with_interval([measure.of(r) for r in kept]) if kept else "–" for measure in MEASURES
        ]
        tested = f"{sum(r['test_accuracy'] for r in kept) / len(kept):.3f}"
        step = f"{sum(r['step'] for r in kept) / len(kept):.0f}"
        loss = f"1e{sum(r['log10_loss'] for r in kept) / len(kept):.1f}"
        lines.append([map_label(text), str(len(kept)), loss, *told, tested, step])
    lines.append(["*order*", "", "", *(a.order for a in found.values()), "", ""])
    header = ["map", "seeds", "loss", *(m.short for m in MEASURES), "test acc.", "steps"]
    return markdown(header, lines)


def _verdicts(rows: list[Row]) -> str:
    every = levels(rows)
    lines = []
    for measure in MEASURES:
        cells = []
        for level in every:
            found = answer(rows, level, measure)
            maps = f" ({len(found.values)} maps)" if found.missing else ""
            cells.append(f"{found.verdict}{maps}")
        lines.append([measure.name, "rises" if measure.rises else "falls", *cells])
    return markdown(["measure", "predicted", *(f"at 1e{level:g}" for level in every)], lines)


def _cost(rows: list[Row]) -> str:
    lines = []
    for text in ladder(rows):
        last = [r for r in rows if r["mirror_map"] == text and r["last"]]
        if last:
            outcomes = [r["outcome"] for r in last]
            told = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
            deepest = ", ".join(f"1e{r['log10_loss']:.1f}" for r in last)
            seconds = sum(float(r["seconds"]) for r in last)
            share = sum(float(r["evaluation_seconds"]) for r in last) / seconds
            time = f"{seconds / len(last):.0f} s"
            lines.append([map_label(text), told, deepest, time, f"{share:.0%}"])
    header = ["map", "outcome", "loss at the end", "time a run", "of it evaluation"]
    return markdown(header, lines)


def _pruning(rows: list[Row]) -> dict[str, str]:
    lines = []
    for method in METHODS:
        mine = [r for r in rows if r["method"] == method]
        if not mine:
            continue
        cells = []
        for share in SHARES:
            mean, half = interval([100 * r["accuracy"] for r in mine if r["share"] == share])
            cells.append(f"{mean:.2f} ± {half:.2f}")
        lines.append([method, f"{mine[0]['lr']:g}", *cells])
    header = ["optimizer", "lr", "dense", *(f"{share:.0%}" for share in SHARES[1:])]
    tuned = [
        [method, next((r["tuning"] for r in rows if r["method"] == method), "–")]
        for method in METHODS
    ]
    verdicts = [
        [f.question.partition(", ")[2], f.measured, f.verdict] for f in pruning_findings(rows)
    ]
    return {
        "": markdown(header, lines),
        "tuning": markdown(["optimizer", "held-out accuracy by learning rate"], tuned),
        "verdicts": markdown(["question", "difference", "verdict"], verdicts),
    }


def _reproduce(rows: list[Row]) -> dict[str, str]:
    made = {}
    for claim in (0, 1, 2, 3):
        lines = [
            [r["question"], r["prediction"], r["measured"], r["verdict"]]
            for r in rows
            if r["claim"] == claim
        ]
        if lines:
            made[str(claim)] = markdown(["question", "prediction", "measured", "agrees"], lines)
    return made


def _accuracy(rows: list[Row]) -> dict[str, str]:
    lines = [
        [
            r["label"],
            f"{100 * r['test_accuracy']:.2f} %",
            f"{100 * r['train_accuracy']:.2f} % of {r['points']}",
            str(r["epochs"]),
            f"{r['seconds']:.0f} s",
        ]
        for r in rows
        if r["last"] and r["outcome"] == "steps"
    ]
    return {"": markdown(["run", "test acc.", "training acc.", "epochs", "wall time"], lines)}


def _margins(rows: list[Row]) -> dict[str, str]:
    sets = dict.fromkeys(row["data"] for row in rows)
    return {data: markdown(*margin_table.lines(rows, data)) for data in sets}


def _tune(rows: list[Row]) -> dict[str, str]:
    """The front from the most accurate on, and below it the best trial of every family off it."""
    kept = [r for r in rows if r["reached"]]
    by_accuracy = sorted(kept, key=lambda r: (-r["test_accuracy"], -r["sparsity"]))
    front = [r for r in by_accuracy if r["front"]]
    rest: dict[str, Row] = {}
    for row in by_accuracy:
        if row["family"] not in {r["family"] for r in front}:
            rest.setdefault(row["family"], row)
    lines = [
        [
            r["mirror_map"],
            "yes" if r["front"] else "no",
            f"{r['test_accuracy']:.4f}",
            f"{r['sparsity']:.3f}",
            f"{r['speed']:.1f}",
        ]
        for r in (*front, *rest.values())
    ]
    header = ["map", "on the front", "test acc.", "sparsity", "decades in 1000 steps"]
    return {"": markdown(header, lines)}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--tables", type=Path, default=Path("results"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"))
    parser.add_argument("--reproduction", type=Path, help="folder of mirrorflow reproduce")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.reproduction is not None:
        take_reproduction(given.reproduction, given.tables)
    for path in (given.page, given.tables):
        if not path.exists():
            raise SystemExit(f"{path} does not exist; run this in the root of a checkout")
    if given.check:
        same = rebuild(given.page, given.tables) == given.page.read_text(encoding="utf-8")
        print(f"{given.page} {'is' if same else 'is not'} what {given.tables} gives")
        return 0 if same else 1
    for path in render(given.page, given.tables, given.figures):
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""docs/results.md is what results/ gives, and its verdicts follow from rows alone."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mirrorflow.claims.digits import LADDER
from mirrorflow.claims.vision import MEASURES, answer, findings, ladder, levels
from mirrorflow.cli.app import app
from mirrorflow.errors import RunError
from mirrorflow.report.results import blocks, rebuild, render, take_reproduction
from mirrorflow.runs import RunConfig
from mirrorflow.runs.finish import Finish
from mirrorflow.runs.tables import write_rows
from mirrorflow.sweeps import read_plan

ROOT = Path(__file__).parents[2]
PAGE, TABLES = ROOT / "docs" / "results.md", ROOT / "results"


def test_the_page_is_what_the_tables_give() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert rebuild(PAGE, TABLES) == text
    marks = re.findall(r"<!-- table: ([\w-]+) -->", text)
    assert len(marks) == len(set(marks)) == text.count("<!-- end -->")
    assert set(marks) == set(blocks(TABLES)), "a table that the page does not show, or the reverse"


def test_the_figures_and_tables_are_there_and_small() -> None:
    shown = re.findall(r"\]\((figures/[\w-]+\.svg)\)", PAGE.read_text(encoding="utf-8"))
    assert shown
    for name in shown:
        assert (ROOT / "docs" / name).stat().st_size < 150_000
    assert {f"figures/{p.name}" for p in (ROOT / "docs" / "figures").glob("*.svg")} == set(shown)
    assert all(p.stat().st_size < 200_000 for p in TABLES.glob("*.parquet"))


def test_every_sweep_that_the_page_names_can_be_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = set(re.findall(r"(examples/results/[\w-]+\.toml)", text))
    assert files
    assert {ROOT / name for name in files} == set((ROOT / "examples" / "results").glob("*.toml"))
    for name in files:
        for member in read_plan(ROOT / name):
            config = RunConfig.from_dict(member.settings)
            if config.finish_options:
                Finish.of(config)
        found = CliRunner().invoke(app, ["sweep", str(ROOT / name), "--dry-run", "--json"])
        assert found.exit_code == 0
        assert json.loads(found.stdout)


def rows(values: list[float], *, level: float = -2.0, seeds: int = 3, **more: Any) -> list[Any]:
    made = []
    for text, value in zip(LADDER, values, strict=False):
        for seed in range(seeds):
            row = {
                "data": "mnist",
                "net": "mlp",
                "points": 5000,
                "mirror_map": text,
                "seed": seed,
                "threshold": level,
                "last": False,
                "outcome": "reached",
                "seconds": 1.0,
                "evaluation_seconds": 0.25,
                "step": 10,
                "log10_loss": level,
                "train_accuracy": 1.0,
                "test_accuracy": 0.9,
                "weight_participation": value + 1e-3 * seed,
                "weights_above": value,
                "weights_above_1e-3": value,
                "zero_activations_0": 1 - value,
                "zero_activations_1": 1 - value,
                "alive_0": value,
                "effective_rank_0": value,
            }
            made.append(row | more)
    return made


def verdict(made: list[Any], which: int = 0) -> str:
    return answer(made, -2.0, MEASURES[which]).verdict


def test_the_verdict_follows_the_rule() -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert {verdict(rows(rising), k) for k in range(len(MEASURES))} == {"yes"}
    assert {verdict(rows(rising[::-1]), k) for k in range(len(MEASURES))} == {"no"}
    # Significant, but not monotone.
    bent = answer(rows([0.1, 0.2, 0.3, 0.5, 0.4]), -2.0, MEASURES[0])
    assert (bent.verdict, bent.monotone) == ("no", False)
    assert bent.p < 1e-3
    # Monotone, but two maps of one seed have changed places too often for significance.
    assert (
        verdict(rows(rising, train_accuracy=1.0)[:-3] + rows(rising, train_accuracy=0.9)[-3:])
        == "no"
    )
    assert verdict(rows(rising, seeds=1)) == "not yet reached"
    assert verdict(rows(rising[:2])) == "not yet reached"
    # The smallest p of three maps and three seeds is 1/6³, of four maps 1/24³.
    three = answer(rows(rising[:3]), -2.0, MEASURES[0])
    assert (three.verdict, three.monotone) == ("not yet reached", True)
    assert three.p == pytest.approx(1 / 6**3)
    assert verdict(rows(rising[:4])) == "yes"


def test_a_map_that_did_not_get_there_is_named() -> None:
    made = [
        r for r in rows([0.1, 0.2, 0.3, 0.4, 0.5]) if (r["mirror_map"], r["seed"]) != (LADDER[4], 1)
    ]
    found = answer(made, -2.0, MEASURES[0])
    assert found.missing == (LADDER[4],)
    assert found.verdict == "yes"
    told = findings("MNIST", made, [-2.0])[0]
    assert "not reached: power 4" in told.measured
    assert levels(made) == [-2.0]


def test_maps_stand_in_the_order_of_their_horizons() -> None:
    """Whatever the table's order: a map between two others counts as such in trend and tables."""
    made = rows([0.1, 0.2, 0.3, 0.5, 0.6]) + [
        {**row, "mirror_map": "power(p=2.5)", "weight_participation": 0.4} for row in rows([0.0])
    ]
    made = made[::-1]
    assert ladder(made) == [*LADDER[:3], "power(p=2.5)", *LADDER[3:]]
    found = answer(made, -2.0, MEASURES[0])
    assert list(found.values) == ladder(made)
    assert (found.verdict, found.monotone) == ("yes", True)
    told = findings("MNIST", made, [-2.0])[0]
    assert told.prediction == "rises from hyperbolic entropy β=0.01 (ℓ1) to power 4 (ℓ4)"


def test_a_table_is_filled_in_between_its_marks(tmp_path: Path) -> None:
    tables = tmp_path / "results"
    tables.mkdir()
    made = rows([0.1, 0.2, 0.3, 0.4, 0.5])
    last = [{**row, "threshold": math.nan, "last": True} for row in made]
    write_rows(tables / "sparse-x.parquet", made + last)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: sparse-x-2 -->\nold\n<!-- end -->\nb\n")
    new = rebuild(page, tables)
    assert "old" not in new
    assert new.startswith("a\n")
    assert new.endswith("b\n")
    assert "| power 4 | 3 | 1e-2.0 | 0.5010 ± 0.0025 |" in new
    written = render(page, tables, tmp_path / "figures")
    assert [p.name for p in written] == ["page.md", "sparse-x.svg"]
    first = written[1].read_bytes()
    render(page, tables, tmp_path / "figures")
    assert written[1].read_bytes() == first
    assert rebuild(page, tables) == page.read_text()
    page.write_text("<!-- table: nothing -->\n<!-- end -->\n")
    with pytest.raises(RunError, match="asks for the table 'nothing'"):
        rebuild(page, tables)


def test_the_command_checks_and_says_what_is_missing(tmp_path: Path) -> None:
    options = ["--page", str(PAGE), "--tables", str(TABLES), "--check"]
    assert CliRunner().invoke(app, ["results", *options]).exit_code == 0
    stale = tmp_path / "page.md"
    stale.write_text(PAGE.read_text(encoding="utf-8").replace("| yes |", "| no |", 1))
    options[1] = str(stale)
    assert CliRunner().invoke(app, ["results", *options]).exit_code == 1
    missing = CliRunner().invoke(app, ["results", "--page", str(tmp_path / "none.md")])
    assert isinstance(missing.exception, RunError)


def test_a_reproduction_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished reproduction"):
        take_reproduction(tmp_path, tmp_path / "results")

"""The catalog, the command that prints it, its figure, and the example of an own map."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from mirrorflow import maps
from mirrorflow.cli.maps import maps as command

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = maps.catalog()

app = typer.Typer()
app.command()(command)


def run(*args: str, columns: int = 170) -> str:
    result = CliRunner().invoke(app, args, catch_exceptions=False, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return str(result.stdout)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.text)
def test_every_row_is_true_of_its_example(entry: maps.Entry) -> None:
    own = maps.describe(entry.example)
    assert own.text == repr(entry.example)
    assert maps.parse_map(own.text) == entry.example
    values = {"p": "3", "max(2, p)": "4", "of map": "3"}
    assert values.get(entry.index, entry.index) == own.index
    norms = {"ℓp": "ℓ3", "ℓmax(2,p)": "ℓ4", "Schatten": "Schatten-3", "of map": "ℓ3"}
    assert norms.get(entry.horizon, entry.horizon) == own.horizon


def test_every_name_of_the_parser_is_in_the_table() -> None:
    assert {entry.text.partition("(")[0] for entry in ENTRIES} == set(maps.parse.MAPS)


def test_the_command_prints_every_map() -> None:
    short, long = run(columns=80), run("--long", columns=80)
    for entry in ENTRIES:
        for text in (short, long):
            assert entry.text in text
            assert all(word in text for word in entry.purpose.split())
        assert entry.dual in long
        assert entry.inverse in long
    assert max(map(len, (short + long).splitlines())) <= 80
    rows = json.loads(run("--json"))
    assert [row["map"] for row in rows] == [entry.text for entry in ENTRIES]
    assert rows[0] == {
        "map": "quadratic",
        "dual": "x",
        "inverse": "u",
        "index": "2",
        "horizon": "ℓ2",
        "homogeneous": True,
        "separable": True,
        "purpose": "gradient flow, the baseline",
    }


def test_the_command_shows_chosen_maps() -> None:
    rows = json.loads(run("--json", "power(1.2)", "spectral(cosh(0.5))"))
    assert [(row["map"], row["index"], row["horizon"]) for row in rows] == [
        ("Power(p=1.2)", "1.2", "ℓ1.2"),
        ("Spectral(map=Cosh(scale=0.5))", "∞", "Schatten-∞"),
    ]
    assert "power(p)" in run("power")  # a kind by its name, though it needs a parameter
    with pytest.raises(ValueError, match="'foo' is not a mirror map"):
        run("foo")
    with pytest.raises(ValueError, match="did you mean 'power'"):
        run("powr")


def test_the_figure(tmp_path: Path) -> None:
    target = tmp_path / "maps.svg"
    run(
        "hyperbolic_entropy", "power(3)", "spectral(cosh)", "simplex_entropy", "--plot", str(target)
    )
    assert target.read_text().count("<path") > 80
    with pytest.raises(ValueError, match="plot = .* has no known format"):
        run("--plot", str(tmp_path / "maps.txt"))


def test_the_balls_of_the_figure_shrink_to_the_limit() -> None:
    from mirrorflow.plot import map_figure

    made = map_figure([maps.HyperbolicEntropy(), maps.Power(3)])
    balls = [ax for ax in made.axes if "HyperbolicEntropy" in ax.get_title()]
    assert len(balls) == 1
    radii = [float(abs(line.get_xdata()[20])) for line in balls[0].lines]
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] == pytest.approx(0.5)
    assert radii[0] == pytest.approx(0.5**0.5, rel=1e-2)
    with pytest.raises(ValueError, match="mirror_maps is empty"):
        map_figure([])


def test_the_example_of_an_own_map(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_map.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert out.startswith("index 1.5 +- ")
    assert "horizon LpHorizon(p=1.5)" in out
    own = runpy.run_path(str(ROOT / "examples" / "own_map.py"))
    root, short = own["Root"](), own["short"]
    x, y = 3 * torch.randn(200), 3 * torch.randn(200)
    for name, args in {
        "to_dual": (x,),
        "to_primal": (x,),
        "hessian": (x,),
        "potential_entries": (x,),
        "bregman_entries": (x, y),
        "step": (x, y),
    }.items():
        torch.testing.assert_close(
            getattr(root, name)(*args), getattr(short, name)(*args), rtol=1e-11, atol=1e-14
        )
    assert maps.estimate_horizon(root).horizon == root.horizon()
    with pytest.raises(ValueError, match="is of no kind in the catalog"):
        maps.describe(short)

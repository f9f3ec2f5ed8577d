"""Pruning: what is cut, what is kept, and how the comparison is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mirrorflow.claims import pruning
from mirrorflow.claims.pruning import METHODS, SHARES, findings, prune_global, train_pruned
from mirrorflow.claims.statistics import welch_p
from mirrorflow.cli.app import app
from mirrorflow.nets import MLP
from mirrorflow.report import results
from mirrorflow.runs.tables import read_rows


def net(seed: int = 0) -> MLP:
    return MLP((5, 7, 3), generator=torch.Generator().manual_seed(seed))


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


@given(share=st.floats(0, 1), seed=st.integers(0, 20))
def test_the_largest_weights_stay_as_they_are(share: float, seed: int) -> None:
    before = net(seed)
    copy = flat(before).clone()
    after = flat(prune_global(before, share))
    assert torch.equal(flat(before), copy), "the net itself was changed"
    cut = int(share * len(copy))
    assert int((after == 0).sum()) == cut
    assert torch.equal(after[after != 0], copy[after != 0])
    if 0 < cut < len(copy):
        assert copy[after == 0].abs().max() <= copy[after != 0].abs().min()


def test_one_ranking_over_all_tensors() -> None:
    small = net()
    with torch.no_grad():
        small.weights[0].mul_(1e-3)
    pruned = prune_global(small, 35 / 56)
    first, last = pruned.parameters()
    assert int((first != 0).sum()) == 0
    assert int((last != 0).sum()) == 21


def test_ties_are_cut_by_position() -> None:
    even = net()
    with torch.no_grad():
        for p in even.parameters():
            p.fill_(1.0)
    assert flat(prune_global(even, 0.5)).tolist() == [0.0] * 28 + [1.0] * 28


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="share = "):
        prune_global(net(), share)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_learns_and_is_measured_at_every_share(tmp_path: Path, method: str) -> None:
    lr = METHODS[method].rates[2]
    record = train_pruned(
        tmp_path,
        data="digits",
        method=method,
        lr=lr,
        seed=0,
        epochs=20,
        hidden=[32],
        n=0,
        validate=False,
    )
    accuracy = record.summary["accuracy"]
    assert list(accuracy) == [str(share) for share in SHARES]
    assert accuracy["0.0"] > 0.7
    assert accuracy["0.98"] < accuracy["0.0"]


def rows(mirror: list[float], plain: list[float]) -> list[dict[str, Any]]:
    made = []
    for method, values in (("MirrorAdamW", mirror), ("AdamW", plain)):
        for seed, value in enumerate(values):
            for share in SHARES:
                made.append(
                    {
                        "data": "x",
                        "method": method,
                        "seed": seed,
                        "share": share,
                        "accuracy": value,
                    }
                )
    return made


@pytest.mark.parametrize(
    ("mirror", "plain", "verdict"),
    [
        ([0.9, 0.91, 0.92], [0.7, 0.71, 0.72], "yes"),
        ([0.7, 0.71, 0.72], [0.9, 0.91, 0.92], "no"),
        ([0.7, 0.9, 0.8], [0.69, 0.89, 0.79], "no"),
        ([0.9], [0.7], "not yet reached"),
    ],
)
def test_the_verdict_follows_the_interval(
    mirror: list[float], plain: list[float], verdict: str
) -> None:
    found = [f for f in findings(rows(mirror, plain)) if "MirrorAdamW" in f.question]
    assert [f.verdict for f in found] == [verdict] * 4


def test_the_comparison_tunes_on_held_out_points_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "AdamW": replace(METHODS["AdamW"], rates=(1e-6, 1e-2)),
        "MirrorAdamW": replace(METHODS["MirrorAdamW"], rates=(1e-6, 0.1)),
    }
    for module in (pruning, results):
        monkeypatch.setattr(module, "METHODS", kept)
    options = [
        "compare-pruning",
        "--data",
        "digits",
        "--epochs",
        "6",
        "--hidden",
        "16",
        "--seeds",
        "2",
    ]
    options += ["--workers", "1", "--out", str(tmp_path / "out"), "--json"]
    first = CliRunner().invoke(app, options)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert len(found) == len(SHARES) - 1
    made = read_rows(tmp_path / "out" / "pruning.parquet")
    assert len(made) == 2 * 2 * len(SHARES)
    for row in made:
        held = dict(pair.split(": ") for pair in row["tuning"].split(", "))
        first = {"AdamW": 0.01, "MirrorAdamW": 0.1}[row["method"]]
        tried = [1e-6, first, *(first * factor for factor in (0.5, 0.7, 1.4, 2))]
        assert set(held) == {f"{lr:g}" for lr in tried}
        assert float(held[f"{row['lr']:g}"]) == max(map(float, held.values()))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "records").iterdir()}
    assert len(before) == 2 * (2 + 4 + 2)
    again = CliRunner().invoke(app, options)
    assert json.loads(again.stdout) == found
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "records").iterdir()} == before


def test_an_unknown_data_set_leaves_no_folder(tmp_path: Path) -> None:
    options = ["compare-pruning", "--data", "minst", "--out", str(tmp_path / "out")]
    assert "minst" in str(CliRunner().invoke(app, options).exception)
    assert not (tmp_path / "out").exists()


def test_widths_are_numbers(tmp_path: Path) -> None:
    options = ["compare-pruning", "--hidden", "a,b", "--out", str(tmp_path)]
    assert isinstance(CliRunner().invoke(app, options).exception, ValueError)


def test_the_verdicts_are_corrected_for_their_number() -> None:
    """Alone the difference has p = 0.02; as one of eight it says nothing."""
    made = rows([0.80, 0.82, 0.84, 0.83], [0.78, 0.79, 0.80, 0.785])
    found = [f for f in findings(made) if "MirrorAdamW" in f.question]
    p = welch_p([0.80, 0.82, 0.84, 0.83], [0.78, 0.79, 0.80, 0.785])
    assert 0.0125 < p < 0.05
    tests = int(found[0].rule.split(" for ")[1].split()[0])
    assert tests >= 4
    assert [f.verdict for f in found] == ["no"] * 4
    assert all(f"p = {min(tests * p, 1):.2g}" in f.measured for f in found)

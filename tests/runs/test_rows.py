"""What every row of the metrics has, and when it has a certificate."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from mirrorflow.diagnostics import certify
from mirrorflow.files import write_atomic
from mirrorflow.losses import pairwise_margins
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.runs.measure import Meter

CONFIG = RunConfig(
    data="teacher",
    data_options={"n": 60, "d": 4, "n_test": 20},
    net="mlp",
    net_options={"hidden": [12, 8]},
    mirror_map="hyperbolic_entropy(beta=0.1)",
    loss="logistic",
    steps=2000,
    until=(-2.0,),
)
DOCS = Path(__file__).parents[2] / "docs" / "runs.md"


@pytest.mark.parametrize(("net", "options"), [("mlp", {"hidden": [6, 5]}), ("linear", {})])
def test_every_row_has_every_column_of_the_page(
    tmp_path: Path, net: str, options: dict[str, object]
) -> None:
    table = DOCS.read_text().split("## What a row has")[1].split("\n\n")[1]
    columns = {
        name
        for line in table.splitlines()[2:]
        for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    layers = len(options.get("hidden", [])) if options else 0
    wanted = {name for name in columns if not name.endswith("_l")}
    for name in (name[:-2] for name in columns if name.endswith("_l")):
        count = layers + 1 if name in ("hoyer", "above") else layers
        wanted |= {f"{name}_{i}" for i in range(count)}
    if not layers:
        wanted -= {"active_share"}
    config = dataclasses.replace(CONFIG, net=net, net_options=options, steps=10, until=())
    rows = train(config, tmp_path / "run").rows
    assert len(rows) > 5
    for row in rows:
        assert set(row) == wanted
    for row in rows:
        assert row["norm_growth"] == row["log_gauge"] - rows[0]["log_gauge"]


def test_certificates_are_made_when_training_has_paid_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = 3_000
    monkeypatch.setattr(Meter, "certificate_cost", lambda self, margins: fixed * margins)
    run = train(dataclasses.replace(CONFIG, certify_margins=10), tmp_path / "run")
    meter = Meter(run.net, run.data, run.mirror_map, "logistic")
    rows = RunFolder(tmp_path / "run").metrics()
    spent = 0
    reasons = []
    for row in rows:
        reasons.append(row["certificate"])
        trained = 3 * meter.forward * row["step"] * 60
        share = 0.08 if row["step"] == rows[-1]["step"] else 0.04
        affordable = spent + 10 * fixed <= share * trained
        if row["min_margin"] <= 0:
            assert row["certificate"] == "not separated"
        elif affordable:
            assert row["certificate"] == "closest"
            spent += 10 * fixed
        else:
            assert row["certificate"] == "not paid for"
        assert math.isnan(row["epsilon"]) == (row["certificate"] != "closest")
        assert (row["certified"] > 0) == (row["certificate"] == "closest")
    assert set(reasons) == {"not separated", "not paid for", "closest"}
    last = rows[-1]
    q = pairwise_margins(run.net(run.data.x).detach(), run.data.y).amin(1)
    at = q.topk(10, largest=False).indices
    found = certify(run.net, run.data.x[at], run.data.y[at], run.mirror_map, max_margins=10)
    assert last["certificate"] == "closest"
    assert (last["epsilon"], last["delta"]) == pytest.approx((found.epsilon, found.delta), rel=1e-3)
    whole = certify(run.net, run.data.x, run.data.y, run.mirror_map)
    assert whole.epsilon <= last["epsilon"] + 1e-9


def test_no_certificate_unless_asked_for(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, certify_margins=0, steps=30, until=())
    assert {r["certificate"] for r in train(config, tmp_path / "run").rows} == {"not asked for"}


def test_a_checkpoint_of_a_run_with_certificates_goes_on(tmp_path: Path) -> None:
    """What was paid for is part of the state."""
    train(CONFIG, tmp_path / "run")
    saved = RunFolder(tmp_path / "run").load_checkpoint()
    assert saved is not None
    assert saved["state"]["certified"] >= 0
    del saved["state"]["certified"]  # a run of an earlier version
    path = tmp_path / "run" / "checkpoint.pt"
    write_atomic(path, lambda file: torch.save(saved, file), seal=True)
    assert load_run(tmp_path / "run").outcome == "reached"
    assert train(CONFIG, tmp_path / "run").outcome == "reached"


def test_a_threshold_above_loss_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"until = \(2\.0,\): thresholds .* above 0"):
        RunConfig(until=(2.0,))
    assert RunConfig(until=(0.0, -1.0)).until == (0.0, -1.0)

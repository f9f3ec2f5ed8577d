"""Runs on images: every net and optimizer, minibatches, rows that are paid for, resumed bit for
bit."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mirrorflow.cli.app import app
from mirrorflow.data import Dataset, Images, find, locate
from mirrorflow.diagnostics import certify, features, margin
from mirrorflow.losses import log_loss
from mirrorflow.maps import Power, Quadratic
from mirrorflow.nets import CNN, VGG, ResidualNet, TwoLayer
from mirrorflow.optim import MirrorAdamW
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.runs.build import build_optimizer, schedule
from mirrorflow.runs.measure import Meter


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Three classes of blurred 8×8 patterns with noise, in colour."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(3, 2, 8, 8)).cumsum(2).cumsum(3) / 4
    y, y_test = np.arange(120) % 3, np.arange(60) % 3
    np.savez(
        tmp_path / "images.npz",
        x=patterns[y] + 0.3 * rng.normal(size=(120, 2, 8, 8)),
        y=y,
        x_test=patterns[y_test] + 0.3 * rng.normal(size=(60, 2, 8, 8)),
        y_test=y_test,
    )
    return str(tmp_path / "images.npz")


def base(images: str, **changes: object) -> RunConfig:
    config = RunConfig(
        data=images,
        net="cnn",
        net_options={"channels": [4], "hidden": [8]},
        batch_size=16,
        epochs=4,
        until=(),
        measure_points=30,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, CNN),
        ({"net": "vgg", "net_options": {"depth": 11, "width": 1 / 16}}, VGG),
        ({"net": "residual", "net_options": {"channels": [4, 8]}}, ResidualNet),
        ({"mirror_map": "hyperbolic_entropy(beta=0.01)"}, CNN),
        ({"optimizer": "mirror_adamw", "lr": 1e-3, "mirror_map": "power(p=1.5)"}, CNN),
        ({"optimizer": "sgd", "lr": 0.05, "optimizer_options": {"momentum": 0.9}}, CNN),
        ({"optimizer": "adamw", "lr": 3e-3, "schedule": "cosine"}, CNN),
    ],
    ids=lambda v: v.__name__ if isinstance(v, type) else " ".join(map(str, v.values()))[:30],
)
def test_every_net_and_optimizer_learns(
    tmp_path: Path, images: str, changes: dict[str, object], kind: type
) -> None:
    run = train(base(images, epochs=14, **changes), tmp_path / "run")
    assert type(run.net) is kind
    assert run.outcome == "steps"
    first, last = run.rows[0], run.rows[-1]
    assert last["step"] == 14 * (120 // 16)
    assert (last["test_points"], last["feature_points"]) == (60, 30)
    assert last["log10_loss"] < first["log10_loss"] - 0.3
    assert last["test_accuracy"] > 0.8
    hidden = len(run.net.junctions)
    assert {f"alive_{hidden - 1}", f"hoyer_{hidden}"} <= set(last)


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": "crop_flip", "mirror_map": "power(p=3)"},
        {"optimizer": "mirror_adamw", "lr": 1e-3, "schedule": "linear"},
        {"optimizer": "sgd", "lr": 0.05, "optimizer_options": {"momentum": 0.9}},
        {"optimizer": "adamw", "lr": 1e-3, "schedule": "cosine", "augment": "crop_flip"},
    ],
    ids=["augmented", "mirror_adamw", "sgd", "adamw"],
)
def test_interrupted_it_ends_bit_for_bit(
    tmp_path: Path, images: str, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = base(images, **changes)
    train(config, tmp_path / "whole")
    original = torch.optim.Optimizer.zero_grad
    for stop in (1, 9, 17):
        calls = 0

        def breaking(self: object, *args: object, stop: int = stop, **kwargs: object) -> None:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            original(self, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", breaking)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "cut", checkpoint_seconds=0.0)
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", original)
    train(config, tmp_path / "cut")
    one, other = load_run(tmp_path / "whole"), load_run(tmp_path / "cut")
    assert one.rows[-1]["step"] == 28
    for p, q in zip(one.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(p, q)
    assert json.dumps(one.rows) == json.dumps(other.rows)


def test_rows_are_paid_for_by_training_and_say_what_they_saw(tmp_path: Path, images: str) -> None:
    run = train(base(images, epochs=80, measure_points=10), tmp_path / "run")
    meter = Meter(run.net, run.data, Quadratic(), "cross_entropy", 10)
    row_cost = meter.cost(10, 10)
    # Written out: 2·4·9 weights at 64 positions, 64·8 and 8·3 at one.
    assert meter.forward == 2 * 4 * 9 * 64 + 64 * 8 + 8 * 3
    rows = run.rows[:-1]
    assert 3 <= len(rows) < 20
    assert (run.rows[-1]["points"], run.rows[-1]["test_points"]) == (120, 60)
    for count, row in enumerate(rows[1:], start=2):
        assert (row["points"], row["test_points"]) == (10, 10)
        assert count * row_cost <= 0.06 * 3 * meter.forward * row["step"] * 16
    manifest = RunFolder(tmp_path / "run").manifest()
    assert 0 < manifest["evaluation_seconds"] < manifest["seconds"]


def test_a_threshold_counts_on_the_whole_training_set(tmp_path: Path, images: str) -> None:
    config = base(images, epochs=150, until=(-2.0,), measure_points=10)
    run = train(config, tmp_path / "run")
    assert run.outcome == "reached"
    crossed = [row for row in run.rows if not math.isnan(row["threshold"])]
    assert [(row["threshold"], row["points"]) for row in crossed] == [(-2.0, 120)]
    assert crossed[0] == run.rows[-1]
    assert crossed[0]["step"] < 150 * 7
    with torch.no_grad():
        exact = log_loss(run.net(run.data.x).double(), run.data.y) / math.log(10)
    assert run.rows[-1]["log10_loss"] == pytest.approx(float(exact), rel=1e-6)
    assert run.rows[-1]["log10_loss"] <= -2


def test_a_certificate_where_it_was_asked_for(tmp_path: Path, images: str) -> None:
    run = train(base(images, epochs=60, certify_points=20), tmp_path / "run")
    *rows, last = RunFolder(tmp_path / "run").metrics()
    assert all(math.isnan(row["epsilon"]) for row in rows)
    at = torch.arange(20) * 6
    found = certify(run.net, run.data.x[at], run.data.y[at], Quadratic())
    assert (last["epsilon"], last["delta"]) == pytest.approx((found.epsilon, found.delta), rel=1e-3)
    assert 0 < last["epsilon"] < 1
    assert last["delta"] >= 0


def test_the_last_row_is_whole_only_if_paid_for(tmp_path: Path, images: str) -> None:
    short = train(base(images, epochs=1), tmp_path / "short")
    assert (short.rows[-1]["points"], short.rows[-1]["test_points"]) == (30, 60)


@pytest.mark.parametrize("mirror_map", [Quadratic(), Power(3)], ids=repr)
def test_a_row_is_what_the_diagnostics_say(mirror_map: Power | Quadratic) -> None:
    g = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (50, 1, 6, 6), generator=g, dtype=torch.uint8)
    x, y = Images(raw, (0.5,), (0.25,), torch.float64), torch.arange(50) % 2 * 2 - 1
    data = Dataset("noise", x, y, x.to(torch.float64), y, None)
    net = CNN((1, 6, 6), (3, 4), (5,), generator=g)
    meter = Meter(net, data, mirror_map, "logistic")
    meter.batch = 7
    row = meter(net)
    found = margin(net, x.dense(), y, mirror_map)
    assert row["q_margin"] == pytest.approx(found.margin, rel=1e-9)
    assert row["smoothed_margin"] == pytest.approx(found.smoothed, rel=1e-9)
    assert row["min_margin"] == pytest.approx(found.q_min, rel=1e-9)
    assert row["log_gauge"] == pytest.approx(found.log_gauge, rel=1e-12)
    assert row["train_errors"] == found.misclassified
    hidden = features(net, x.dense()).hidden["weights.1"]
    assert row["effective_rank_1"] == pytest.approx(hidden.effective_rank)
    loss = torch.nn.functional.softplus(-y * net(x.dense())).mean().log10().item()
    assert row["log10_loss"] == pytest.approx(loss, rel=1e-9)


def test_a_row_is_finite_where_the_gauge_leaves_the_float_range() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(10, 3, generator=g)
    net = TwoLayer(3, 4, generator=g)
    data = Dataset("d", x, torch.where(net(x) > 0, 1, -1), x[:0], torch.zeros(0).long(), None)
    before = Meter(net, data, Quadratic(), "logistic")(net)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1e100)
    after = Meter(net, data, Quadratic(), "logistic")(net)
    assert after["q_margin"] == pytest.approx(before["q_margin"])
    assert after["log10_loss"] < -1e190


def test_schedules_and_optimizers_are_those_that_were_asked_for(images: str) -> None:
    config = base(images, lr=0.1, schedule="cosine")
    assert [schedule(config, t, 100) for t in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    linear = dataclasses.replace(config, schedule="linear")
    assert [schedule(linear, t, 100) for t in (0, 25, 100)] == [1, 0.75, 0]
    net = TwoLayer(2, 3)
    made = build_optimizer(
        base(images, optimizer="mirror_adamw", lr=0.01, optimizer_options={"weight_decay": 0.5}),
        net,
        Power(3),
        120,
    )
    assert type(made) is MirrorAdamW
    assert made.param_groups[0]["weight_decay"] == 0.5
    auto = build_optimizer(base(images), net, Power(3), 120).param_groups[0]["step_rule"]
    assert (auto.eta, auto.decay, auto.steps, auto.reject) == (0.01, "linear", 28, False)
    with pytest.raises(ValueError, match=r"'adamw' .*has no key \['eta'\]; it takes"):
        build_optimizer(
            base(images, optimizer="adamw", lr=0.1, optimizer_options={"eta": 1}), net, Power(3), 9
        )


def test_a_batch_larger_than_half_of_the_points_is_still_a_minibatch() -> None:
    config = RunConfig(batch_size=70, epochs=3)
    assert (config.is_minibatch(100), config.batches(100), config.total_steps(100)) == (True, 1, 3)
    assert (config.is_minibatch(70), config.batches(70)) == (False, 1)
    assert RunConfig(batch_size=16, epochs=2).total_steps(100) == 12
    assert RunConfig(steps=5).total_steps(100) == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"optimizer": "lion"}, "'lion' is unknown"),
        ({"optimizer": "sgd"}, 'lr = "auto" is a rule of the mirror optimizers'),
        ({"schedule": "cosine"}, "the relative step has its own"),
        ({"augment": "crop_flip", "batch_size": 0}, "for minibatches"),
        ({"epochs": -1}, "epochs = -1"),
        ({"net_options": {"depth": 11}}, r"no key \['depth'\].*channels"),
        ({"data": "digits"}, r"takes images.*digits have shape \(64,\)"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, images: str, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        train(base(images, **changes), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_the_command_takes_all_of_it(tmp_path: Path, images: str) -> None:
    words = ["train", "--out", str(tmp_path / "run"), "--data", images, "--net", "residual"]
    words += ["--epochs", "2", "--batch-size", "32", "--set", "net_options.channels=[4, 6]"]
    words += ["--set", "augment=crop_flip", "--optimizer", "adamw", "--lr", "1e-3", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["step"] == 6
    config = RunFolder(tmp_path / "run").config()
    assert config.net_options == {"channels": [4, 6]}
    assert (config.augment, config.epochs, config.until) == ("crop_flip", 2, ())
    assert isinstance(load_run(tmp_path / "run").net, ResidualNet)
    again = CliRunner().invoke(app, [*words, "--set", "nonsense"])
    assert "field=value" in str(again.exception)


def test_a_run_on_mnist_keeps_its_images_as_bytes(tmp_path: Path) -> None:
    if not os.environ.get("MIRRORFLOW_DATA") or not locate(find("mnist")):
        pytest.skip("mnist is not in MIRRORFLOW_DATA")
    config = RunConfig(
        data="mnist",
        data_options={"n": 2000, "n_test": 500},
        net_options={"hidden": [32]},
        batch_size=50,
        epochs=3,
        until=(),
    )
    run = train(config, tmp_path / "run")
    assert isinstance(run.data.x, Images)
    assert run.rows[-1]["test_points"] == 500
    assert run.rows[-1]["test_accuracy"] > 0.8
    full = dataclasses.replace(config, batch_size=0, epochs=0, steps=3)
    assert train(full, tmp_path / "full").rows[-1]["points"] == 2000

"""Runs that end with full batches of the points that count: they get deep, and resume."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from mirrorflow.losses import log_loss, log_loss_per_point
from mirrorflow.optim import MirrorDescent
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.runs.finish import Finish, FinishingLoop

CONFIG = RunConfig(
    data="digits",
    data_options={"test_share": 0.75, "seed": 0},
    net_options={"hidden": [32, 32]},
    mirror_map="power(p=1.5)",
    batch_size=50,
    epochs=20,
    finish_options={"steps": 200, "points": 300, "every": 10},
    until=(-4.0, -8.0),
)


def test_the_finish_gets_deep_and_rows_count_on_all_points(tmp_path: Path) -> None:
    run = train(CONFIG, tmp_path / "run")
    assert run.outcome == "reached"
    crossed = [row for row in run.rows if not math.isnan(row["threshold"])]
    assert [row["threshold"] for row in crossed] == [-4.0, -8.0]
    assert all(row["points"] == len(run.data.x) for row in crossed)
    # The loss is that of every point, not only of those that steps have seen.
    with torch.no_grad():
        value = float(log_loss(run.net(run.data.x).double(), run.data.y)) / math.log(10)
    assert run.rows[-1]["log10_loss"] == pytest.approx(value, rel=1e-12)
    assert run.rows[-1]["step"] > CONFIG.main_steps(len(run.data.x))


def test_the_whole_test_set_is_for_thresholds_and_the_end(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, measure_points=100, until=(-4.0, -8.0, -300.0))
    run = train(config, tmp_path / "run")
    late = [row for row in run.rows if row["step"] > CONFIG.main_steps(len(run.data.x))]
    whole = [row["test_points"] == len(run.data.x_test) for row in late]
    assert all(row["points"] == len(run.data.x) for row in late)
    crossed = [not math.isnan(row["threshold"]) for row in late]
    assert sum(crossed) == 2
    assert whole == [*crossed[:-1], True]
    assert not all(whole)
    assert {row["test_points"] for row in late} == {100, len(run.data.x_test)}


def test_no_block_raises_the_loss_of_all_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mirrorflow.runs import finish

    monkeypatch.setattr(finish, "_PATIENCE", 2)
    seen: list[float] = []
    forgotten: list[bool] = []
    begin = FinishingLoop._begin_block

    def spy(self: FinishingLoop, first: bool) -> None:
        begin(self, first)
        block, held = self.state.block, self.optimizer.state_dict()["state"]
        if block["refused"] and block["optimizer"]["state"]:
            # Momentum is what it was before the block, or none after two in a row.
            forgotten.append(not held)
            assert forgotten[-1] == (block["refused"] % 2 == 0)
            for name, before in block["optimizer"]["state"].items():
                for key, value in held.get(name, {}).items():
                    assert torch.equal(value, before[key])
        with torch.no_grad():
            each = self._log_losses()
        seen.append(float(torch.logsumexp(each, 0)) - math.log(self.n))

    monkeypatch.setattr(FinishingLoop, "_begin_block", spy)
    # A step far too long has to be halved until it works.
    options = {"steps": 200, "eta": 0.5, "points": 200, "every": 5}
    train(dataclasses.replace(CONFIG, finish_options=options, until=()), tmp_path / "run")
    assert len(seen) == 40
    assert all(b <= a for a, b in zip(seen, seen[1:], strict=False))
    assert set(forgotten) == {True, False}, "too few blocks were taken back"
    assert seen[-1] < seen[0] - 5


def test_the_last_block_is_taken_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    begin = FinishingLoop._begin_block

    def spy(self: FinishingLoop, first: bool) -> None:
        begin(self, first)
        seen.append(self.state.block["log_loss"])

    monkeypatch.setattr(FinishingLoop, "_begin_block", spy)
    # A step far too long, and no block after it that would see the loss.
    options = {"steps": 5, "eta": 0.9, "points": 50, "every": 5}
    config = dataclasses.replace(CONFIG, finish_options=options, until=())
    run = train(config, tmp_path / "run")
    assert len(seen) == 1
    with torch.no_grad():
        value = float(log_loss(run.net(run.data.x).double(), run.data.y))
    assert value == pytest.approx(seen[0], rel=1e-6)


@pytest.mark.slow
def test_killed_in_the_finish_it_ends_bit_for_bit_where_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, until=(-8.0,))
    train(config, tmp_path / "whole")
    step = MirrorDescent.step
    count = 0

    def dying(self: MirrorDescent, closure: object = None) -> object:
        nonlocal count
        count += 1
        if count in (163, 178, 190):
            raise KeyboardInterrupt
        return step(self, closure)  # type: ignore[arg-type]

    monkeypatch.setattr(MirrorDescent, "step", dying)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "killed", checkpoint_seconds=0.0)
    train(config, tmp_path / "killed", checkpoint_seconds=0.0)
    one, other = load_run(tmp_path / "whole"), load_run(tmp_path / "killed")
    for p, q in zip(one.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(p, q)
    first, second = (RunFolder(tmp_path / n).metrics() for n in ("whole", "killed"))
    assert json.dumps(first) == json.dumps(second)


SAMPLED = {"steps": 60, "points": 2, "sample": 64, "every": 10, "momentum": 0.9}


def _loop(config: RunConfig, folder: Path) -> FinishingLoop:
    """A loop at the start of its first block, where more than 4·points decide."""
    loops: list[FinishingLoop] = []

    def stop(self: FinishingLoop, first: bool) -> None:
        begin(self, first)
        loops.append(self)
        raise KeyboardInterrupt

    begin = FinishingLoop._begin_block
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FinishingLoop, "_begin_block", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
    return loops[0]


def test_a_drawn_step_estimates_loss_and_gradient_of_all_points_without_bias(
    tmp_path: Path,
) -> None:
    config = dataclasses.replace(CONFIG, finish_options=SAMPLED, epochs=3, until=())
    loop = _loop(config, tmp_path / "run")
    chances = loop.state.block["log_chances"]
    with torch.no_grad():
        assert torch.allclose(chances, torch.log_softmax(loop._log_losses() / 2, 0), atol=1e-6)
    net, data = loop.net.double(), loop.data
    weights = list(net.parameters())

    def flat(value: torch.Tensor) -> torch.Tensor:
        pieces = torch.autograd.grad(value.exp(), weights)
        return torch.cat([value.exp().detach()[None], *(g.reshape(-1) for g in pieces)])

    whole = flat(log_loss(net(data.x.double()), data.y))
    drawn = []
    for _ in range(600):
        x, y = loop._batch()
        assert len(x) == 64
        drawn.append(flat(loop._objective(net(x.double()), y, 64)))
        loop.state.step += 1
    found = torch.stack(drawn)
    error = found.std(0) / math.sqrt(len(found))
    moving = error > 0
    scores = (found.mean(0) - whole)[moving] / error[moving]
    assert abs(float(scores[0])) < 4
    assert float((scores**2).mean()) < 1.5
    # Larger losses are drawn more often: fewer draws are needed than with equal chances.
    each = log_loss_per_point(net(data.x.double()), data.y).detach().exp()
    assert float(found[:, 0].std()) < 0.6 * float(each.std()) / 8


def test_options_of_the_optimizer_hold_to_the_end(tmp_path: Path) -> None:
    options = {"eta": 0.01, "check_finite": True, "weight_decay": 1e-4}
    config = dataclasses.replace(
        CONFIG, finish_options=SAMPLED, optimizer_options=options, epochs=1, until=()
    )
    group = _loop(config, tmp_path / "run").optimizer.param_groups[0]
    assert (group["check_finite"], group["weight_decay"], group["momentum"]) == (True, 1e-4, 0.9)


@pytest.mark.parametrize(
    ("finish", "trained", "looks_ahead"),
    [
        ({}, {}, True),
        ({"nesterov": False}, {}, False),
        ({"momentum": 0.0}, {}, False),
        ({"nesterov": False}, {"nesterov": True, "momentum": 0.9}, False),
        ({"nesterov": False}, {"dampening": 0.5, "momentum": 0.9}, False),
    ],
)
def test_the_momentum_looks_ahead_unless_told_not_to(
    tmp_path: Path, finish: dict[str, object], trained: dict[str, object], looks_ahead: bool
) -> None:
    config = dataclasses.replace(
        CONFIG,
        finish_options={**SAMPLED, **finish},
        optimizer_options={"eta": 0.01, **trained},
        epochs=1,
        until=(),
    )
    group = _loop(config, tmp_path / "run").optimizer.param_groups[0]
    assert group["nesterov"] is looks_ahead


def test_steps_draw_where_the_points_that_count_are_too_many(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, finish_options=SAMPLED, until=())
    loop = _loop(config, tmp_path / "many")
    assert loop.state.block["kept"] is None
    few = dataclasses.replace(config, finish_options={**SAMPLED, "points": 300})
    loop = _loop(few, tmp_path / "few")
    assert loop.state.block["log_chances"] is None


@pytest.mark.slow
def test_draws_go_on_bit_for_bit_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, finish_options=SAMPLED, until=())
    whole = train(config, tmp_path / "whole")
    step, count = MirrorDescent.step, 0

    def dying(self: MirrorDescent, closure: object = None) -> object:
        nonlocal count
        count += 1
        if count == 195:
            raise KeyboardInterrupt
        return step(self, closure)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MirrorDescent, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "killed", checkpoint_seconds=0.0)
    again = train(config, tmp_path / "killed", checkpoint_seconds=0.0)
    for p, q in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finish_options": {"step": 3}}, r"no key \['step'\]"),
        ({"finish_options": {"steps": 0}}, "finish_options.steps = 0"),
        ({"finish_options": {"sample": -1}}, "finish_options.sample = -1; pass an int >= 0"),
        ({"finish_options": {"eta": 2.0}}, "finish_options.eta = 2.0"),
        ({"finish_options": {"momentum": 1.0}}, "finish_options.momentum = 1.0"),
        ({"finish_options": {"nesterov": 1}}, "finish_options.nesterov = 1; pass true or false"),
        ({"optimizer": "sgd", "lr": 0.1}, "optimizer = 'sgd'"),
        ({"optimizer_options": {"dampening": 0.5, "momentum": 0.9}}, "dampening = 0, not 0.5"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"parallel": "ddp"}, "parallel = 'ddp'"),
    ],
)
def test_what_cannot_be_finished_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Finish.of(dataclasses.replace(CONFIG, **change))  # type: ignore[arg-type]


def test_a_bad_option_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample = -1"):
        train(dataclasses.replace(CONFIG, finish_options={"sample": -1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_text_is_no_number_of_steps() -> None:
    with pytest.raises(TypeError, match="finish_options.every = '10'"):
        Finish(every="10")  # type: ignore[arg-type]

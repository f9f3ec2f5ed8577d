"""Linear nets on images: the exact margin at the end, descent beside the flow, honest verdicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mirrorflow.claims import PRESETS, Record, images, read_records, reproduce
from mirrorflow.claims.flows import degrees_between
from mirrorflow.claims.reproduce import Preset
from mirrorflow.data import Dataset, blobs
from mirrorflow.errors import DataError
from mirrorflow.flow import mirror_flow
from mirrorflow.losses import log_loss
from mirrorflow.maps import HyperbolicEntropy, Quadratic
from mirrorflow.nets import Linear
from mirrorflow.optim import MirrorDescent, RelativeStep
from mirrorflow.report import write_page

PAIR = {"ℓ2": ("quadratic", "mixed(p=1.5, a=1, b=1)")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points in the plane of pixels: (8, 1, 2, 3), as images come."""

    def problem(data: str, classes: list[int], points: int, seed: int) -> Dataset:
        import dataclasses

        made = blobs(8, 6, gap=0.2, seed=seed)
        return dataclasses.replace(made, x=made.x.reshape(-1, 1, 2, 3))

    monkeypatch.setattr(images, "_problem", problem)
    monkeypatch.setattr(images, "PAIRS", PAIR)
    monkeypatch.setattr(images, "_STEPS", 400)
    monkeypatch.setattr(images, "SETS", {"mnist": (3, 8)})
    monkeypatch.setitem(
        PRESETS, "tiny-images", Preset(1, 0, (-2.0, -4.0, -1000.0), 0, 0, 0, ("mnist",))
    )


def test_the_preset_follows_judges_and_draws(tmp_path: Path, small: None) -> None:
    found = reproduce(tmp_path, preset="tiny-images", workers=1)
    assert found.failed == {}
    assert [finding.claim for finding in found.findings] == [1, 2, 2]
    assert [finding.verdict for finding in found.findings] == ["yes", "yes", "yes"]
    page = write_page(tmp_path).read_text()
    assert page.count('<img src="data:image/') == 1
    assert "Claims 1 and 2 on images" in page
    for record in read_records(tmp_path).values():
        losses = [row["log10_loss"] for row in record.summary["beside"]]
        steps = [row["steps"] for row in record.summary["beside"]]
        assert losses == sorted(losses, reverse=True)
        assert steps == sorted(steps)
        assert steps[-1] == 400
        assert losses[0] <= -1
        assert losses[1] <= -2


def test_missing_images_are_named_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIRRORFLOW_DATA", str(tmp_path / "empty"))
    with pytest.raises(DataError, match="mnist"):
        reproduce(tmp_path / "out", preset="images")
    assert not (tmp_path / "out").exists()


def test_descent_says_where_it_is_and_stops() -> None:
    data = blobs(8, 3, gap=0.3, seed=1)
    net = Linear(3, generator=torch.Generator().manual_seed(0)).double()
    optimizer = MirrorDescent(net.parameters(), lr=RelativeStep(0.02), mirror_map=Quadratic())
    seen = []
    for step, value in images.descend(net, data, optimizer, (-1.0, -2.0, -2000.0), 300):
        with torch.no_grad():
            q = (data.y * net(data.x)).double()
        assert value == pytest.approx(float(torch.logsumexp(-q, 0)), rel=1e-12)
        seen.append((step, value / math.log(10)))
    assert len(seen) == 3
    assert seen[0][1] <= -1 < seen[0][1] + 1
    assert seen[1][1] <= -2
    assert seen[2][0] == 300, "the end is told where its threshold is not reached"
    deep = list(images.descend(net, data, optimizer, (1.0, 0.0), 300))
    assert deep == [(0, pytest.approx(seen[2][1] * math.log(10)))], "passed at once, told once"


@pytest.mark.parametrize("mirror_map", [Quadratic(), HyperbolicEntropy(0.1)])
def test_the_flow_is_found_at_a_loss_and_descent_tends_to_it(
    mirror_map: Quadratic | HyperbolicEntropy,
) -> None:
    data = blobs(12, 5, gap=0.2, seed=2)
    start = Linear(5, generator=torch.Generator().manual_seed(0)).double().weight.detach()
    apart = []
    for eta in (0.04, 0.01):
        net = Linear(5).double()
        with torch.no_grad():
            net.weight.copy_(start)
        flow = mirror_flow(net, data.x, data.y, mirror_map, log_t_end=100.0, tol=1e-6)
        optimizer = MirrorDescent(net.parameters(), lr=RelativeStep(eta), mirror_map=mirror_map)
        [(_, value)] = images.descend(net, data, optimizer, (-3.0,), 30_000)
        point = images.at_loss(flow, value)
        assert point.log_loss == pytest.approx(value, rel=1e-6)
        where = torch.as_tensor(point.direction)
        apart.append(degrees_between(net.weight.detach().flatten(), where))
        # The direction of the flow there, and its level, give that loss.
        with torch.no_grad():
            net.weight.copy_(where * math.exp(point.log_gauge))
        again = float(log_loss(net(data.x).detach(), data.y, "exponential", reduction="sum"))
        assert again == pytest.approx(value, rel=1e-4)
    assert apart[1] < 0.5 * apart[0] < 2.5
    with pytest.raises(ValueError, match="before -1000"):
        images.at_loss(flow, -1000.0)


def test_small_angles_are_exact() -> None:
    a = torch.tensor([1.0, 0.0]).double()
    for angle in (1e-12, 1e-3, 1.0, 3.0):
        b = 5 * torch.tensor([math.cos(angle), math.sin(angle)]).double()
        assert degrees_between(a, b) == pytest.approx(math.degrees(angle), rel=1e-9)


def test_thresholds_that_do_not_fall_are_refused() -> None:
    net = Linear(3).double()
    optimizer = MirrorDescent(net.parameters(), lr=RelativeStep(0.02), mirror_map=Quadratic())
    for wrong in ((), (-1.0, -1.0), (-2.0, -1.0)):
        with pytest.raises(ValueError, match="list log10 losses that fall"):
            next(images.descend(net, blobs(8, 3, seed=1), optimizer, wrong, 10))


def test_a_step_that_will_be_taken_back_is_no_state_of_descent() -> None:
    class Wild(MirrorDescent):
        """Its 60th step turns the net around."""

        calls = 0

        def step(self, closure: Any = None) -> Any:
            found = super().step(closure)
            self.calls += 1
            if self.calls == 60:
                with torch.no_grad():
                    net.weight.neg_()
            return found

    data = blobs(8, 3, gap=0.3, seed=1)
    for steps in (60, 90):
        net = Linear(3, generator=torch.Generator().manual_seed(0)).double()
        optimizer = Wild(net.parameters(), lr=RelativeStep(0.05), mirror_map=Quadratic())
        seen = [value for _, value in images.descend(net, data, optimizer, (-9999.0,), steps)]
        assert optimizer.calls == steps
        with torch.no_grad():
            there = float(log_loss(net(data.x), data.y, "exponential", reduction="sum"))
        assert seen == [pytest.approx(there, rel=1e-12)]
        assert there < -1


def test_a_flow_that_ends_early_is_told_so(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_LOG_T", 1e100)
    task = images.tasks(["mnist"], 1, 0, (-2.0, -4.0))[0]
    record = images.follow_images(tmp_path, **{**task.arguments, "log_t_end": 2.0})
    assert math.isnan(record.summary["beside"][-1]["flow"])
    other = images.tasks(["mnist"], 1, 0, (-2.0, -4.0))[1].name
    found = images.findings({task.name: record, other: record}, ["mnist"], 1, 0)
    assert [finding.verdict for finding in found] == ["not yet reached"] * 3


def _record(text: str, descent: float, flow: float, shortfall: float) -> Record:
    beside = [{"log10_loss": -10.0, "descent": descent, "flow": flow, "degrees": 0.1}]
    summary: dict[str, Any] = {
        "map": text,
        "beside": beside,
        "shortfall": shortfall,
        "log_t": 1e100,
    }
    return Record(text, summary | {"margin": 1.0, "exact_margin": 1.0, "gap": 0.0})


@pytest.mark.parametrize(
    ("descent", "flow", "shortfall", "verdicts"),
    [
        (0.9, 0.91, 1e-6, ["yes", "yes", "yes"]),
        (0.9, 0.95, 1e-6, ["yes", "no", "yes"]),
        (0.9999, 0.9999, 1e-6, ["yes", "yes", "no"]),
        (0.9, 0.91, 0.01, ["no", "yes", "no"]),
    ],
)
def test_verdicts_follow_their_rules(
    descent: float, flow: float, shortfall: float, verdicts: list[str]
) -> None:
    sets, pairs = ["mnist"], [t for pair in images.PAIRS.values() for t in pair]
    names = [task.name for task in images.tasks(sets, 1, 0, (-2.0,))]
    made = {
        name: _record(text, descent, flow, shortfall)
        for name, text in zip(names, pairs, strict=True)
    }
    found = images.findings(made, sets, 1, 0)
    limits = {finding.verdict for finding in found if finding.claim == 1}
    assert [*limits, *(f.verdict for f in found if f.claim == 2)] == verdicts
    made.popitem()
    assert found[-1].verdict != "not yet reached"
    assert images.findings(made, sets, 1, 0)[-1].verdict == "not yet reached"

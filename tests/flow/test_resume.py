"""Interruption, comparison, verification, the explicit method, and the command."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mirrorflow import maps
from mirrorflow.cli.app import app
from mirrorflow.errors import RunError
from mirrorflow.flow import (
    Explicit,
    FlowPoint,
    Implicit,
    Trajectory,
    compare_maps,
    mirror_flow,
    verify,
)
from mirrorflow.nets import TwoLayer


def problem() -> tuple[TwoLayer, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.where(torch.arange(10) % 2 == 0, 1.0, -1.0)
    x = torch.randn(10, 2, generator=g) * 0.5 + y[:, None] * torch.tensor([1.0, 0.6])
    return TwoLayer(2, 4, "smooth_relu", bias=True, generator=g), x, y


def test_a_killed_flow_continues_bit_for_bit(tmp_path: Path) -> None:
    net, x, y = problem()
    m, end = maps.HyperbolicEntropy(0.1), 1e2
    whole = mirror_flow(net, x, y, m, log_t_end=end)
    calls = 0

    def kill(point: FlowPoint) -> None:
        nonlocal calls
        calls += 1
        if calls == 25:
            raise KeyboardInterrupt

    file = tmp_path / "flow.ckpt"
    with pytest.raises(KeyboardInterrupt):
        mirror_flow(net, x, y, m, log_t_end=end, checkpoint=file, callback=kill)
    seen: list[float] = []
    rest = mirror_flow(
        net, x, y, m, log_t_end=end, checkpoint=file, callback=lambda p: seen.append(p.log_t)
    )
    assert len(seen) == whole.stats.steps - 25
    for name in ("log_t", "direction", "rate", "balance_drift"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name))
    assert rest.stats.newton == whole.stats.newton
    again = mirror_flow(net, x, y, m, log_t_end=end, checkpoint=file)
    np.testing.assert_array_equal(again.direction, whole.direction)
    with pytest.raises(RunError, match="another flow"):
        mirror_flow(net, x, y, maps.Quadratic(), log_t_end=end, checkpoint=file)
    file.write_bytes(b"torn")
    with pytest.raises(RunError, match="no checkpoint"):
        mirror_flow(net, x, y, m, log_t_end=end, checkpoint=file)


def test_verify_finds_the_same_point() -> None:
    net, x, y = problem()
    flow = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e8, tol=1e-3)
    assert flow.outcome == "converged"
    found = verify(flow)
    assert found.same is True
    assert found.margin < 1e-4
    assert found.finer.stats.tol == 1e-4
    assert found.finer.stats.steps > flow.stats.steps


@pytest.mark.parametrize("mirror_map", [maps.Quadratic(), maps.Power(1.5)], ids=repr)
def test_explicit_and_implicit_agree(mirror_map: maps.MirrorMap) -> None:
    net, x, y = problem()
    ends = [
        mirror_flow(net, x, y, mirror_map, log_t_end=math.log(5.0), stepper=stepper, tol=tol)
        for stepper, tol in ((Explicit(), 1e-6), (Implicit(), 1e-5))
    ]
    assert [e.stats.method for e in ends] == ["explicit", "implicit"]
    np.testing.assert_allclose(ends[0].direction[-1], ends[1].direction[-1], atol=2e-4)
    assert ends[0].log_loss[-1] == pytest.approx(ends[1].log_loss[-1], abs=2e-4)
    assert np.max(ends[0].balance_drift) < 1e-6


@pytest.mark.slow
def test_compare_maps() -> None:
    net, x, y = problem()
    chosen = [maps.Quadratic(), maps.Power(1.5)]
    table = compare_maps([net, net], x, y, chosen, log_t_end=0.0)
    assert [len(row) for row in table] == [2, 2]
    for row, m in zip(table, chosen, strict=True):
        alone = mirror_flow(net, x, y, m, log_t_end=0.0)
        for each in row:
            np.testing.assert_array_equal(each.direction, alone.direction)
    apart = compare_maps([net], x, y, chosen, workers=2, log_t_end=0.0)
    for row, together in zip(apart, table, strict=True):
        np.testing.assert_array_equal(row[0].direction, together[0].direction)


INTERRUPTED = """
import signal, torch
from mirrorflow import maps
from mirrorflow.flow import compare_maps
from mirrorflow.nets import TwoLayer

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.manual_seed(0)
    x = torch.randn(30, 2)
    nets = [TwoLayer(2, 60, "smooth_relu") for _ in range(4)]
    print("started", flush=True)
    compare_maps(nets, x, x[:, 0].sign(), [maps.Power(4.0)], workers=2, log_t_end=1e99, tol=1e-9)
"""


def test_an_interrupt_ends_the_processes(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    group = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert group.stdout is not None
    group.stdout.readline()
    time.sleep(1.0)
    os.kill(group.pid, signal.SIGINT)
    _, errors = group.communicate(timeout=60)  # the flows alone would take far longer
    assert group.returncode != 0
    assert b"KeyboardInterrupt" in errors
    alive = 100
    while alive and _exists(group.pid):
        alive -= 1
        time.sleep(0.1)
    assert alive, "a process of its session is left"


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    arguments = [
        "flow", "blobs", "--map", "quadratic", "--hidden", "3,2", "--data-option", "n=8",
        "--log-t-end", "100", "--figure", str(tmp_path / "flow.png"), "--save", str(tmp_path),
        "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    line = next(row for row in result.stdout.splitlines() if row.startswith("{"))
    (found,) = json.loads(line)["flows"]
    kept = Trajectory.load(tmp_path / "quadratic.npz")
    assert found["outcome"] == kept.outcome
    assert found["margin"] == kept.margin[-1]
    assert (tmp_path / "flow.png").stat().st_size > 10_000


def test_a_log_shows_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal the state is a line, now and then; JSON stays alone on stdout."""
    # by name: the package's attribute `flow` is the command
    monkeypatch.setattr(import_module("mirrorflow.cli.flow"), "_LOG_SECONDS", 0.0)
    common = ["flow", "blobs", "--data-option", "n=8", "--log-t-end", "100"]
    logged = CliRunner().invoke(app, common)
    assert logged.stdout.count("quadratic: log10 log10 t = ") > 5
    piped = CliRunner().invoke(app, [*common, "--json"])
    assert "log10 log10 t" not in piped.stdout
    assert "log10 log10 t" in piped.stderr


def test_a_killed_command_continues_bit_for_bit(tmp_path: Path) -> None:
    """A command that used up its steps, as one that was killed, continues from its folder."""
    common = ["flow", "blobs", "--map", "power(1.5)", "--hidden", "3", "--data-option", "n=8",
              "--log-t-end", "100", "--json"]  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    runner = CliRunner()
    assert runner.invoke(app, [*common, "--save", str(whole)]).exit_code == 0
    stopped = runner.invoke(app, [*common, "--save", str(parts), "--max-steps", "20"])
    assert stopped.exit_code == 1
    assert len(Trajectory.load(parts / "power(1.5).npz")) <= 21
    assert runner.invoke(app, [*common, "--save", str(parts)]).exit_code == 0
    a, b = (Trajectory.load(folder / "power(1.5).npz") for folder in (whole, parts))
    for name in ("log_t", "direction", "rate", "natural_slack"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_stalled_command_says_why() -> None:
    result = CliRunner().invoke(app, ["flow", "blobs", "--max-steps", "5"])
    assert result.exit_code == 1
    assert "quadratic: stalled, since max_steps = 5 was used up" in result.stdout


def test_the_command_tells_what_verify_found() -> None:
    common = ["flow", "blobs", "--data-option", "n=8", "--log-t-end", "100"]
    assert "repeated" not in CliRunner().invoke(app, common).stdout
    shown = CliRunner().invoke(app, [*common, "--verify"]).stdout
    assert "quadratic: repeated at tol/10, it ends at the same point" in shown


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (["--log-t-end", "nan"], "log_t_end = nan is not a time"),
        (["--figure", "flow.gif"], "has no known format"),
        (["--hidden", "4,a"], "--hidden '4,a' is no list of widths >= 1"),
        (["--hidden", "4,0"], "--hidden '4,0' is no list of widths >= 1"),
        (["--map", "simplex_entropy(1)"], "which lacks dim = 1"),
    ],
)
def test_command_refuses(option: list[str], text: str) -> None:
    result = CliRunner().invoke(app, ["flow", "blobs", *option])
    assert result.exit_code != 0
    assert isinstance(result.exception, ValueError)
    assert text in str(result.exception)

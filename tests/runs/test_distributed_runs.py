"""Training under torchrun: two processes (gloo) end where one ends, under DDP and FSDP2.

The sums over points are rounded in another order, so that equality holds up to 1e-12 relative to
the largest weight of a tensor in float64 (these runs agree to 1.3e-14).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mirrorflow.runs import RunConfig, RunFolder, load_run, train

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)
WORKER = Path(__file__).with_name("distributed_runs.py")


def worker() -> Any:
    spec = importlib.util.spec_from_file_location("distributed_runs", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    source = Path(__file__).parents[2] / "src"
    env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with subprocess.Popen(
        [sys.executable, *launch, *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        try:
            output, errors = launcher.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            launcher.terminate()  # and it ends the processes that it started
            launcher.wait(20)
            raise
    return subprocess.CompletedProcess(launcher.args, launcher.returncode, output, errors)


def close(a: Path, b: Path) -> None:
    one, other = load_run(a), load_run(b)
    for p, q in zip(one.net.parameters(), other.net.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12 * float(q.detach().abs().max()))
    assert len(one.rows) == len(other.rows)
    for row, wanted in zip(one.rows, other.rows, strict=True):
        assert row.keys() == wanted.keys()
        for name in ("step", "threshold", "log10_loss", "q_margin", "balance_drift", "epsilon"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-9, abs=1e-11, nan_ok=True), name


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    module = worker()
    for name, config in module.RUNS.items():
        train(config, tmp_path / "one" / name)
    for name in ("full", "adam"):
        module.cut_short(
            dataclasses.replace(module.RUNS[name], parallel="fsdp"), tmp_path / "begun" / name
        )
    done = torchrun(str(WORKER), str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    for parallel in ("ddp", "fsdp"):
        for name in module.RUNS:
            close(tmp_path / parallel / name, tmp_path / "one" / name)
        # What two processes began, one finishes.
        for name in ("full", "adam"):
            folder = tmp_path / parallel / f"{name}-cut"
            assert RunFolder(folder).manifest()["outcome"] == "running"
            train(dataclasses.replace(module.RUNS[name], parallel=parallel), folder)
            close(folder, tmp_path / "one" / name)
    for name in ("full", "adam"):
        close(tmp_path / "begun" / name, tmp_path / "one" / name)
    deep = load_run(tmp_path / "fsdp" / "deep")
    assert deep.outcome == "reached"
    (line,) = done.stdout.splitlines()  # one process speaks
    assert json.loads(line)["outcome"] == "steps"
    config = RunFolder(tmp_path / "command").config()
    train(dataclasses.replace(config, parallel="none"), tmp_path / "one" / "command")
    close(tmp_path / "command", tmp_path / "one" / "command")
    manifest = RunFolder(tmp_path / "fsdp" / "deep").manifest()
    assert (manifest["processes"], manifest["device"]) == (2, "cpu")
    assert not math.isnan(deep.rows[-1]["epsilon"])


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(data="blobs", net="linear", steps=2, until=())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r'parallel = "none", but 2 processes'):
        train(config, tmp_path / "run")
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(ValueError, match="parallel = 'tensor' is unknown"):
        dataclasses.replace(config, parallel="tensor")  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='device = "cuda", but torch finds no CUDA device'):
            train(dataclasses.replace(config, device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    automatic = train(dataclasses.replace(config, device="auto"), tmp_path / "auto")
    assert automatic.outcome == "steps"


def test_a_step_needs_a_point_for_each_process() -> None:
    from mirrorflow.runs.distributed import Team

    crew = Team("ddp", torch.device("cpu"), 1, 3)
    assert crew.share(torch.arange(7)).tolist() == [1, 4]
    with pytest.raises(ValueError, match="2 points, which cannot be spread over 3 processes"):
        crew.share(torch.arange(2))

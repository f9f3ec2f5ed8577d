"""A sweep over Ray: two workers on this machine do what local processes do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.processes import Call, CallResult, WorkerDiedError, this_process
from mirrorflow.sweeps import plan, sweep
from mirrorflow.sweeps.ray_engine import ray_engine

TABLES = {
    "base": {
        "data": "teacher",
        "data_options": {"n": 40, "d": 4, "n_test": 20},
        "net": "two_layer",
        "net_options": {"hidden": [8]},
        "loss": "logistic",
        "steps": 300,
        "until": [-1.0, -3.0],
    },
    "grid": {"mirror_map": ["quadratic", "cubic"], "seed": [0, 1]},
}


def use_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra sweep)")
    source = Path(__file__).parents[2] / "src"
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    # Ray kills a worker that has not started within 60 s, and starts another, on a loaded machine
    # for ever.
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "300")


@pytest.mark.slow
@pytest.mark.timeout(600)  # Ray starts five processes, in 20 s on an idle machine
def test_ray_on_one_machine_equals_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ray(monkeypatch)
    ended: list[CallResult] = []

    def engine(calls: Sequence[Call], workers: int) -> Generator[CallResult, None, None]:
        """With two calls more: one that is killed, one that raises."""
        more: list[Call] = [(signal.raise_signal, (signal.SIGKILL,)), (int, ("x",))]
        for outcome in ray_engine()([*more, *calls], workers):
            if outcome.position < 2:
                ended.append(outcome)
            else:
                yield CallResult(outcome.position - 2, outcome.value, outcome.error)

    members = plan(TABLES)
    found = sweep(members, tmp_path / "ray", engine=engine, workers=2)
    assert len(found.failed) == 2
    by_position = {o.position: o.error for o in ended}
    assert isinstance(by_position[0], WorkerDiedError)
    assert isinstance(by_position[1], ValueError)
    sweep(members, tmp_path / "local", engine=this_process)
    frames = [pd.read_parquet(tmp_path / name / "results.parquet") for name in ("ray", "local")]
    times = ["seconds", "evaluation_seconds", "started"]
    one, other = (frame.drop(columns=times) for frame in frames)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_existing_cluster_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ray(monkeypatch)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
        "--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats",
        f"--ray-client-server-port={free_port()}", "--object-store-memory=100000000",
    ]  # fmt: skip
    members = plan(TABLES)[:2]
    with (tmp_path / "ray.log").open("w") as log, subprocess.Popen(command, stdout=log) as head:
        try:
            while "Ray runtime started" not in (tmp_path / "ray.log").read_text():
                assert head.poll() is None
                time.sleep(0.2)
            engine = ray_engine(f"127.0.0.1:{port}")
            found = sweep(members, tmp_path / "ray", engine=engine, workers=1)
        finally:
            head.terminate()
    assert not found.failed
    sweep(members, tmp_path / "local", engine=this_process)
    frames = [pd.read_parquet(tmp_path / name / "results.parquet") for name in ("ray", "local")]
    times = ["seconds", "evaluation_seconds", "started"]
    one, other = (frame.drop(columns=times) for frame in frames)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_nobody_at_the_address(tmp_path: Path, form: str) -> None:
    """Ray itself tries for minutes."""
    pytest.importorskip("ray", reason="Ray is not installed (extra sweep)")
    address = form.format(free_port())
    with pytest.raises(RunError, match=f"no Ray cluster at address '{address}': .*refused.*start"):
        sweep(plan(TABLES)[:1], tmp_path, engine=ray_engine(address))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "mirrorflow\[sweep\]"'):
        ray_engine()

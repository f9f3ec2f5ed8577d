"""Batteries of faults on small runs and flows: how many were tried, how many went wrong.

`python tests/faults/battery.py` prints the table of docs/robustness.md. What counts
as wrong: a traceback of another kind than the library's own, a damaged file that nobody notices, a
result that is not bit for bit that of the run that nothing happened to, a file that is lost.
"""

from __future__ import annotations

import argparse
import errno
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirrorflow import maps
from mirrorflow.errors import MirrorFlowError
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.nets import Linear
from mirrorflow.processes import this_process
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.sweeps import plan, sweep

FILES = ("checkpoint.pt", "metrics.parquet", "config.toml", "manifest.json")
REFUSALS = (MirrorFlowError, ValueError, TypeError, OSError)


@dataclass
class Tally:
    """What a battery found; `examples` describes the wrong ones."""

    name: str
    tried: int = 0
    wrong: int = 0
    examples: tuple[str, ...] = ()

    def note(self, right: bool, example: str) -> None:
        self.tried += 1
        if not right:
            self.wrong += 1
            self.examples = (*self.examples, example)[:5]


def config(**changes: Any) -> RunConfig:
    """A run of a few milliseconds."""
    values = {
        "data": "teacher",
        "data_options": {"n": 40, "d": 3, "n_test": 10},
        "net": "two_layer",
        "net_options": {"hidden": [8]},
        "mirror_map": "hyperbolic_entropy(beta=0.1)",
        "loss": "logistic",
        "steps": 40,
        "until": [],
        "dtype": "float64",
    }
    return RunConfig.from_dict({**values, **changes})


def content(folder: Path) -> dict[str, bytes]:
    """Every file below the folder but locks."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def result(folder: Path) -> tuple[list[torch.Tensor], str]:
    """What a run ended with: its weights and its metrics."""
    run = load_run(folder)
    return [p.detach() for p in run.net.parameters()], json.dumps(RunFolder(folder).metrics())


def same(a: tuple[list[torch.Tensor], str], b: tuple[list[torch.Tensor], str]) -> bool:
    """Bit for bit."""
    weights = all(torch.equal(p, q) for p, q in zip(a[0], b[0], strict=True))
    return weights and a[1] == b[1]


def flipped(path: Path, bit: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[(bit // 8) % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def refused(call: Callable[[], object], names: str) -> tuple[bool, str]:
    """Whether the call ends in a refusal of the library, which names the file or its folder."""
    try:
        call()
    except REFUSALS as error:
        own = isinstance(error, MirrorFlowError) or type(error) in (ValueError, TypeError)
        return own and names in str(error), f"{type(error).__name__}: {error}"[:300]
    except BaseException as error:
        return False, f"{type(error).__name__}: {error}"[:300]
    return False, "nothing was noticed"


def bit_flips(folder: Path, rng: random.Random, tries: int) -> Tally:
    """One bit of one file of a finished run: seen by `train` and `load_run`, named."""
    tally = Tally("one flipped bit in a file of a run")
    train(config(), folder / "whole")
    for _ in range(tries):
        copy = folder / "copy"
        shutil.copytree(folder / "whole", copy)
        name = rng.choice(FILES)
        bit = rng.randrange(8 * (copy / name).stat().st_size)
        flipped(copy / name, bit)
        for call in (lambda: train(config(), copy), lambda: load_run(copy)):  # noqa: B023
            right, what = refused(call, str(copy))
            tally.note(right, f"bit {bit} of {name}: {what}")
        shutil.rmtree(copy)
    return tally


def broken_files(folder: Path, rng: random.Random, tries: int) -> Tally:
    """A file that is empty, cut or another program's is refused, and the cure for it works."""
    tally = Tally("empty, cut and foreign files of a run, and the printed cure")
    train(config(), folder / "whole")
    truth = result(folder / "whole")
    others = (b"", b"\x00" * 500, b"hello", b"PK\x03\x04", pickle.dumps(print), b"\xff" * 3000)
    for k in range(tries):
        copy = folder / "copy"
        shutil.copytree(folder / "whole", copy)
        name = FILES[k % len(FILES)]
        old = (copy / name).read_bytes()
        data = rng.choice([*others, old[: rng.randrange(len(old))], old + b"x"])
        (copy / name).write_bytes(data)
        right, what = refused(lambda: train(config(), copy), str(copy))  # noqa: B023
        tally.note(right, f"{name} of {len(data)} bytes: {what}")
        if name in ("checkpoint.pt", "metrics.parquet"):  # "remove it, and run it again"
            (copy / name).unlink()
            train(RunConfig.read(copy / "config.toml"), copy)
            tally.note(same(truth, result(copy)), f"the cure for {name}")
        shutil.rmtree(copy)
    return tally


def _child(work: Callable[[], object]) -> Any:
    # A fork has torch already; with one thread there is none that it could miss.
    process = multiprocessing.get_context("fork").Process(target=_quiet, args=(work,), daemon=True)
    process.start()
    return process


def _quiet(work: Callable[[], object]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work()
    except MirrorFlowError:  # of two processes one is refused
        os._exit(2)
    os._exit(0)


def _killed(work: Callable[[], object], seconds: float) -> bool:
    process = _child(work)
    process.join(seconds)
    alive = bool(process.is_alive())
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return alive


def kills(folder: Path, rng: random.Random, tries: int) -> Tally:
    """SIGKILL at random moments, then resumed: bit for bit the run that was not killed."""
    tally = Tally("SIGKILL of a run at a random moment, resumed")
    chosen = config(steps=400)
    begun = time.monotonic()
    train(chosen, folder / "whole", checkpoint_seconds=0.0)
    seconds, truth = time.monotonic() - begun, result(folder / "whole")
    for k in range(tries):
        path = folder / f"cut{k}"
        for _ in range(rng.randrange(1, 3)):
            _killed(
                lambda: train(chosen, path, checkpoint_seconds=0.0),  # noqa: B023
                rng.uniform(0.0, seconds),
            )
        train(chosen, path)
        left = [p.name for p in path.iterdir() if p.name.startswith(".") and p.name != ".lock"]
        tally.note(same(truth, result(path)) and not left, f"kill {k}, left {left}")
        shutil.rmtree(path)
    return tally


def sweep_kills(folder: Path, rng: random.Random, tries: int) -> Tally:
    """SIGKILL of a sweep, run again: the table of the sweep that was not killed."""
    tally = Tally("SIGKILL of a sweep at a random moment, run again")
    members = plan({"base": config().to_dict(), "grid": {"seed": [0, 1, 2]}})
    begun = time.monotonic()
    truth = _told(sweep(members, folder / "whole", engine=this_process).records)
    seconds = time.monotonic() - begun
    for k in range(tries):
        path = folder / f"cut{k}"
        _killed(lambda: sweep(members, path, engine=this_process), rng.uniform(0.0, seconds))  # noqa: B023
        again = _told(sweep(members, path, engine=this_process).records)
        tally.note(again == truth, f"kill {k}")
        shutil.rmtree(path)
    return tally


def _told(records: list[Any]) -> str:
    apart = ("seconds", "evaluation_seconds", "started", "git")  # a commit may come between
    rows = [[{k: v for k, v in row.items() if k not in apart} for row in r.rows] for r in records]
    return json.dumps(rows, sort_keys=True)


def _flow(**options: Any) -> Trajectory:
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(12, 3)))
    y = torch.where(x[:, 0] > 0, 1, -1)
    net = Linear(3, generator=torch.Generator().manual_seed(0)).double()
    return mirror_flow(net, x, y, maps.HyperbolicEntropy(0.1), log_t_end=50.0, **options)


def flow_kills(folder: Path, rng: random.Random, tries: int) -> Tally:
    """SIGKILL of a flow with a checkpoint, called again: the same trajectory."""
    from mirrorflow.flow.record import checkpoint

    tally = Tally("SIGKILL of a flow at a random moment, resumed")
    interval = checkpoint.Checkpoint.__init__.__defaults__
    checkpoint.Checkpoint.__init__.__defaults__ = (0.0,)  # save at every step
    try:
        begun = time.monotonic()
        truth = _flow(checkpoint=folder / "whole.npz")
        seconds = time.monotonic() - begun
        for k in range(tries):
            path = folder / f"cut{k}.npz"
            _killed(lambda: _flow(checkpoint=path), rng.uniform(0.0, seconds))  # noqa: B023
            again = _flow(checkpoint=path)
            equal = all(
                np.array_equal(getattr(again, name), getattr(truth, name), equal_nan=True)
                for name in ("log_t", "margin", "direction", "multipliers", "natural_epsilon")
            )
            tally.note(equal, f"kill {k}")
    finally:
        checkpoint.Checkpoint.__init__.__defaults__ = interval
    return tally


def flow_files(folder: Path, rng: random.Random, tries: int) -> Tally:
    """Flipped bits, cuts and other programs' files where a trajectory or a checkpoint should be."""
    tally = Tally("damaged and foreign files of a flow")
    path = folder / "path.npz"
    _flow().save(path)
    whole = path.read_bytes()
    for k in range(tries):
        if k % 3 == 0:
            path.write_bytes(whole[: rng.randrange(len(whole))])
        elif k % 3 == 1:
            path.write_bytes(whole)
            flipped(path, rng.randrange(8 * len(whole)))
        else:
            np.savez(
                path, x=np.zeros(3), head=np.array(rng.choice(["{}", "[]", "x", '{"key": 1}']))
            )
        for call in (lambda: Trajectory.load(path), lambda: _flow(checkpoint=path)):
            right, what = refused(call, str(path))
            tally.note(right, f"{k}: {what}")
    return tally


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


def malicious_files(folder: Path, rng: random.Random, tries: int) -> Tally:
    """Pickles with code, archives that unpack to everything: refused, and no code is run."""
    tally = Tally("malicious files: code in pickles, archives without end")
    mark = folder / "executed"
    train(config(), folder / "whole")
    for k in range(tries):
        copy = folder / "copy"
        shutil.copytree(folder / "whole", copy)
        checkpoint, data = copy / "checkpoint.pt", folder / "points.npz"
        kind = k % 4
        if kind == 0:
            checkpoint.write_bytes(pickle.dumps(_Evil(mark)))
        elif kind == 1:
            torch.save({"net": _Evil(mark), "state": {}, "optimizer": {}}, checkpoint)
        elif kind == 2:
            np.savez(data, x=np.array([_Evil(mark)], dtype=object), y=np.array([1]))
        else:
            _bomb(data, rng.randrange(10, 13))
        target = str(copy if kind < 2 else data)
        read = lambda: train(config(data=str(data), data_options={}), folder / "new")  # noqa: B023, E731
        right, what = refused((lambda: load_run(copy)) if kind < 2 else read, target)  # noqa: B023
        new = (folder / "new").exists()
        tally.note(right and not mark.exists() and not new, f"kind {kind}: {what}")
        shutil.rmtree(copy)
        if kind >= 2:
            right, what = refused(lambda: Trajectory.load(data), str(data))  # noqa: B023
            tally.note(right and not mark.exists(), f"trajectory, kind {kind}: {what}")
    return tally


def _bomb(path: Path, exponent: int) -> None:
    """An archive whose array claims 10^exponent numbers."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**exponent},), }}".encode()
    head += b" " * (117 - len(head)) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x.npy", "y.npy", "head.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)


def full_disk(folder: Path, rng: random.Random, tries: int) -> Tally:
    """No space from a random write on: what was saved stays, and the run goes on from it."""
    tally = Tally("a full disk at a random write")
    chosen = config(steps=30)
    train(chosen, folder / "whole")
    truth, fsync = result(folder / "whole"), os.fsync
    for k in range(tries):
        path, left = folder / f"full{k}", rng.randrange(0, 40)

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        os.fsync = full
        try:
            right, what = refused(
                lambda: train(chosen, path, checkpoint_seconds=0.0),  # noqa: B023
                str(path),
            )
        finally:
            os.fsync = fsync
        over = left >= 0  # the run ended first
        tally.note(right or over, what)
        train(chosen, path)
        tally.note(same(truth, result(path)), f"resumed after {k}")
    return tally


def two_processes(folder: Path, rng: random.Random, tries: int) -> Tally:
    """Two at once in one folder: one is refused, and the run is that of one alone."""
    tally = Tally("two processes in one folder")
    chosen = config(steps=200)
    train(chosen, folder / "whole")
    truth = result(folder / "whole")
    for k in range(tries):
        path = folder / f"both{k}"
        other = _child(lambda: train(chosen, path, checkpoint_seconds=0.0))  # noqa: B023
        time.sleep(rng.uniform(0.0, 0.2))
        try:
            train(chosen, path)
            right, what = True, ""
        except MirrorFlowError as error:
            right, what = "another process works in" in str(error), str(error)
        except BaseException as error:
            right, what = False, repr(error)
        other.join()
        train(chosen, path)
        tally.note(right and same(truth, result(path)), what)
    return tally


def replaced_data(folder: Path, rng: random.Random, tries: int) -> Tally:
    """One number of the user's file changes: every command that reads the run says so."""
    tally = Tally("data of a run that were replaced")
    data = folder / "points.npz"
    x = np.random.default_rng(0).normal(size=(30, 3))
    y = np.where(x[:, 0] > 0, 1, -1)
    np.savez(data, x=x, y=y)
    chosen = config(data=str(data), data_options={})
    train(chosen, folder / "run")
    truth = content(folder / "run")
    for _ in range(tries):
        other, labels = x.copy(), y.copy()
        k = rng.randrange(len(x))
        if rng.random() < 0.5:
            other[k, rng.randrange(3)] += 2.0 ** -rng.randrange(1, 40)
        else:
            labels[k] *= -1
        np.savez(data, x=other, y=labels)
        for call in (lambda: train(chosen, folder / "run"), lambda: load_run(folder / "run")):
            right, what = refused(call, "points.npz now has fingerprint")
            tally.note(right and content(folder / "run") == truth, what)
    np.savez(data, x=x, y=y)
    tally.note(load_run(folder / "run").outcome == "steps", "the data put back")
    return tally


BATTERIES = (
    *(bit_flips, broken_files, replaced_data, malicious_files, full_disk, two_processes),
    *(kills, sweep_kills, flow_kills, flow_files),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| battery | tried | wrong |\n|---|---|---|")
    wrong = 0
    for battery in BATTERIES:
        with tempfile.TemporaryDirectory() as folder:
            tally = battery(Path(folder), random.Random(given.seed), given.tries)
        print(f"| {tally.name} | {tally.tried} | {tally.wrong} |", flush=True)
        for example in tally.examples:
            print(f"  {example}", file=sys.stderr)
        wrong += tally.wrong
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""Checkpoints of a running flow: a killed call continues bit for bit where it stood."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.errors import RunError
from mirrorflow.files import is_temporary
from mirrorflow.flow.record.arrays_file import read_arrays, write_arrays
from mirrorflow.flow.record.kkt_residual import Residual
from mirrorflow.flow.record.recorder import Recorder
from mirrorflow.flow.steppers.base import Position

_STALE = 600.0  # seconds after which what a killed write has left is removed
_NUMBERS = ("rho", "log_t", "log_log_t", "h", "error", "steps", "ceiling", "rise")


def fingerprint(settings: Mapping[str, Any], *arrays: Array) -> str:
    """A hash of everything that decides the flow."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for a in arrays:
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


class Checkpoint:
    """One file, replaced atomically every `interval` seconds."""

    def __init__(self, path: str | os.PathLike[str], key: str, interval: float = 30.0) -> None:
        self.path, self.key, self.interval = Path(path), key, interval
        # An hour of integration must not end at a name that cannot be written.
        if not self.path.parent.is_dir():
            raise RunError(f"checkpoint = {path}: the folder {self.path.parent} does not exist")
        if self.path.exists() and not self.path.is_file():
            raise RunError(f"checkpoint = {path} is no ordinary file; choose another name")
        of_own = {self.path.name}
        for left in self.path.parent.iterdir():
            if is_temporary(left.name, of_own) and _age(left) > _STALE:
                left.unlink(missing_ok=True)
        self.saved = time.monotonic()

    def due(self) -> bool:
        """True if the last save is older than the interval."""
        return time.monotonic() - self.saved >= self.interval

    def save(self, position: Position, recorder: Recorder, counts: Mapping[str, int]) -> None:
        """Write the position, the rows so far and the counts."""
        numbers = {k: v for k, v in asdict(position).items() if k in _NUMBERS}
        head = {"key": self.key, "position": numbers, "counts": dict(counts)}
        rows = {
            f"row_{name}": np.array([row[name] for row in recorder.rows])
            for name in recorder.rows[0]
        }
        start, unit = recorder.initial if recorder.initial is not None else (np.zeros(0), 0.0)
        latest = recorder.latest
        extra = {
            "x": position.x,
            "u": position.u,
            "p": np.zeros(0) if position.p is None else position.p,
            "balance": start,
            "numbers": np.array([unit, latest.gap, latest.epsilon, latest.delta, latest.slack]),
        }
        write_arrays(self.path, {**rows, **extra}, head, compressed=False)
        self.saved = time.monotonic()

    def load(self, recorder: Recorder) -> tuple[Position, dict[str, int]] | None:
        """The position to continue from, with the recorder filled; None if there is no file.

        Raises:
            RunError: the file is corrupt, or belongs to another flow.
        """
        if not self.path.exists():
            return None
        data, head = read_arrays(self.path, "is no checkpoint of a flow")
        if head.get("key") != self.key:
            raise RunError(
                f"{self.path} is the checkpoint of another flow (other net, data or settings); "
                "delete it or choose another file"
            )
        try:
            return self._position(data, head, recorder)
        except (KeyError, IndexError, TypeError, ValueError) as cause:
            raise RunError(
                f"{self.path} is no whole checkpoint of a flow ({type(cause).__name__}: {cause}); "
                "delete it or choose another file"
            ) from cause

    @staticmethod
    def _position(
        data: dict[str, Array], head: dict[str, Any], recorder: Recorder
    ) -> tuple[Position, dict[str, int]]:
        names = [name for name in data if name.startswith("row_")]
        count = len(data[names[0]])
        recorder.rows = [{n[4:]: data[n][k] for n in names} for k in range(count)]
        unit, *numbers = (float(v) for v in data["numbers"])
        recorder.latest = Residual(*numbers)
        recorder.initial = (data["balance"], unit) if data["balance"].size else None
        p = data["p"] if data["p"].size else None
        position = Position(x=data["x"], u=data["u"], p=p, **head["position"])
        return position, head["counts"]

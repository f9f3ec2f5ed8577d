"""The folder of a run: configuration, manifest, metrics, checkpoint, log."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mirrorflow import __version__
from mirrorflow.errors import RunError
from mirrorflow.files import make_folder, write_atomic, write_text
from mirrorflow.experiments.config import RunConfig

__all__ = ["FORMAT", "RunFolder", "surroundings"]

FORMAT = 1
"""Version of the folder's layout; another one is refused, not guessed at."""

_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)


class RunFolder:
    """`config.toml`, `manifest.json`, `metrics.parquet`, `checkpoint.pt`, `log.txt` of one run.

    Contract: every file but the log is replaced atomically; a folder of another layout, or of
    another configuration, is refused and left untouched. With `writes=False` (another process of
    the run writes) nothing is written, opened or locked.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True) -> None:
        self.path, self.writes = Path(path), writes
        self.config_path = self.path / "config.toml"
        self.manifest_path = self.path / "manifest.json"
        self.metrics_path = self.path / "metrics.parquet"
        self.checkpoint_path = self.path / "checkpoint.pt"

    def open(self, config: RunConfig) -> None:
        """Make the folder for `config`, or find it made for the same one.

        Raises:
            RunError: it cannot be written, has another layout or another configuration.
        """
        if self.manifest_path.exists():
            self.manifest()
            self._same(config)
            return
        if self.path.exists() and self.path.is_dir() and any(self.path.iterdir()):
            names = {p.name for p in self.path.iterdir()} - {"config.toml", ".lock"}
            if any(not name.startswith(".") for name in names):
                raise RunError(
                    f"{self.path} is not empty and no run folder (it has {sorted(names)[:5]}); "
                    "choose a new folder"
                )
        make_folder(self.path)
        write_text(self.config_path, config.to_toml())
        self.write_manifest(
            {
                "format": FORMAT,
                "outcome": "running",
                **surroundings(config.seed),
                "seconds": 0.0,
                "evaluation_seconds": 0.0,
            }
        )

    def _same(self, config: RunConfig) -> None:
        saved, wanted = self.config().to_dict(), config.to_dict()
        differ = {k: (saved[k], wanted[k]) for k in saved if saved[k] != wanted[k]}
        if differ:
            changes = "; ".join(f"{k}: {a!r} there, {b!r} now" for k, (a, b) in differ.items())
            raise RunError(
                f"{self.path} holds a run of another configuration ({changes}); choose another "
                "folder, or the same configuration to resume it"
            )

    def config(self) -> RunConfig:
        """The configuration that the folder was made for."""
        return RunConfig.read(self.config_path)

    def manifest(self) -> dict[str, Any]:
        """The manifest, its layout checked.

        Raises:
            RunError: there is none, it is corrupt, or of another version.
        """
        try:
            found: dict[str, Any] = json.loads(self.manifest_path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(
                f"{self.path} is no run folder, its manifest.json cannot be read ({error}); pass "
                "the folder that was --out of mirrorflow train"
            ) from error
        if found.get("format") != FORMAT:
            raise RunError(
                f"{self.path} was written with layout {found.get('format')!r} by mirrorflow "
                f"{found.get('mirrorflow', 'of an unknown version')}; this version reads layout "
                f"{FORMAT}. Use that version, or choose another folder"
            )
        return found

    def write_manifest(self, values: dict[str, Any]) -> None:
        """Replace the manifest."""
        if self.writes:
            write_text(self.manifest_path, json.dumps(values, indent=2) + "\n")

    def update_manifest(self, **values: Any) -> None:
        """Change some fields of the manifest."""
        if self.writes:
            self.write_manifest({**self.manifest(), **values})

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace the metrics by `rows`, one row a measurement."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.writes:
            return
        table = pa.Table.from_pylist(rows)
        write_atomic(self.metrics_path, lambda file: pq.write_table(table, file))

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.parquet`."""
        import pyarrow.parquet as pq

        if not self.metrics_path.exists():
            raise RunError(f"{self.path} has no metrics yet; let the run reach its first one")
        with self.metrics_path.open("rb") as file:
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.writes:
            write_atomic(self.checkpoint_path, lambda file: torch.save(state, file))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint, loaded without running code from it; None if there is none.

        Raises:
            RunError: it is corrupt.
        """
        if not self.checkpoint_path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.checkpoint_path, weights_only=True)
        except _UNREADABLE as error:
            raise RunError(
                f"{self.checkpoint_path} cannot be read ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); restore it, or remove it to start again"
            ) from error
        return state

    def log(self, line: str) -> None:
        """Append a line with the time to `log.txt`; what cannot be logged stops nothing."""
        if not self.writes:
            return
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with (self.path / "log.txt").open("a") as file:
                file.write(f"{stamp} {line}\n")
        except OSError:
            pass

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out; the lock dies with its owner.

        Raises:
            RunError: another process works in the folder.
        """
        if not self.writes:
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"another process works in {self.path}; wait for it or choose another folder"
                ) from error
            yield


def surroundings(seed: int) -> dict[str, Any]:
    """Versions, seed, commit and machine: what a number may depend on."""
    return {
        "mirrorflow": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seed": seed,
        "git": _git_state(),
        "host": {
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git_state() -> str | None:
    """Commit of the source tree, with "+changes" where it differs; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", here, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if dirty else "")

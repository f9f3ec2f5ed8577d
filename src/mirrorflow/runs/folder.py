"""The folder of a run: configuration, manifest, metrics, checkpoint, log."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import pickle
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch

from mirrorflow import __version__
from mirrorflow.checks import as_flag, as_path
from mirrorflow.errors import RunError
from mirrorflow.files import (
    FORMAT,
    check_seal,
    is_temporary,
    make_folder,
    read_json,
    remove_temporaries,
    sha256,
    write_atomic,
    write_json,
    write_text,
)
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.state import RunState
from mirrorflow.runs.tables import read_rows, write_rows

__all__ = [
    "ENDED",
    "RunFolder",
    "check_claim",
    "claim",
    "locked",
    "surroundings",
]

ENDED = ("reached", "steps", "not_separated")
"""Outcomes of a run that is over."""

_UNREADABLE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(IndexError, MemoryError, pickle.UnpicklingError),
)
_FILES = ("config.toml", "manifest.json", "metrics.parquet", "checkpoint.pt", "tracked.json")


class RunFolder:
    """`config.toml`, `manifest.json`, `metrics.parquet`, `checkpoint.pt`, `log.txt` of one run.

    Contract: every file but the log is replaced atomically and has a checksum, so that no changed
    bit goes unseen; a folder of another layout, of another configuration or on other data is
    refused and left untouched. With `writes=False` (another process of the run writes) nothing is
    written, opened or locked.

    Where the checksums are: that of `config.toml` in the manifest, that of the manifest in itself,
    that of the checkpoint in its last line (see `files`), that of the metrics in the checkpoint,
    which is written after them.

    Raises:
        TypeError, ValueError: `path` is no path.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True) -> None:
        self.path, self.writes = as_path(path, "path"), as_flag(writes, "writes")
        self.config_path = self.path / "config.toml"
        self.manifest_path = self.path / "manifest.json"
        self.metrics_path = self.path / "metrics.parquet"
        self.checkpoint_path = self.path / "checkpoint.pt"
        self._metrics_sha = ""  # of the metrics that were written last

    @property
    def cure(self) -> str:
        """The command that runs what the folder holds, or the rest of it."""
        return f"mirrorflow train --config {self.config_path} --out {self.path}"

    def check(self, config: RunConfig, fingerprint: str | None = None) -> None:
        """Refuse a folder that is not that of this run; nothing is written.

        Args:
            config: of the run.
            fingerprint: of its data (see `data.fingerprint`), compared with the folder's.

        Raises:
            RunError: it is another run's, somebody else's, damaged or of another layout.
        """
        if self.manifest_path.exists() or self.manifest_path.is_symlink():
            manifest = self.manifest()
            self._same(config, same_data=fingerprint == _fingerprint(manifest) is not None)
            self.check_data(fingerprint, config.data)
            return
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path} is a file and no folder; choose a new folder")
        try:
            names = {p.name for p in self.path.iterdir()} - {"config.toml"}
        except OSError as error:
            raise RunError(f"{self.path} cannot be read ({error.strerror})") from error
        visible = sorted(name for name in names if not name.startswith("."))
        if visible:
            raise RunError(
                f"{self.path} is not empty and no run folder (it has {visible[:5]}); "
                "choose a new folder"
            )
        if self.config_path.exists() or self.config_path.is_symlink():
            # Left by a start that was killed before its manifest, or a file of the user's.
            try:
                same = self.config_path.read_text() == config.to_toml()
            except (OSError, ValueError):
                same = False
            if not same:
                raise RunError(
                    f"{self.config_path} is there already, without a run and with other content; "
                    "choose a new folder, or move that file away"
                )

    def open(self, config: RunConfig, fingerprint: str | None = None) -> None:
        """Make the folder for `config` on these data, or find it made for the same.

        Args:
            config: of the run.
            fingerprint: see `check`.

        Raises:
            RunError: it cannot be written, or see `check`.
        """
        self.check(config, fingerprint)
        if not self.writes:
            return
        if not self.manifest_path.exists():
            make_folder(self.path)
            digest = write_text(self.config_path, config.to_toml())
            start = {"outcome": "running", **surroundings(config.seed)}
            times = {"seconds": 0.0, "evaluation_seconds": 0.0}
            known = _identity(config.data, fingerprint, digest)
            self.write_manifest({"kind": "run", **start, **times, **known})
            return
        manifest = self.manifest()
        over = manifest["outcome"] in ENDED and self.checkpoint_path.exists()
        if manifest.get("format") != FORMAT and not over:
            self._renew(manifest, config, fingerprint)

    def _renew(self, manifest: dict[str, Any], config: RunConfig, fingerprint: str | None) -> None:
        """Give a folder of layout 1, whose run goes on, its checksums; the manifest comes last, so
        that a kill on the way leaves a folder of layout 1."""
        known = _identity(config.data, fingerprint, sha256(self.config_path))
        saved = self.load_checkpoint()
        if saved is not None:
            self.write_metrics(saved["state"]["rows"])
            self._write_checkpoint({**saved, "run": known["run"]})
        self.write_manifest({**manifest, **known, "kind": "run", "format": FORMAT})
        self.log("written by an earlier version: fingerprint of the data and checksums added")

    def _same(self, config: RunConfig, *, same_data: bool) -> None:
        saved, wanted = self.config().to_dict(), config.to_dict()
        differ = {k: (saved[k], wanted[k]) for k in saved if saved[k] != wanted[k]}
        if same_data or os.path.abspath(saved["data"]) == wanted["data"]:
            differ.pop("data", None)  # where a file lies is no part of the run
        if differ:
            changes = "; ".join(f"{k}: {a!r} there, {b!r} now" for k, (a, b) in differ.items())
            raise RunError(
                f"{self.path} holds a run of another configuration ({changes}); choose another "
                "folder, or the same configuration to resume it"
            )

    def check_data(self, fingerprint: str | None, source: str) -> None:
        """Refuse to go on with other data than the run has seen.

        Args:
            fingerprint: of the data as they are now; None compares nothing.
            source: where they come from, for the message.

        Raises:
            RunError: the run saw others.
        """
        seen = _fingerprint(self.manifest())
        if fingerprint is None or seen is None or fingerprint == seen:
            return
        raise RunError(
            f"the data of {self.path} have changed: {source} now has fingerprint "
            f"{fingerprint[:12]}, the run was trained on {seen[:12]}. Put back the data that it "
            "was trained on, or train on the new ones in another folder (--out)"
        )

    def config(self) -> RunConfig:
        """The configuration that the folder was made for.

        Raises:
            RunError: it is missing, damaged or not as it was written.
        """
        manifest = self.manifest()
        wanted = manifest.get("config_sha256")
        try:
            content = sha256(self.config_path)
        except OSError as error:
            raise RunError(
                f"{self.config_path} cannot be read ({error.strerror}); restore it, or train "
                "again in another folder"
            ) from error
        if wanted is not None and content != wanted:
            raise RunError(
                f"{self.config_path} was changed or damaged after the run was made: its SHA-256 is "
                f"{content[:12]}, the manifest says {str(wanted)[:12]}. Restore it, or train the "
                f"changed one in a new folder: mirrorflow train --config {self.config_path} "
                "--out NEW"
            )
        try:
            return RunConfig.read(self.config_path)
        except (TypeError, ValueError) as error:
            raise RunError(
                f"{self.config_path} is no configuration of a run ({error}); restore it, or train "
                "again in another folder"
            ) from error

    def manifest(self) -> dict[str, Any]:
        """The manifest, its layout and its checksum compared.

        Raises:
            RunError: there is none, it is damaged, of another layout, or not that of a run.
        """
        if not self.manifest_path.exists() and not self.manifest_path.is_symlink():
            raise RunError(
                f"{self.path} is no run folder, it has no manifest.json; pass the folder that was "
                "--out of mirrorflow train"
            )
        found = read_json(
            self.manifest_path,
            f"{self.path} is no run folder, or a damaged one: its manifest",
            "restore it, or train again in another folder",
        )
        kind = found.get("kind", "run")
        if kind != "run":
            raise RunError(
                f"{self.path} is the folder of mirrorflow {kind}, not of one run; pass the folder "
                "of a run, or choose another folder"
            )
        missing = sorted({"outcome", "seconds", "host", "started"} - set(found))
        if missing:
            raise RunError(
                f"{self.manifest_path} is no manifest of a run: it has no {missing}; restore it, "
                "or train again in another folder"
            )
        return found

    def write_manifest(self, values: dict[str, Any]) -> None:
        """Replace the manifest."""
        if self.writes:
            write_json(self.manifest_path, values)

    def update_manifest(self, **values: Any) -> None:
        """Change some fields of the manifest."""
        if self.writes:
            self.write_manifest({**self.manifest(), **values})

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace the metrics by `rows`, one row a measurement."""
        if self.writes:
            self._metrics_sha = write_rows(self.metrics_path, rows)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.parquet`.

        Raises:
            RunError: there are none, or they are damaged.
        """
        if not self.metrics_path.exists():
            raise RunError(
                f"{self.metrics_path} is not there; run {self.cure}, which writes the metrics from "
                "the checkpoint, or goes on to the first ones"
            )
        return read_rows(self.metrics_path, "the metrics", self._metrics_cure)

    @property
    def _metrics_cure(self) -> str:
        return f"remove it and run {self.cure}, which writes it again from the checkpoint"

    def check_metrics(self, saved: dict[str, Any]) -> bool:
        """Compare `metrics.parquet` with a checkpoint.

        Returns:
            False if it is not there.

        Raises:
            RunError: it is not the file that was written with the checkpoint, nor, after a kill
                between the two, a later one of the same run.
        """
        if not self.metrics_path.exists():
            return False
        try:
            same = sha256(self.metrics_path) == saved.get("metrics", "")
        except OSError as error:
            raise RunError(
                f"the metrics {self.metrics_path} cannot be read ({error.strerror}); "
                f"{self._metrics_cure}"
            ) from error
        ahead = [_canonical(row) for row in ([] if same else self.metrics())]
        written = [_canonical(row) for row in saved["state"]["rows"]]
        later = self.manifest()["outcome"] not in ENDED or "metrics" not in saved
        if not same and not (later and ahead[: len(written)] == written):
            raise RunError(
                f"the metrics {self.metrics_path} were changed or damaged: they are not those of "
                f"the checkpoint (SHA-256); {self._metrics_cure}"
            )
        return True

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; it names its run and holds the checksum of the metrics."""
        if self.writes:
            self._write_checkpoint({**state, "run": self.manifest().get("run")})

    def _write_checkpoint(self, state: dict[str, Any]) -> None:
        named = {**state, "metrics": self._metrics_sha}
        write_atomic(self.checkpoint_path, lambda file: torch.save(named, file), seal=True)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint, loaded without running code from it; None if there is none.

        Raises:
            RunError: it is empty, half-written, damaged in any bit, or of another run.
        """
        path = self.checkpoint_path
        if not path.exists():
            return None
        manifest = self.manifest()

        def refuse(reason: str, cause: Exception | None = None) -> NoReturn:
            raise RunError(
                f"{path} cannot be read ({reason}); restore it, or start this run again from the "
                f"beginning: remove that file and run {self.cure}"
            ) from cause

        try:
            sealed = check_seal(path)
        except (OSError, ValueError) as error:
            refuse(getattr(error, "strerror", None) or str(error), error)
        if not sealed and manifest.get("format") == FORMAT:
            refuse("it is empty, half-written or another program's: its checksum is missing")
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except _UNREADABLE as error:
            first = str(error).strip().splitlines()
            refuse(f"{type(error).__name__}: {first[0] if first else 'damaged'}", error)
        parts = ("net", "optimizer", "state")
        if not isinstance(state, dict) or not all(isinstance(state.get(k), dict) for k in parts):
            refuse("it is no checkpoint of a run: net, optimizer and state are not all in it")
        fields, given = {f.name for f in dataclasses.fields(RunState)}, set(state["state"])
        if not {"step", "rows"} <= given <= fields or not isinstance(state["state"]["rows"], list):
            refuse(f"it is no checkpoint of a run: its state has {sorted(map(str, given))[:8]}")
        if sealed and state.get("run") != manifest.get("run", state.get("run")):
            refuse("it is the checkpoint of another run")
        return state

    def fit(self, load: Callable[[], object]) -> None:
        """Load what a checkpoint holds into the parts of the run.

        Raises:
            RunError: they are of another shape or kind.
        """
        try:
            load()
        except _UNREADABLE as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"{self.checkpoint_path} does not fit the run of {self.config_path} ({first}); "
                "restore it, or start this run again from the beginning: remove that file and run "
                f"{self.cure}"
            ) from error

    def log(self, line: str) -> None:
        """Append a line with the time to `log.txt`; what cannot be logged stops nothing."""
        if not self.writes:
            return
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        # Not through a link, and not waiting for the reader of a pipe.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with open(os.open(self.path / "log.txt", flags, 0o666), "a") as file:
                file.write(f"{stamp} {line}\n")
        except OSError:
            pass

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out, and remove what killed writes have left; the lock dies with
        its owner. The folder is made if need be.

        Raises:
            RunError: another process works in the folder, or it cannot be written.
        """
        if not self.writes:
            yield
            return
        with locked(self.path):
            remove_temporaries(self.path, _FILES)
            yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock of a folder, which is made if need be; it dies with its owner.

    Raises:
        RunError: another process works in the folder, or it cannot be written.
    """
    make_folder(path)
    try:
        # Not through a link: the file behind it may be anything.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(path / ".lock", flags, 0o666)
    except OSError as error:
        raise RunError(
            f"{path / '.lock'} cannot be opened ({error.strerror}); remove it, or choose another "
            "folder"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"another process works in {path}; wait for it or choose another folder"
            ) from error
        yield
    finally:
        os.close(handle)


def claim(
    path: Path,
    kind: str,
    known: tuple[str, ...],
    *,
    source: str = "",
    fingerprint: str | None = None,
) -> None:
    """Make `path` the folder of a command, or find it made by the same one.

    A folder of an earlier version has no manifest; it is known by what it holds.

    Args:
        path: the folder.
        kind: the command, such as "sweep".
        known: names that the command writes, the first of which it always has.
        source: of the data that all that is in the folder was made from, if it is a file.
        fingerprint: of these data.

    Raises:
        RunError: it is a file, holds something else, or was made from other data; nothing is
            written then.
    """
    check_claim(path, kind, known)
    manifest = path / "manifest.json"
    if not manifest.exists():
        make_folder(path)
        about = {"source": source, "fingerprint": fingerprint}
        write_json(manifest, {"kind": kind, **surroundings(0), "data": about})
        return
    data = read_json(manifest, "the manifest", "restore it, or choose another folder").get("data")
    data = data if isinstance(data, dict) else {}
    seen = data.get("fingerprint")
    if seen is None or fingerprint is None or seen == fingerprint:
        return
    raise RunError(
        f"the data of {path} have changed: {source} now has fingerprint {fingerprint[:12]}, "
        f"what is there was made from {seen[:12]} ({data.get('source')}). Put back those "
        "data, or choose another folder"
    )


def check_claim(path: Path, kind: str, known: tuple[str, ...]) -> None:
    """See `claim`; nothing is written.

    Raises:
        RunError: see `claim`.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file and no folder; choose a new folder")
    manifest = path / "manifest.json"
    if manifest.exists() or manifest.is_symlink():
        found = read_json(manifest, "the manifest", "restore it, or choose another folder")
        owner = found.get("kind", "train" if "outcome" in found else "something else")
        owner = "train" if owner == "run" else owner
        if owner != kind:
            raise RunError(
                f"{path} is the folder of mirrorflow {owner}, not of mirrorflow {kind}; choose "
                "another folder"
            )
        return
    try:
        names = {p.name for p in path.iterdir()}
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    visible = sorted(n for n in names if not n.startswith(".") and not is_temporary(n))
    # A start that was killed at once leaves folders without anything in them.
    empty = all((path / n).is_dir() and not any((path / n).iterdir()) for n in visible)
    if set(visible) - set(known) or not (empty or known[0] in visible):
        raise RunError(
            f"{path} is not empty and not the folder of mirrorflow {kind} (it has {visible[:5]}); "
            "choose a new folder"
        )


def _fingerprint(manifest: dict[str, Any]) -> str | None:
    """Of the data that a run has seen; None in folders of layout 1."""
    data = manifest.get("data")
    found = data.get("fingerprint") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def _identity(source: str, fingerprint: str | None, config_sha256: str) -> dict[str, Any]:
    """What of a manifest says which run it is."""
    run = hashlib.sha256(f"{config_sha256} {fingerprint}".encode()).hexdigest()
    data = {"source": source, "fingerprint": fingerprint}
    return {"data": data, "config_sha256": config_sha256, "run": run}


def _canonical(row: dict[str, Any]) -> str:
    """A row of the metrics as text; Parquet has one type a column and an entry in each."""
    numbers = {k: float(v) if isinstance(v, int) else v for k, v in row.items() if v is not None}
    return json.dumps(numbers, sort_keys=True)


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

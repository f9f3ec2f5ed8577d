"""Fetching the vision sets: from each address in turn, kept only if the sha256 is right."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_function
from mirrorflow.data.files import VisionFile, VisionSet, cache_folder, check_file, find, locate
from mirrorflow.errors import DataError, MissingExtraError

__all__ = ["fetch"]

_Progress = Callable[[str, int, int], None]


def fetch(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    progress: _Progress | None = None,
) -> list[Path]:
    """Bring the files of a set into the data folder; what is there already is checked and kept.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        data_dir: the data folder; None is `$MIRRORFLOW_DATA`, else the user's cache.
        progress: called with (file, bytes so far, bytes in all).

    Returns:
        The paths of all files of the set.

    Raises:
        DataError: no address gave the published file, or the folder cannot be written; the
            message lists each address with what went wrong.
        TypeError, ValueError: unknown name, not a path, or a `progress` that cannot be called.
        MissingExtraError: pooch is not installed.
    """
    if progress is not None:
        as_function(progress, "progress", "(file, bytes so far, bytes in all)")
    chosen = find(name)
    there = locate(chosen, data_dir)
    for file in chosen.files:
        if file.name in there:
            check_file(there[file.name], file)
    absent = [file for file in chosen.files if file.name not in there]
    folder = cache_folder(data_dir) / chosen.folder
    if there and absent:
        folder = next(iter(there.values())).parent
    if absent:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if chosen.archive is None:
                for file in absent:
                    _retrieve(file, folder, progress)
            else:
                _unpack(chosen, chosen.archive, folder, absent, progress)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error}); choose another folder with --data-dir or "
                "MIRRORFLOW_DATA"
            ) from error
    return [there.get(file.name, folder / file.name) for file in chosen.files]


def _retrieve(file: VisionFile, folder: Path, progress: _Progress | None) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError(
            'fetching needs pooch; pip install "mirrorflow[experiments]"'
        ) from error
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in file.urls:
        bar = _Bar(file.name, progress) if progress else False
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=bar, timeout=30),
            )
            return folder / file.name
        # requests' exceptions are OSErrors, a wrong hash is a ValueError.
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {' '.join(str(error).split())[:200]}")
    raise DataError(
        f"{file.name} could not be fetched ({'; '.join(failures)}). Without a network, put the "
        f"file into {folder} yourself; its sha256 is {file.sha256}"
    )


def _unpack(
    chosen: VisionSet,
    archive: VisionFile,
    folder: Path,
    absent: list[VisionFile],
    progress: _Progress | None,
) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        packed = _retrieve(archive, Path(scratch), progress)
        last = chosen.folder.rsplit("/", 1)[-1]
        with tarfile.open(packed) as tar:
            for file in absent:
                try:
                    member = tar.extractfile(f"{last}/{file.name}")
                except KeyError:
                    member = None
                if member is None:
                    raise DataError(f"{archive.name} holds no file {last}/{file.name}")
                # The name is ours, so a member cannot land outside of the folder.
                unpacked = Path(scratch) / file.name
                unpacked.write_bytes(member.read())
                check_file(unpacked, file)
                os.replace(unpacked, folder / file.name)


class _Bar:
    """What pooch asks of a progress bar, passed on to a function."""

    def __init__(self, name: str, report: _Progress) -> None:
        self.name, self.report, self.done, self.total = name, report, 0, 0

    def update(self, size: int) -> None:
        self.done += size
        self.report(self.name, self.done, int(self.total))

    def reset(self, *_: Any) -> None:
        self.done = 0

    def close(self) -> None:
        pass

"""The file of a trajectory or of a checkpoint: named arrays and a JSON head in one `.npz`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mirrorflow.errors import RunError
from mirrorflow.flow.scaled import Array


def write_arrays(
    path: Path, arrays: Mapping[str, Array], head: Mapping[str, Any], *, compressed: bool = True
) -> None:
    """Write atomically: readers see the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            packed: dict[str, Any] = {"head": np.array(json.dumps(head)), **arrays}
            (np.savez_compressed if compressed else np.savez)(file, **packed)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The named arrays and the head.

    Raises:
        RunError: the file is missing, corrupt or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}, json.loads(str(file["head"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as cause:
        raise RunError(f"{path} does not hold a trajectory: {cause}") from cause

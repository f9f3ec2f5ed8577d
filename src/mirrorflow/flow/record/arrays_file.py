"""The file of a trajectory or of a checkpoint: named arrays and a JSON head in one `.npz`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.errors import RunError
from mirrorflow.files import check_seal, open_file, write_atomic

_SEALED = "sealed"  # in the head: that the file ends in a checksum
_MOST = 1 << 34  # bytes of all arrays, unpacked; a small file may claim to hold any number of them


def write_arrays(
    path: Path, arrays: Mapping[str, Array], head: Mapping[str, Any], *, compressed: bool = True
) -> None:
    """Write atomically, with a checksum: readers see the old file or the new one.

    Raises:
        RunError: it cannot be written, or the disk is full; the old file stays.
    """
    packed: dict[str, Any] = {"head": np.array(json.dumps({**head, _SEALED: True})), **arrays}
    save = np.savez_compressed if compressed else np.savez
    write_atomic(path, lambda file: save(file, **packed), seal=True)


def read_arrays(path: Path, refusal: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """All arrays of real numbers, and the head; no code in the file is run.

    Args:
        path: the file.
        refusal: what an error says of it, such as "does not hold a trajectory".

    Raises:
        RunError: the file is missing, damaged in any bit, or something else.
    """
    try:
        sealed = check_seal(path)
        with open_file(path) as raw:
            with zipfile.ZipFile(raw) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST:
                raise ValueError(f"its arrays would take {size} bytes")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        head = json.loads(str(found.pop("head")))
        if not isinstance(head, dict) or any(a.dtype.kind not in "fiub" for a in found.values()):
            raise ValueError("its head is no object, or an array holds no numbers")
        if head.pop(_SEALED, False) and not sealed:
            raise ValueError("its checksum is missing")
    except OSError as cause:
        reason = cause.strerror or str(cause)
        raise RunError(f"{path} {refusal}: it cannot be read ({reason})") from cause
    except Exception as cause:  # whatever NumPy, zip and zlib make of a damaged or foreign file
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise RunError(
            f"{path} {refusal}: it is empty, damaged or another program's ({reason}); "
            "restore it, or remove it to make it again"
        ) from cause
    return found, head

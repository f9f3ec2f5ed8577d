"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mirrorflow.errors import RunError

__all__ = ["make_folder", "write_atomic", "write_text"]


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` by what `write` puts into a file; on any failure the old file stays.

    Contract: the new content is on disk (fsync) before it takes the name, so that a kill or a
    full disk leaves either the old file or the new one.

    Raises:
        RunError: the folder cannot be written or the disk is full; nothing saved is lost.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_umask())
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(_cure(path, error)) from error
    except RuntimeError as error:
        # torch.save reports a failed write as a RuntimeError of its zip writer.
        raise RunError(
            f"{path} could not be written ({error}); is the disk full? What was saved before is "
            "untouched: free some space and run the same command again"
        ) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    # It can only be read by setting it. mkstemp's own mode would keep everybody else out.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """`write_atomic` for UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def make_folder(path: Path) -> None:
    """Create the folder, with parents.

    Raises:
        RunError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RunError(_cure(path, error)) from error


def _cure(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: {path} could not be written. What was saved before is untouched: "
            "free some space and run the same command again"
        )
    return f"{path} cannot be written ({error.strerror}); choose a folder that you may write to"

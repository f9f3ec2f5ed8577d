"""Files that are there whole or not at all, and that show when a bit of them has changed.

Three kinds. `write_atomic` replaces any file at once; with `seal=True` a last line of text holds
the SHA-256 of all bytes before it (readers of zip archives, `torch.load` and `numpy.load` among
them, pass over what follows an archive), so that content and checksum take the name together.
`write_json` puts the checksum into the JSON object itself. `read_bytes` opens ordinary files only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from mirrorflow.errors import RunError

__all__ = [
    "FORMAT",
    "check_seal",
    "is_temporary",
    "make_folder",
    "open_file",
    "read_bytes",
    "read_json",
    "remove_temporaries",
    "sha256",
    "write_atomic",
    "write_json",
    "write_text",
]

FORMAT = 2
"""Version of the layout of folders and records; 1 had no checksums and is read without them."""

_MARK = b"\nmirrorflow sha256 "
_SEAL = len(_MARK) + 64 + 1
_BLOCK = 1 << 20


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, seal: bool = False) -> str:
    """Replace `path` by what `write` puts into a file; on any failure the old file stays.

    Contract: the new content is on disk (fsync) before it takes the name, so that a kill or a
    full disk leaves either the old file or the new one.

    Args:
        path: the file.
        write: puts the content into a binary file.
        seal: append the line that `check_seal` compares.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        RunError: the folder cannot be written or the disk is full; nothing saved is lost.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
        )
        with os.fdopen(handle, "w+b") as file:
            os.fchmod(handle, 0o666 & ~_umask())
            write(file)
            if seal:
                content = _digest(file)
                file.write(_MARK + content.hexdigest().encode() + b"\n")
            file.flush()
            whole = _digest(file).hexdigest()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
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
    return str(whole)


def _digest(file: BinaryIO) -> Any:
    """The hash of what the file holds; it is left at its end."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest


def _umask() -> int:
    # It can only be read by setting it. mkstemp's own mode would keep everybody else out.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> str:
    """`write_atomic` for UTF-8 text."""
    return write_atomic(path, lambda file: file.write(text.encode()))


def open_file(path: Path) -> BinaryIO:
    """An ordinary file, open for reading.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device, which could block.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not an ordinary file")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path) -> bytes:
    """The content of an ordinary file.

    Raises:
        OSError: see `open_file`.
    """
    with open_file(path) as file:
        return file.read()


def sha256(path: Path) -> str:
    """Of an ordinary file, in hexadecimal digits.

    Raises:
        OSError: see `open_file`.
    """
    with open_file(path) as file:
        return str(_digest(file).hexdigest())


def check_seal(path: Path) -> bool:
    """Whether the file ends in a seal, which then holds.

    Raises:
        OSError: see `open_file`.
        ValueError: it has a seal, but its bytes are not those that were sealed.
    """
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        if size < _SEAL:
            return False
        file.seek(size - _SEAL)
        end = file.read()
        if not end.startswith(_MARK):
            return False
        file.seek(0)
        digest, left = hashlib.sha256(), size - _SEAL
        while left and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    if end != _MARK + digest.hexdigest().encode() + b"\n":
        raise ValueError("its SHA-256 is not the one that was written with it")
    return True


def write_json(path: Path, values: dict[str, Any]) -> str:
    """Replace the file by the values, with their checksum and the layout `FORMAT`."""
    return write_text(path, _sealed({"format": FORMAT, **values}))


def _sealed(values: dict[str, Any]) -> str:
    body = json.dumps(values, indent=1)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**values, "sha256": digest}, indent=1) + "\n"


def read_json(path: Path, what: str, cure: str) -> dict[str, Any]:
    """The values of a file of `write_json`, or of layout 1, which had no checksums.

    Args:
        path: the file.
        what: how an error calls it.
        cure: what an error says to do.

    Raises:
        RunError: it is missing, damaged, something else, or of another layout.
    """

    def refuse(reason: object, cause: Exception | None = None) -> NoReturn:
        raise RunError(f"{what} {path} cannot be read ({reason}); {cure}") from cause

    try:
        text = read_bytes(path).decode()
        found = json.loads(text)
    except OSError as error:
        refuse(error.strerror, error)
    except (ValueError, RecursionError) as error:
        refuse(f"it is empty, half-written or no JSON: {error}", error)
    if not isinstance(found, dict):
        refuse(f"it holds a {type(found).__name__}, not an object")
    layout = found.get("format", (found.get("key") or {}).get("format", 1) if _keyed(found) else 1)
    if layout not in (1, FORMAT) or isinstance(layout, bool):
        raise RunError(
            f"{path} was written with layout {layout!r} by mirrorflow "
            f"{found.get('mirrorflow', 'of an unknown version')}; this version reads layout "
            f"{FORMAT}. Use that version, or choose another folder"
        )
    if layout == FORMAT or "sha256" in found:
        digest = found.pop("sha256", None)
        if digest is None or _sealed(found) != text:
            refuse("it was changed or damaged: its SHA-256 is not the one written with it")
    return found


def _keyed(found: dict[str, Any]) -> bool:
    return isinstance(found.get("key"), dict)


def make_folder(path: Path) -> None:
    """Create the folder, with parents.

    Raises:
        RunError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".mirrorflow.", suffix=".tmp"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise RunError(_cure(path, error)) from error


def is_temporary(name: str, of: Collection[str] | None = None) -> bool:
    """Whether a file of that name is what a killed write of one of the files `of` has left."""
    found = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}(\.tmp)?", name)
    if found is None:
        return False
    if of is None:  # without a name to go by only those that end like ours
        return found[2] is not None
    return found[1] in of or (found[1] == "mirrorflow" and found[2] is not None)


def remove_temporaries(folder: Path, of: Collection[str] | None = None) -> None:
    """Remove what killed writes have left in a folder; call it under the folder's lock."""
    entries: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    for path in list(entries):
        if is_temporary(path.name, of) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def _cure(path: Path, error: OSError | ValueError) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: {path} could not be written. What was saved before is untouched: "
            "free some space and run the same command again"
        )
    reason = getattr(error, "strerror", None) or error
    if code in (errno.EEXIST, errno.ENOTDIR):
        return f"{path} cannot be written: a file stands where a folder is needed; choose another"
    if code == errno.ENOENT:
        return f"{path} cannot be written: there is no folder {path.parent}; create it first"
    return f"{path} cannot be written ({reason}); choose a folder that you may write to"

"""Builds mirror.cpp once per machine and keeps it where only its owner may write.

`torch.utils.cpp_extension` is not used: it takes half a minute for torch's headers, which the
kernel does not need, and its lock file blocks for ever if a building process was killed. Here the
library is compiled under a temporary name and renamed, so that no lock is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path

from mirrorflow.optim.kernels.recipe import FLAGS, HEADERS, SOURCE, compiler, packaged

__all__ = ["found", "library"]

# From the best to what every compiler knows; the first that compiles is taken.
VARIANTS = (
    "-march=native -mprefer-vector-width=512 -fopenmp",
    "-march=native -mprefer-vector-width=512 -fopenmp-simd",
    "-mcpu=native -fopenmp-simd",
    "",
)
SECONDS = 60
SWITCHED_OFF = "MIRRORFLOW_NO_KERNELS is set"
CURE = "Install a C++ compiler, or name one in CXX, or a folder of your own in MIRRORFLOW_CACHE"
_POSIX = hasattr(os, "geteuid")


@functools.cache
def found() -> ctypes.CDLL | str:
    """The compiled kernels, or why they cannot be had.

    A wheel with kernels has them inside. Else they are built, and the file lies in
    `$MIRRORFLOW_CACHE` (default `~/.cache/mirrorflow`), a folder that only its owner may enter,
    under a name made of the source, the flags and the processor, and of its own SHA-256, which is
    checked before it is loaded. `MIRRORFLOW_NO_KERNELS=1` switches kernels off.
    """
    if os.environ.get("MIRRORFLOW_NO_KERNELS"):
        return SWITCHED_OFF
    ready = packaged()
    if ready is not None:
        # Where it cannot be loaded (another OpenMP, another C library) one is built.
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(ready))
    try:
        return ctypes.CDLL(str(_built(compiler())))
    except (OSError, subprocess.SubprocessError, ValueError, RuntimeError) as error:
        return f"{_cause(error)}. {CURE}"


def library() -> ctypes.CDLL | None:
    """`found()`; None where it is a reason, of which the first call of a process warns."""
    kernels = found()
    if not isinstance(kernels, str):
        return kernels
    if kernels != SWITCHED_OFF:
        _tell(kernels)
    return None


@functools.cache
def _tell(reason: str) -> None:
    warnings.warn(
        f"optimizer steps are several times slower than they could be: {reason}, or pass "
        "compiled=False to do without",
        RuntimeWarning,
        stacklevel=3,
    )


def _cause(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        return f"{error.cmd[0]} ended with {error.returncode} ({said[0] if said else 'no message'})"
    return str(error)


def _built(compiler: list[str]) -> Path:
    """The library in the cache, verified; built where it is missing or damaged."""
    folder = _own_folder()
    stem = f"mirror-{_key(compiler)}-"
    for file in sorted(folder.glob(f"{stem}*.so")):
        if _is_whole(file):
            return file
        warnings.warn(
            f"{file} is damaged, or may be written by others; it is built anew",
            RuntimeWarning,
            stacklevel=4,
        )
        file.unlink()
    return _compile(compiler, folder, stem)


def _own_folder() -> Path:
    """The cache folder: ours, and nobody else may write there.

    Raises:
        PermissionError: it belongs to somebody else.
    """
    folder = Path(os.environ.get("MIRRORFLOW_CACHE") or Path.home() / ".cache" / "mirrorflow")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _POSIX:
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise PermissionError(
                f"the cache folder {folder} belongs to user {status.st_uid}, not to user "
                f"{os.geteuid()}: a library from there could run foreign code"
            )
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def _is_whole(file: Path) -> bool:
    """True if the file is ours alone and its bytes are those that its name promises."""
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        return False
    if _POSIX and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        return False
    return file.stem.rpartition("-")[2] == _digest(file)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32]


def _key(compiler: list[str]) -> str:
    parts = [
        SOURCE.read_text(),
        *(header.read_text() for header in HEADERS),
        FLAGS,
        *VARIANTS,
        *compiler,
        platform.platform(),
    ]
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():  # the binary is native: another processor in the same home needs its own
        lines = cpu.read_text().splitlines()
        parts += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: list[str], folder: Path, stem: str) -> Path:
    """Build under a temporary name, on the disk before it gets its own."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        built = Path(inner) / "mirror.so"
        for number, variant in enumerate(VARIANTS, start=1):
            command = [*compiler, *FLAGS.split(), *variant.split(), str(SOURCE), "-o", str(built)]
            last = number == len(VARIANTS)
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=last)
            if done.returncode == 0:
                break
        built.chmod(0o700)
        with built.open("rb+") as file:
            os.fsync(file.fileno())
        return built.replace(folder / f"{stem}{_digest(built)}.so")

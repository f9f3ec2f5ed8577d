"""Builds mirror.cpp once per machine and keeps it; where that fails there is no library.

`torch.utils.cpp_extension` is not used: it takes half a minute for torch's headers, which the
kernel does not need, and its lock file blocks for ever if a building process was killed. Here the
library is compiled under a temporary name and renamed, so that no lock is needed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["library"]

SOURCE = Path(__file__).with_name("mirror.cpp")
HEADERS = sorted(SOURCE.parent.glob("*.h"))
FLAGS = (
    "-O3 -std=c++17 -shared -fPIC -fno-math-errno -fno-trapping-math -ffp-contract=fast "
    "-Wno-ignored-attributes"
)
if platform.machine().lower() in {"x86_64", "amd64"}:
    # GCC 12 moves pairs of floats through MMX registers in the plain build and never clears them,
    # after which every x87 operation of the process is NaN: LAPACK's norms are such operations.
    FLAGS += " -mno-mmx"
# From the best to what every compiler knows; the first that compiles is taken.
VARIANTS = (
    "-march=native -mprefer-vector-width=512 -fopenmp",
    "-march=native -mprefer-vector-width=512 -fopenmp-simd",
    "-mcpu=native -fopenmp-simd",
    "",
)
SECONDS = 60


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None without a C++ compiler or a place to write.

    The file lies in `$MIRRORFLOW_CACHE` (default `~/.cache/mirrorflow`) under a name made of the
    source, the flags and the processor. `MIRRORFLOW_NO_KERNELS=1` switches kernels off.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None or os.environ.get("MIRRORFLOW_NO_KERNELS"):
        return None
    folder = Path(os.environ.get("MIRRORFLOW_CACHE", Path.home() / ".cache" / "mirrorflow"))
    target = folder / f"mirror-{_key(compiler)}.so"
    try:
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _compile(compiler, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError):
        return None


def _key(compiler: str) -> str:
    parts = [
        SOURCE.read_text(),
        *(header.read_text() for header in HEADERS),
        FLAGS,
        *VARIANTS,
        compiler,
        platform.platform(),
    ]
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():  # the binary is native: another processor in the same home needs its own
        lines = cpu.read_text().splitlines()
        parts += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        for number, variant in enumerate(VARIANTS, start=1):
            command = [compiler, *FLAGS.split(), *variant.split(), str(SOURCE), "-o", str(built)]
            last = number == len(VARIANTS)
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=last)
            if done.returncode == 0:
                break
        built.replace(target)

"""How the kernels are compiled, for this machine or for a wheel.

The build of the wheel loads this file by itself: it imports nothing of mirrorflow, nor torch.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["FLAGS", "HEADERS", "SOURCE", "compiler", "make_portable", "packaged"]

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "mirror.cpp"
DISPATCH = FOLDER / "dispatch.cpp"
HEADERS = sorted(FOLDER.glob("*.h"))
FLAGS = (
    "-O3 -std=c++17 -shared -fPIC -fno-math-errno -fno-trapping-math -ffp-contract=fast "
    "-Wno-ignored-attributes"
)
X86 = platform.machine().lower() in {"x86_64", "amd64"}
if X86:
    # GCC 12 moves pairs of floats through MMX registers in the plain build and never clears them,
    # after which every x87 operation of the process is NaN: LAPACK's norms are such operations.
    FLAGS += " -mno-mmx"
LEVELS = {
    "plain": "",
    "avx2": "-mavx2 -mfma",
    "avx512": "-mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512",
}
# The newest version of a symbol of glibc that a wheel for manylinux_2_28 may ask for.
NEWEST_GLIBC = (2, 28)
# Functions that glibc 2.29 has anew, with another errno only: the old ones are asked for.
RENEWED = ("exp", "exp2", "log", "log2", "pow")


def compiler() -> list[str]:
    """The command of the compiler, which may have words before it (`ccache g++`).

    Raises:
        FileNotFoundError: there is none.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return named
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        raise FileNotFoundError("there is no C++ compiler (c++ or g++)")
    return [found]


def packaged() -> Path | None:
    """The library that came with the wheel, if it is of these sources and for this platform."""
    file = FOLDER / _portable_name()
    return file if X86 and sys.platform == "linux" and file.exists() else None


def _portable_name() -> str:
    parts = [SOURCE, DISPATCH, *HEADERS]
    text = "\n".join([FLAGS, *LEVELS.values(), *(file.read_text() for file in parts)])
    return f"mirror-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"


def make_portable(folder: Path) -> Path:
    """One library for every x86-64 processor and every Linux with glibc 2.28, for a wheel.

    OpenMP's functions stay open: they are found in the runtime that torch has loaded, so that there
    is one pool of threads.

    Raises:
        RuntimeError: the library would ask for more than such a Linux has, or code of one level
            could be taken for that of another.
    """
    command, common = compiler(), [*FLAGS.replace("-shared ", "").split(), "-c"]
    library = folder / _portable_name()
    with tempfile.TemporaryDirectory() as inner:
        objects = [Path(inner) / "dispatch.o"]
        _run([*command, *common, str(DISPATCH), "-o", str(objects[0])])
        old = Path(inner) / "old.h"
        old.write_text("".join(f'__asm__(".symver {f},{f}@GLIBC_2.2.5");\n' for f in RENEWED))
        for level, flags in LEVELS.items():
            built = Path(inner) / f"{level}.o"
            more = ["-fopenmp", f"-DMIRROR_LEVEL=_{level}", "-include", str(old), *flags.split()]
            _run([*command, *common, *more, str(SOURCE), "-o", str(built)])
            weak = [line for line in _run(["nm", "-C", str(built)]).splitlines() if " W " in line]
            if weak:
                raise RuntimeError(f"{level} shares functions with the other levels: {weak}")
            objects.append(built)
        _run([*command, "-shared", "-static-libgcc", "-s", *map(str, objects), "-o", str(library)])
    _check_symbols(library)
    return library


def _check_symbols(library: Path) -> None:
    for word in _run(["readelf", "-V", "--wide", str(library)]).split():
        if word.startswith("GLIBC_"):
            version = tuple(int(part) for part in word.removeprefix("GLIBC_").split("."))
            if version[:2] > NEWEST_GLIBC:
                raise RuntimeError(f"the library asks for {word}, newer than {NEWEST_GLIBC}")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout

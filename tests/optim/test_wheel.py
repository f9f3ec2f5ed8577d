"""The library of the wheel: every level of processors, what it asks of a system, who takes it."""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from mirrorflow import maps
from mirrorflow.optim.kernels import Options, build, fused, fused_sizes, fused_step, recipe

portable = pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() != "x86_64"
    or None in (shutil.which("g++"), shutil.which("readelf")),
    reason="the wheel with kernels is made by g++ and binutils on x86-64 Linux",
)
MAPS = [
    maps.Power(1.5),
    maps.Power(4),
    maps.Power(2.7),
    maps.HyperbolicEntropy(0.1),
    maps.Cosh(0.5),
    maps.Exponential(),
    maps.DoubleExponential(),
    maps.Mixed(4.0),
]


class Level:
    """The functions of one level under their plain names."""

    def __init__(self, library, level):
        self.library, self.level = library, level

    def __getattr__(self, name):
        return getattr(self.library, f"{name}_{self.level}")


def can_run(level):
    flags = Path("/proc/cpuinfo").read_text().split()
    needed = {"plain": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512dq", "avx512vl"]}
    return set(needed[level]) <= set(flags)


def test_a_library_of_other_sources_is_not_taken(monkeypatch, tmp_path):
    """The name says of which sources it is."""
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    monkeypatch.setattr(recipe, "X86", True)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "mirror-0123456789abcdef.so").write_bytes(b"of other sources")
    assert recipe.packaged() is None
    (tmp_path / recipe._portable_name()).write_bytes(b"of these")
    assert recipe.packaged() == tmp_path / recipe._portable_name()


def test_what_the_wheel_holds_is_in_the_source_distribution():
    """A wheel is made from it too: the hook that puts the library in must be there."""
    root = Path(__file__).parents[2]
    build_options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    hook = build_options["targets"]["wheel"]["hooks"]["custom"]["path"]
    assert (root / hook).exists()
    assert hook in build_options["targets"]["sdist"]["include"]


@portable
@pytest.mark.slow
def test_the_portable_library(monkeypatch, tmp_path):
    """Every level that this processor has steps as the maps do; the loader takes the library."""
    file = recipe.make_portable(tmp_path)
    library = ctypes.CDLL(str(file))
    ran = 0
    for level in recipe.LEVELS:
        if not can_run(level):
            continue
        monkeypatch.setattr(fused, "library", lambda level=level: Level(library, level))
        for mirror_map in MAPS:
            for dtype in (torch.float32, torch.float64):
                start, delta = torch.randn(4000).to(dtype), 0.1 * torch.randn(4000).to(dtype)
                x = start.clone()
                fused_step(mirror_map, [x], [delta], [Options(lr=1, shrink=1, sign=1)])
                want = mirror_map.step(start.double(), delta.double())
                u, v = (mirror_map.to_dual(t.double()) for t in (start, x))
                eps = torch.finfo(dtype).eps
                primal = (x - want).abs() <= 8 * eps * (want.abs() + 0.1 * start.abs())
                dual = (v - u + delta).abs() <= 8 * eps * (u.abs() + delta.abs())
                assert (primal | dual).all(), (level, mirror_map, dtype)
                energy = float(u @ start.double())
                found = fused_sizes(mirror_map, [start], [delta])[1]
                assert found == pytest.approx(energy, rel=1e-5 if dtype == torch.float32 else 1e-13)
                ran += 1
    assert ran >= len(MAPS)
    monkeypatch.undo()
    monkeypatch.setattr(build, "packaged", lambda: file)
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.found.cache_clear()
    try:
        assert Path(build.found()._name) == file
    finally:
        build.found.cache_clear()

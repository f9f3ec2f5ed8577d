"""The fused C++ step against the maps, over all magnitudes, and when it cannot be built."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.errors import MirrorFlowError
from mirrorflow.optim import MirrorAdamW, MirrorDescent, choice
from mirrorflow.optim.kernels import (
    Options,
    build,
    fused_sizes,
    fused_step,
    fused_trial,
    has_kernel,
    misfit,
)

needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler"
)
MAPS = [
    maps.Quadratic(),
    maps.Power(1.5),
    maps.Power(2),
    maps.Power(3),
    maps.Power(4),
    maps.Power(2.7),
    maps.Power(1.2),
    maps.HyperbolicEntropy(0.01),
    maps.HyperbolicEntropy(10.0),
    maps.Logarithmic(0.01),
    maps.Cosh(0.5),
    maps.Cosh(3.0),
    maps.Exponential(),
    maps.DoubleExponential(),
    maps.Mixed(4.0),
    maps.Mixed(1.5, 0.3, 2.0),
    maps.Scaled(maps.HyperbolicEntropy(0.1), 0.2),
    maps.Scaled(maps.Mixed(3.0), 7.0),
]
STEEP = maps.Cosh(0.004)  # most duals of the tests are beyond the floats


def forget():
    """As in a new process."""
    build.found.cache_clear()
    build._tell.cache_clear()


def grid(dtype):
    """Entries 1e-6 … 10 of both signs against deltas 1e-9 … 30, small and large blocks apart."""
    x = torch.logspace(-6, 1, 60, dtype=torch.float64)
    delta = torch.logspace(-9, 1.5, 80, dtype=torch.float64)
    x, delta = torch.cat([-x, x, torch.zeros(1)]), torch.cat([delta, -delta, torch.zeros(1)])
    pairs = torch.cartesian_prod(delta, x).to(dtype)  # sorted by delta: blocks are homogeneous
    return pairs[:, 1].clone(), pairs[:, 0].clone()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirror_map", [*MAPS, STEEP], ids=repr)
@pytest.mark.parametrize("part", ["small", "all", "mixed"])
def test_kernels_step_as_exactly_as_the_maps(mirror_map, dtype, part):
    x, delta = grid(dtype)
    if part == "small":  # where the cheaper forms are used
        keep = (delta.abs() <= 0.015) & (x.abs() <= 0.4)
        x, delta = x[keep].clone(), delta[keep].clone()
    elif part == "mixed":  # small and large steps side by side in one vector, zeros among them
        order = torch.randperm(len(x))
        x, delta = x[order], delta[order]
    assert has_kernel(mirror_map)
    assert misfit(x, delta) is None
    start = x.clone()
    fused_step(mirror_map, [x], [delta], [Options(lr=1, shrink=1, sign=1)])
    want = mirror_map.step(start.double(), delta.double())
    got, eps = x.double(), torch.finfo(dtype).eps
    primal = (got - want).abs() <= 8 * eps * (want.abs() + 0.1 * start.double().abs())
    primal |= (got - want).abs() <= 2 * eps * torch.finfo(dtype).tiny  # in the last denormal place
    # Near a crossing of zero the answer is ill-conditioned in x: there the dual must fit.
    u, v = mirror_map.to_dual(start.double()), mirror_map.to_dual(got)
    dual = (v - (u - delta.double())).abs() <= 8 * eps * (u.abs() + delta.double().abs())
    same = (got == want) | (want.abs() > torch.finfo(dtype).max)  # infinite in this dtype
    bad = ~(primal | dual | same)
    assert not bad.any(), (start[bad][:5], delta[bad][:5], got[bad][:5], want[bad][:5])


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirror_map", [maps.Cosh(0.5), maps.DoubleExponential()], ids=repr)
def test_steep_maps_take_huge_steps(mirror_map, dtype):
    """Their duals are huge, and so are steps of a usual relative size."""
    x = torch.linspace(-4, 4, 41).to(dtype)
    for size in (1e5, 1e12, 1e20, 1e30, 1e38):
        for sign in (-1, 1):
            moved, delta = x.clone(), torch.full_like(x, sign * size)
            fused_step(mirror_map, [moved], [delta], [Options(lr=1, shrink=1, sign=1)])
            want = mirror_map.step(x.double(), delta.double())
            assert (moved != x).any()
            rtol = 8 * torch.finfo(dtype).eps
            torch.testing.assert_close(moved.double(), want, rtol=rtol, atol=rtol)
            endless, moved = torch.full_like(x, sign * math.inf), x.clone()
            fused_step(mirror_map, [moved], [endless], [Options(lr=1, shrink=1, sign=1)])
            assert (moved == -endless).all()  # a search for a step must see that it is too large


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_inner_products_of_a_trial(mirror_map, dtype):
    """Against the maps in float64: two tensors, beyond a block, both kinds of weight decay."""
    x = [torch.randn(n).to(dtype) for n in (3, 2500)]
    d = [torch.randn(n).to(dtype) for n in (3, 2500)]
    squares, energy = fused_sizes(mirror_map, x, d)
    flat, direction = torch.cat(x).double(), torch.cat(d).double()
    dual = mirror_map.to_dual(flat)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert squares == pytest.approx(float(direction @ direction), rel=tolerance)
    assert energy == pytest.approx(float(dual @ flat), rel=tolerance)
    for options in ({"shrink": 0.9}, {"shrink": 1, "dual_decay": 0.1}):
        to = [torch.empty_like(t) for t in x]
        change = fused_trial(mirror_map, x, d, to, Options(lr=0.05, sign=1, **options))
        start = flat * 0.9 if options["shrink"] == 0.9 else mirror_map.step(flat, 0.1 * dual)
        want = mirror_map.step(start, 0.05 * direction)
        torch.testing.assert_close(torch.cat(to).double(), want, rtol=tolerance, atol=tolerance)
        assert float(direction @ (start - want)) > 0
        assert change == pytest.approx(float(direction @ (start - want)), rel=10 * tolerance)


@needs_compiler
@pytest.mark.parametrize("mirror_map", [*MAPS, STEEP], ids=repr)
def test_duals_over_all_magnitudes(mirror_map):
    """One entry at a time, so that no sum hides another: `x u` relative to itself."""
    for dtype in (torch.float32, torch.float64):
        for value in (1e-12, 1e-5, 0.03, 0.9, 4.0, 300.0, 1e7):
            for x in (torch.tensor([value], dtype=dtype), torch.tensor([-value], dtype=dtype)):
                got = fused_sizes(mirror_map, [x], [x])[1]
                want = float((mirror_map.to_dual(x.double()) * x.double()).sum())
                if not 1e-30 < want < 1e30:
                    continue
                # e^u has a rounding of u more for every unit of u.
                steep = 1 + abs(math.log(want))
                assert got == pytest.approx(want, rel=8 * torch.finfo(dtype).eps * steep), (
                    x,
                    dtype,
                )


@pytest.mark.slow
@needs_compiler
def test_every_processor_steps_as_exactly(monkeypatch, tmp_path):
    """The build without this processor's instructions: other machines take other forms."""
    monkeypatch.setenv("MIRRORFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "VARIANTS", ("-fopenmp-simd",))
    forget()
    try:
        for mirror_map in MAPS:
            for part in ("small", "all"):
                test_kernels_step_as_exactly_as_the_maps(mirror_map, torch.float32, part)
                # An x87 register left full by MMX makes this NaN, and LAPACK fail ever after.
                assert np.longdouble(1) / np.longdouble(4) == 0.25, mirror_map
    finally:
        forget()


@needs_compiler
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zero_gradient_leaves_every_bit_and_nan_is_seen(mirror_map, dtype):
    values = torch.tensor([0.0, -0.0, 1e-3, -0.7, 3.0, float("inf"), -float("inf")] * 3).to(dtype)
    p = nn.Parameter(values.clone())
    opt = MirrorDescent([p], 0.1, mirror_map=mirror_map, momentum=0.9, compiled=True)
    for zero in (0.0, -0.0):
        p.grad = torch.full_like(p, zero)
        opt.step()
    size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    assert torch.equal(p.detach().view(size), values.view(size))
    p.grad = torch.full_like(p, float("nan"))
    opt.step()
    assert p.detach()[:5].isnan().all()


SGD = [
    {},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.8, "nesterov": True, "maximize": True},
    {"momentum": 0.9, "dampening": 0.2},
    {"weight_decay": 0.5, "decay": "dual"},
]
ADAM = [{}, {"betas": (0.5, 0.7), "maximize": True, "weight_decay": 0.2, "decay": "dual"}]


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(MirrorDescent, o) for o in SGD] + [(MirrorAdamW, o) for o in ADAM],
    ids=str,
)
@pytest.mark.parametrize("mirror_map", MAPS[::2], ids=repr)
def test_fused_optimizers_equal_eager_ones(mirror_map, optimizer, options, dtype):
    fused = [nn.Parameter(torch.randn(s).to(dtype)) for s in ((40, 50), (3,), ())]
    eager = copy.deepcopy(fused)
    pairs = [
        (fused, optimizer(fused, 0.02, mirror_map=mirror_map, compiled=True, **options)),
        (eager, optimizer(eager, 0.02, mirror_map=mirror_map, **options)),
    ]
    for _ in range(10):
        gradients = [torch.randn(p.shape).to(dtype) for p in fused]
        for params, opt in pairs:
            for p, g in zip(params, gradients, strict=True):
                p.grad = g.clone()
            opt.step()
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}[dtype]
    for a, b in zip(fused, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for a, b in zip(fused, eager, strict=True):
        for key in pairs[1][1].state[b]:
            mine, theirs = pairs[0][1].state[a][key], pairs[1][1].state[b][key]
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_what_has_no_kernel_takes_the_eager_path(monkeypatch):
    monkeypatch.setattr(choice, "PAYS", 1)
    gaps = torch.randn(12, 4)[::2]
    custom = maps.Custom(lambda x: x + x**3, name="cubic")
    for mirror_map, values, why in (
        (maps.PNorm(3.0), torch.randn(6, 4), "PNorm.* has none"),
        (custom, torch.randn(6, 4), "cubic.* has none"),
        (maps.Power(3), gaps, r"shape \(6, 4\) has the strides \(8, 1\), with gaps"),
    ):
        ends = []
        for compiled in (None, False):
            p = nn.Parameter(torch.empty(0))
            p.data = values if values is gaps else values.clone()
            before = p.detach().clone()
            p.grad = torch.ones_like(p)
            MirrorDescent([p], 0.1, mirror_map=mirror_map, compiled=compiled).step()
            ends.append(p.detach().clone())
            p.data.copy_(before)
        assert torch.equal(*ends)
        assert not torch.equal(ends[0], before)
        with pytest.raises((ValueError, TypeError), match=f"compiled = True asks .*{why}"):
            MirrorDescent([p], 0.1, mirror_map=mirror_map, compiled=True).step()
        assert torch.equal(p.detach(), before)


@pytest.mark.parametrize("why", ["no compiler", "switched off", "does not compile"])
def test_without_a_compiler_everything_works(monkeypatch, tmp_path, why):
    monkeypatch.setenv("MIRRORFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(choice, "PAYS", 3)
    text = "no C\\+\\+ compiler .*name one in CXX"
    if why == "no compiler":
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif why == "switched off":
        monkeypatch.setenv("MIRRORFLOW_NO_KERNELS", "1")
        text = "MIRRORFLOW_NO_KERNELS is set"
    else:
        monkeypatch.setattr(build, "SOURCE", tmp_path / "broken.cpp")
        (tmp_path / "broken.cpp").write_text("this is no C++")
        text = "ended with 1 .*name one in CXX"
    forget()

    def step(compiled, entries=3):
        p = nn.Parameter(torch.ones(entries))
        p.grad = torch.ones(entries)
        MirrorDescent([p], 0.1, mirror_map=maps.Quadratic(), compiled=compiled).step()
        torch.testing.assert_close(p.detach(), torch.full((entries,), 0.9))

    try:
        step(None, entries=2)  # a small net asks for nothing
        step(False)
        told = warnings.catch_warnings() if why == "switched off" else pytest.warns(RuntimeWarning)
        with told as caught:
            step(None)
            step(None)
            assert build.library() is None
        if why != "switched off":
            (warning,) = caught  # once
            assert re.search(f"several times slower .*{text}", str(warning.message))
        with pytest.raises(
            MirrorFlowError, match=f"compiled = True asks for kernels, but .*{text}"
        ):
            step(True)
    finally:
        forget()


@needs_compiler
def test_a_net_is_large_from_a_number_of_weights_on(monkeypatch):
    """Weights of all groups count, and only what a step moves."""
    seen = []
    monkeypatch.setattr(
        MirrorDescent, "_fuse", lambda self, group, updates, lr: seen.append(len(updates))
    )
    sizes = (choice.PAYS - 10, 7, 3)
    params = [nn.Parameter(torch.ones(n)) for n in sizes]
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    opt = MirrorDescent(groups, 0.1, mirror_map=maps.Cosh())
    for p in params[:2]:
        p.grad = torch.ones_like(p)
    opt.step()
    assert seen == []
    assert (params[0] < 1).all()
    params[2].grad = torch.ones_like(params[2])
    opt.step()
    assert seen == [1, 2]


@needs_compiler
@pytest.mark.parametrize("optimizer", [MirrorDescent, MirrorAdamW])
def test_any_dense_layout_is_stepped(optimizer):
    """Channels last, a gradient laid out otherwise, moments loaded in a third layout."""
    start = torch.randn(6, 4, 3, 3)
    layouts = (torch.channels_last, torch.contiguous_format)
    options = {"momentum": 0.9} if optimizer is MirrorDescent else {}
    ends = []
    for compiled in (True, False):
        g = torch.Generator().manual_seed(1)
        p = nn.Parameter(start.clone().contiguous(memory_format=layouts[0]))
        opt = optimizer([p], 0.01, mirror_map=maps.Power(3), compiled=compiled, **options)
        for layout in (*layouts, *layouts):
            p.grad = torch.randn(p.shape, generator=g).contiguous(memory_format=layout)
            opt.step()
            for name, value in opt.state[p].items():
                if name != "step":
                    opt.state[p][name] = value.contiguous(memory_format=layout)
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(ends[0], start, atol=0.01)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and a quick compilation."""
    monkeypatch.setenv("MIRRORFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "VARIANTS", ("-O0",))
    forget()
    yield tmp_path / "cache"
    forget()


def again():
    forget()
    return build.library()


@needs_compiler
def test_the_cache_is_for_its_owner_alone(cache):
    assert build.library() is not None
    (file,) = cache.iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o700
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:32] in file.name
    written = file.stat().st_mtime_ns
    assert again() is not None
    assert file.stat().st_mtime_ns == written  # taken, not built


@needs_compiler
@pytest.mark.parametrize("damage", ["text", "half", "one bit", "others may write", "a link"])
def test_a_damaged_library_is_built_anew(cache, damage):
    build.library()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    if damage == "text":
        file.write_text("text")
    elif damage == "half":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "one bit":
        file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 4]) + whole[5001:])
    elif damage == "others may write":
        file.chmod(0o777)
    else:
        file.rename(cache.parent / "elsewhere.so")
        file.symlink_to(cache.parent / "elsewhere.so")
    with pytest.warns(RuntimeWarning, match=r"is damaged, or may be written by others; it is buil"):
        assert again() is not None
    (file,) = cache.iterdir()
    assert len(file.read_bytes()) == len(whole)
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o700


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_a_cache_of_somebody_else_is_not_loaded(cache):
    build.library()
    os.chown(cache, 65534, 65534)
    with pytest.warns(RuntimeWarning, match=r"belongs to user 65534, not to user 0"):
        assert again() is None


@needs_compiler
def test_the_compiler_may_have_words_before_it(cache, monkeypatch):
    monkeypatch.setenv("CXX", "env LC_ALL=C c++")
    assert build.library() is not None


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirror_map", [maps.Cosh(0.5), maps.DoubleExponential()], ids=repr)
def test_what_no_dual_holds_stays(mirror_map, dtype):
    """Beyond the floats of the dual no step moves an entry: it is left, and never NaN."""
    ends = (60, 300) if dtype == torch.float32 else (600, 900)
    x = torch.linspace(*ends, 4801, dtype=dtype)
    moved = x.clone()
    fused_step(mirror_map, [moved], [torch.ones_like(x)], [Options(lr=0.1, shrink=1, sign=1)])
    assert not moved.isnan().any()
    assert torch.equal(moved, mirror_map.step(x, torch.full_like(x, 0.1)))


@needs_compiler
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("mirror_map", [maps.Quadratic(), maps.HyperbolicEntropy(0.01)], ids=repr)
def test_adam_without_epsilon_leaves_what_has_no_gradient(mirror_map, compiled):
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    opt = MirrorAdamW(
        [p], 0.01, mirror_map=mirror_map, eps=0.0, weight_decay=0.0, compiled=compiled
    )
    p.grad = torch.tensor([0.0, 1.0])
    opt.step()
    assert p[0] == 1
    assert p[1].item() == pytest.approx(
        float(mirror_map.step(torch.tensor(2.0), torch.tensor(0.01)))
    )

"""Every map, option, dtype and path equals the NumPy reference; AdamW is met bitwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from every_map import ALL, kinds, plain
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent, match_lr

MAPS = kinds(plain(ALL, maps.SimplexEntropy, maps.Custom, maps.Scaled))
SGD_OPTIONS = [
    {},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.8, "nesterov": True, "maximize": True},
    {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1, "decay": "dual"},
]
ADAM_OPTIONS = [
    {},
    {"weight_decay": 0.0, "amsgrad": True},
    {"betas": (0.5, 0.7), "eps": 1e-3, "maximize": True},
    {"weight_decay": 0.3, "decay": "dual"},
]
# Relative to the entries, after 20 steps; half precision rounds the parameter itself.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5, torch.bfloat16: 4e-3, torch.float16: 1e-3}


def problem(dtype, mirror_map=None, seed=0):
    """A start and 20 gradients, exact in every dtype so that the reference sees the same."""
    rng = np.random.default_rng(seed)
    start = torch.tensor(rng.normal(size=(6, 5))).to(dtype)
    if isinstance(mirror_map, maps.NegativeEntropy):
        start = start.abs()
    return start, [torch.tensor(rng.normal(size=(6, 5))).to(dtype) for _ in range(20)]


def run(optimizer, start, gradients, lr, **options):
    p = nn.Parameter(start.clone())
    opt = optimizer([p], lr, **options)
    for g in gradients:
        p.grad = g.clone()
        opt.step()
    return p.detach()


def pair_of(reference, mirror_map):
    fields = dataclasses.astuple(mirror_map)
    if isinstance(mirror_map, maps.Spectral):
        fields = (type(mirror_map.map).__name__, *dataclasses.astuple(mirror_map.map))
    return reference.geometry(type(mirror_map).__name__, *fields)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_mirror_descent_is_the_reference(reference, mirror_map, options, dtype):
    start, gradients = problem(dtype, mirror_map)
    got = run(MirrorDescent, start, gradients, 0.02, mirror_map=mirror_map, **options)
    wide = [g.double().numpy() for g in gradients]
    pair = pair_of(reference, mirror_map)
    want = reference.mirror_descent(start.double().numpy(), wide, pair, 0.02, **options)
    np.testing.assert_allclose(got.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_mirror_adamw_is_the_reference(reference, mirror_map, options, dtype):
    start, gradients = problem(dtype, mirror_map)
    got = run(MirrorAdamW, start, gradients, 0.01, mirror_map=mirror_map, **options)
    wide = [g.double().numpy() for g in gradients]
    pair = pair_of(reference, mirror_map)
    want = reference.mirror_adamw(start.double().numpy(), wide, pair, 0.01, **options)
    np.testing.assert_allclose(got.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [o for o in ADAM_OPTIONS if "decay" not in o], ids=str)
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_quadratic_is_adamw_bitwise(options, dtype, tensor_lr):
    start, gradients = problem(dtype)
    lr = torch.tensor(0.01, dtype=torch.float64) if tensor_lr else 0.01
    got = run(MirrorAdamW, start, gradients, lr, mirror_map=maps.Quadratic(), **options)
    want = run(torch.optim.AdamW, start, gradients, 0.01, foreach=False, **options)
    assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("optimizer", [MirrorDescent, MirrorAdamW])
def test_rows_on_a_simplex_are_the_reference(reference, optimizer, dtype):
    _, gradients = problem(dtype)
    start = torch.tensor(np.random.default_rng(1).dirichlet(np.ones(5), size=6)).to(dtype)
    pair = reference.geometry("SimplexEntropy", -1)
    textbook = {MirrorDescent: reference.mirror_descent, MirrorAdamW: reference.mirror_adamw}
    options = {"weight_decay": 0.0}
    got = run(optimizer, start, gradients, 0.02, mirror_map=maps.SimplexEntropy(), **options)
    wide = [g.double().numpy() for g in gradients]
    want = textbook[optimizer](start.double().numpy(), wide, pair, 0.02, **options)
    np.testing.assert_allclose(got.double(), want, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    "mirror_map", plain(MAPS, maps.NegativeEntropy, maps.PNorm, maps.Spectral), ids=repr
)
def test_match_lr_does_as_much_as_sgd(mirror_map):
    """The first update is as long as SGD's or promises half its decrease, whichever is more."""
    start, (g, *_) = problem(torch.float64)
    p = nn.Parameter(start.clone())
    p.grad = g
    for like, optimizer, d in (
        ("sgd", MirrorDescent, g),
        ("adamw", MirrorAdamW, g / (g.abs() + 1e-8)),
    ):
        lr = match_lr([p], 0.03, mirror_map=mirror_map, like=like)
        assert torch.equal(p.detach(), start)
        options = {"weight_decay": 0.0} if like == "adamw" else {}
        moved = run(optimizer, start, [g], lr, mirror_map=mirror_map, **options)
        length = torch.linalg.vector_norm(moved - start) / (0.03 * torch.linalg.vector_norm(d))
        decrease = ((start - moved) * g).sum() / (0.03 * (g * d).sum())
        assert max(float(length), 2 * float(decrease)) >= 1 - 1e-3
        assert min(abs(float(length) - 1), abs(2 * float(decrease) - 1)) <= 1e-3
        if isinstance(mirror_map, maps.Quadratic):
            assert lr == pytest.approx(0.03, rel=1e-3)


def test_match_lr_needs_gradients():
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"after loss\.backward"):
        match_lr([p], 0.1, mirror_map=maps.Quadratic())
    with pytest.raises(ValueError, match="like = 'lion'"):
        match_lr([p], 0.1, mirror_map=maps.Quadratic(), like="lion")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (1.0, 0.9)}, r"betas\[0\] = 1.0"),
        ({"betas": (0.9, float("nan"))}, r"betas\[1\] = nan"),
        ({"eps": -1.0}, "eps = -1.0"),
    ],
)
def test_bad_adam_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MirrorAdamW([nn.Parameter(torch.ones(2))], 0.1, mirror_map=maps.Quadratic(), **options)

"""MirrorDescent against torch.optim.SGD, against its definition, and at the door."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from typing import get_overloads

import pytest
import torch
from every_map import SEPARABLE, kinds, plain
from torch import nn

from mirrorflow import maps
from mirrorflow.errors import DivergedError
from mirrorflow.optim import MirrorAdamW, MirrorDescent

MAPS = kinds(plain(SEPARABLE, maps.Custom, maps.Scaled))
OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.3, "maximize": True},
]


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(7, 5), (5,), (), (2, 3, 3, 3)]
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def set_gradients(params: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
def test_quadratic_is_sgd_bitwise(options, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    mine = MirrorDescent(ours, 0.1, mirror_map=maps.Quadratic(), **options)
    sgd = torch.optim.SGD(theirs, 0.1, foreach=False, **options)
    for step in range(5):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        mine.step()
        sgd.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_a_step_subtracts_in_the_dual(mirror_map):
    params = parameters()
    before = [mirror_map.to_dual(p.detach()) for p in params]
    set_gradients(params, 0)
    MirrorDescent(params, 0.01, mirror_map=mirror_map).step()
    for p, u in zip(params, before, strict=True):
        torch.testing.assert_close(
            mirror_map.to_dual(p.detach()), u - 0.01 * p.grad, rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zero_gradient_leaves_every_bit(mirror_map, dtype, zero):
    values = torch.tensor([0.0, -0.0, 1e-3, -0.7, 3.0]).to(dtype)
    p = nn.Parameter(values.clone())
    opt = MirrorDescent([p], 0.1, mirror_map=mirror_map, momentum=0.9)
    for _ in range(3):
        p.grad = torch.full_like(p, zero)
        opt.step()
    size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    assert torch.equal(p.detach().view(size), values.view(size))


def test_groups_and_names_choose_their_maps():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    chosen = {"0": maps.Power(3), "*": maps.HyperbolicEntropy(0.1)}
    opt = MirrorDescent(net.named_parameters(), 0.1, mirror_map=chosen)
    assert [g["mirror_map"] for g in opt.param_groups] == list(chosen.values())
    assert opt.param_groups[0]["param_names"] == ["0.weight", "0.bias"]
    twin = copy.deepcopy(net)
    MirrorDescent(
        [
            {"params": twin[0].parameters(), "mirror_map": maps.Power(3)},
            {"params": twin[1].parameters()},
        ],
        0.1,
        mirror_map=maps.HyperbolicEntropy(0.1),
    )
    with pytest.raises(TypeError, match="named_parameters"):
        MirrorDescent(net.parameters(), 0.1, mirror_map=chosen)


def test_weight_decay_in_both_readings():
    p = nn.Parameter(torch.tensor([2.0, -0.5]))
    p.grad = torch.zeros(2)
    m = maps.Power(3)
    MirrorDescent([p], 0.1, mirror_map=m, weight_decay=0.5).step()
    torch.testing.assert_close(p.detach(), 0.95 * torch.tensor([2.0, -0.5]))
    u = m.to_dual(p.detach())
    MirrorDescent([p], 0.1, mirror_map=m, weight_decay=0.5, decay="dual").step()
    torch.testing.assert_close(m.to_dual(p.detach()), 0.95 * u)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr = -1.0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"lr": "fast"}, "'auto'"),
        ({"lr": torch.ones(2)}, "1-element, got 2"),
        ({"momentum": -0.1}, "momentum = -0.1"),
        ({"nesterov": True}, "nesterov needs momentum > 0"),
        ({"weight_decay": -1}, "weight_decay = -1"),
        ({"decay": "both"}, "decay = 'both'"),
        ({"mirror_map": None}, "mirror_map is missing"),
    ],
)
def test_bad_options_are_refused(options, message):
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        MirrorDescent([p], **{"lr": 0.1, "mirror_map": maps.Quadratic(), **options})


def test_what_has_no_geometry_is_refused():
    for dtype in (torch.int64, torch.complex64):
        p = nn.Parameter(torch.ones(2, dtype=dtype), requires_grad=False)
        with pytest.raises(TypeError, match="real floating-point"):
            MirrorDescent([p], 0.1, mirror_map=maps.Quadratic())
    with pytest.raises(TypeError, match="not a MirrorMap"):
        MirrorDescent([nn.Parameter(torch.ones(2))], 0.1, mirror_map=3)
    given = MirrorDescent([nn.Parameter(torch.ones(2))], 0.1, mirror_map="cosh(0.5)")
    assert given.param_groups[0]["mirror_map"] == maps.Cosh(0.5)


def test_flattened_parameters_are_refused_where_shape_counts():
    """FSDP1 marks its pieces with this attribute; the real thing is in distributed_worker.py."""
    p = nn.Parameter(torch.ones(4))
    p._fsdp_flattened = True
    MirrorDescent([p], 0.1, mirror_map=maps.Power(3))
    with pytest.raises(TypeError, match="fully_shard"):
        MirrorDescent([p], 0.1, mirror_map=maps.PNorm(3.0))


def test_sparse_gradients_are_refused_before_anything_moves():
    dense, table = nn.Parameter(torch.ones(2)), nn.Embedding(4, 2, sparse=True)
    opt = MirrorDescent([dense, table.weight], 0.1, mirror_map=maps.Power(3))
    (table(torch.tensor([1])).sum() + dense.sum()).backward()
    with pytest.raises(TypeError, match="is sparse"):
        opt.step()
    assert torch.equal(dense.detach(), torch.ones(2))


def test_nan_gradients_are_refused_when_asked():
    params = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    opt = MirrorDescent(params, 0.1, mirror_map=maps.Power(3), check_finite=True)
    params[0].grad, params[1].grad = torch.ones(2), torch.tensor([1.0, float("nan")])
    with pytest.raises(DivergedError, match="1 entries that are NaN"):
        opt.step()
    assert torch.equal(params[0].detach(), torch.ones(2))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_keep_everything(clone):
    p = nn.Parameter(torch.ones(3))
    opt = MirrorDescent([p], 0.1, mirror_map=maps.Power(3), momentum=0.9)
    p.grad = torch.ones(3)
    opt.step()
    twin = clone(opt)
    q = twin.param_groups[0]["params"][0]
    q.grad = torch.ones(3)
    opt.step()
    twin.step()
    assert torch.equal(p, q)


OPTIONS = {MirrorDescent: "DescentOptions", MirrorAdamW: "AdamWOptions"}


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_signature_says_when_a_map_is_required(kind):
    plain, grouped = (inspect.signature(each).parameters for each in get_overloads(kind.__init__))
    assert plain["mirror_map"].default is plain["lr"].default is inspect.Parameter.empty
    assert grouped["mirror_map"].default is None
    own = set(inspect.signature(kind.__init__).parameters) - {"self", "params", "lr", "mirror_map"}
    written = getattr(sys.modules[kind.__module__], OPTIONS[kind]).__annotations__
    assert set(written) == own

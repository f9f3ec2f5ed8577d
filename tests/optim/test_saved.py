"""A state is taken for what it says: maps by value, parameters by name, torch's own states too."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent


def one(value=1.0):
    return nn.Parameter(torch.full((3,), value))


def stepped(optimizer, p, steps=3):
    for k in range(steps):
        p.grad = torch.arange(1.0, 4.0) * (k + 1) / 10
        optimizer.step()
    return optimizer


def test_numpy_numbers_load_with_weights_only():
    p = one()
    options = {"momentum": np.float32(0.5), "weight_decay": np.int64(0), "nesterov": np.True_}
    opt = MirrorDescent([p], np.float64(0.1), mirror_map=maps.Quadratic(), **options)
    file = io.BytesIO()
    torch.save(stepped(opt, p).state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["param_groups"][0]["lr"] == 0.1
    assert state["param_groups"][0]["momentum"] == 0.5
    assert state["param_groups"][0]["nesterov"] is True


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
            lambda p: MirrorDescent(p, lr=0.1, mirror_map=maps.Quadratic(), momentum=0.3),
        ),
        (
            lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.9)),
            lambda p: MirrorAdamW(p, lr=0.1, mirror_map=maps.Quadratic()),
        ),
    ],
)
def test_a_state_of_torch_goes_on_as_in_torch(theirs, ours):
    a, b = one(), one()
    theirs = stepped(theirs([a]), a)
    with torch.no_grad():
        b.copy_(a)
    ours = ours([b])
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))  # torch shares the tensors
    assert ours.param_groups[0]["lr"] == 0.05
    stepped(theirs, a)
    stepped(ours, b)
    assert torch.equal(a, b)
    assert abs(float(b[0].detach()) - 1) > 0.01


def test_the_rate_of_sgd_is_not_a_relative_step():
    p = one()
    opt = MirrorDescent([p], "auto", mirror_map=maps.Quadratic())
    opt.load_state_dict(torch.optim.SGD([one()], lr=0.7).state_dict())
    assert opt.param_groups[0]["lr"] == 0.02


def test_the_state_of_another_kind_is_refused():
    p, q = one(), one()
    adam = stepped(torch.optim.AdamW([p], lr=0.1), p).state_dict()
    sgd = stepped(torch.optim.SGD([q], lr=0.1, momentum=0.9), q).state_dict()
    with pytest.raises(ValueError, match=r"'exp_avg', which MirrorDescent does not keep"):
        MirrorDescent([p], 0.1, mirror_map=maps.Quadratic()).load_state_dict(adam)
    with pytest.raises(ValueError, match=r"'momentum_buffer', which MirrorAdamW does not keep"):
        MirrorAdamW([p], 0.1, mirror_map=maps.Quadratic()).load_state_dict(sgd)


def test_named_parameters_are_matched_by_name():
    def build(order):
        named = {"a": one(1.0), "b": one(2.0)}
        opt = MirrorDescent(
            [(name, named[name]) for name in order], 0.1, mirror_map=maps.Power(3), momentum=0.9
        )
        return named, opt

    named, opt = build("ab")
    for name, p in named.items():
        p.grad = torch.full((3,), 1.0 if name == "a" else 5.0)
    opt.step()
    twins, other = build("ba")
    other.load_state_dict(opt.state_dict())
    assert other.state[twins["a"]]["momentum_buffer"].tolist() == [1.0] * 3
    assert other.state[twins["b"]]["momentum_buffer"].tolist() == [5.0] * 3
    assert other.param_groups[0]["param_names"] == ["b", "a"]
    stranger = MirrorDescent([("a", one()), ("c", one())], 0.1, mirror_map=maps.Power(3))
    with pytest.raises(ValueError, match=r"missing in the state \['c'\], unknown here \['b'\]"):
        stranger.load_state_dict(opt.state_dict())


def test_a_state_of_other_shapes_is_refused():
    p = one()
    state = stepped(MirrorDescent([p], 0.1, mirror_map=maps.Power(3), momentum=0.9), p).state_dict()
    other = MirrorDescent([nn.Parameter(torch.ones(4))], 0.1, mirror_map=maps.Power(3))
    with pytest.raises(ValueError, match=r"shape \(3,\) for a parameter of shape \(4,\)"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, this optimizer of \[2\]"):
        MirrorDescent([one(), one()], 0.1, mirror_map=maps.Power(3)).load_state_dict(state)
    for bad in (None, {}, [1], {"state": {}}):
        with pytest.raises(TypeError, match=r"state_dict = .* is not the state of an optimizer"):
            other.load_state_dict(bad)


def test_two_functions_of_one_name_are_two_maps():
    def state_of(gradient):
        return MirrorDescent([one()], 0.1, mirror_map=maps.Custom(gradient=gradient)).state_dict()

    opt = MirrorDescent([one()], 0.1, mirror_map=maps.Custom(gradient=lambda x: x + x**3))
    opt.load_state_dict(state_of(lambda x: x + x**3))
    other = MirrorDescent([one()], 0.1, mirror_map=maps.Custom(gradient=lambda x: x + 2 * x**3))
    with pytest.raises(ValueError, match=r"mirror_map = .*1010\.0.* this optimizer has .*2010\.0"):
        other.load_state_dict(state_of(lambda x: x + x**3))


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (MirrorDescent, {"dampening": math.nan}, r"dampening = nan"),
        (MirrorDescent, {"nesterov": "no"}, r"nesterov = 'no' is a str; pass True or False"),
        (MirrorDescent, {"momentum": "0.9"}, r"momentum = '0.9' is a str"),
        (MirrorDescent, {"momentum": math.inf}, r"momentum = inf"),
        (MirrorDescent, {"weight_decay": None}, r"weight_decay = None"),
        (MirrorDescent, {"decay": 3}, r"decay = 3 is a int; choose one of 'primal', 'dual'"),
        (MirrorDescent, {"maximize": 1}, r"maximize = 1 is a int"),
        (MirrorDescent, {"lr": True}, r"lr = True is a bool"),
        (MirrorDescent, {"lr": [0.1]}, r"lr = \[0.1\] is a list"),
        (MirrorDescent, {"compiled": "yes"}, r"compiled = 'yes'"),
        (MirrorAdamW, {"betas": 0.9}, r"betas = 0.9; pass a pair"),
        (MirrorAdamW, {"betas": (0.9, 1.0)}, r"betas\[1\] = 1.0 .*\[0, 1\)"),
        (MirrorAdamW, {"betas": (0.9, 0.9, 0.9)}, r"betas = .*pass a pair"),
        (MirrorAdamW, {"eps": math.nan}, r"eps = nan"),
        (MirrorAdamW, {"amsgrad": 0}, r"amsgrad = 0 is a int"),
    ],
)
def test_options_that_nobody_looked_at(kind, options, text):
    with pytest.raises((ValueError, TypeError), match=text):
        kind([one()], **{"lr": 0.1, **options}, mirror_map=maps.Quadratic())

"""A killed run goes on bit for bit: save with torch, load with weights_only, compare."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.losses import log_loss
from mirrorflow.nets import MLP
from mirrorflow.optim import MirrorDescent, RelativeStep

SETTINGS = {
    "momentum": (torch.float32, {"lr": 0.01, "momentum": 0.9}),
    "auto": (torch.float32, {"lr": "auto"}),
    "auto, constant step, rejecting": (
        torch.float64,
        {"lr": RelativeStep(0.3, "constant"), "momentum": 0.5},
    ),
    "compiled": (torch.float32, {"lr": 0.01, "momentum": 0.9, "compiled": True}),
    "bfloat16": (torch.bfloat16, {"lr": 0.01, "momentum": 0.9}),
    "float16 auto": (torch.float16, {"lr": "auto"}),
}


def build(dtype, options):
    net = MLP((5, 8, 8, 3), generator=torch.Generator().manual_seed(0)).to(dtype)
    chosen = {"weights.0": maps.Power(1.5), "*": maps.HyperbolicEntropy(0.1)}
    return net, MirrorDescent(net.named_parameters(), mirror_map=chosen, **options)


def train(net, opt, steps, rejections):
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)).to(net.weights[0].dtype)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()

    def closure():
        rejections[0] += 1
        opt.zero_grad()
        loss = log_loss(net(x).to(torch.float64), y)
        loss.backward()
        return loss

    for _ in range(steps):
        opt.step(closure)


@pytest.mark.parametrize("name", SETTINGS)
def test_resume_is_bitwise(name):
    dtype, options = SETTINGS[name]
    net, opt = build(dtype, options)
    calls = [0]
    train(net, opt, 300, calls)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin, other = build(dtype, options)
    twin.load_state_dict(saved["net"])
    other.load_state_dict(saved["opt"])
    train(net, opt, 60, calls)
    train(twin, other, 60, [0])
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
        for key, value in opt.state[a].items():
            same = torch.equal(value, other.state[b][key])
            assert same, key
    numbers = [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups]
    assert numbers == [{k: v for k, v in g.items() if k != "params"} for g in other.param_groups]
    if "rejecting" in name:
        assert calls[0] > 360  # otherwise the test would not see a restored state


def test_another_map_is_refused():
    p = nn.Parameter(torch.ones(2))
    state = MirrorDescent([p], 0.1, mirror_map=maps.Power(3)).state_dict()
    with pytest.raises(ValueError, match=r"Power\(p=3\.0\).*Quadratic\(\)"):
        MirrorDescent([p], 0.1, mirror_map=maps.Quadratic()).load_state_dict(state)

"""Plain, blocked, joined and fused are one and the same step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent, paths
from mirrorflow.optim.kernels import has_kernel
from mirrorflow.optim.paths import BLOCK

MAPS = [maps.Quadratic(), maps.Power(1.5), maps.HyperbolicEntropy(0.1), maps.PNorm(3.0)]
PATHS = {"default": False, "alone": False, "fused": True}
OPTIMIZERS = [(MirrorDescent, {"momentum": 0.9}), (MirrorAdamW, {"weight_decay": 0.0})]


def make(optimizer, params, lr, mirror_map, path, monkeypatch, **options):
    """On the path: small tensors joined (the default) or alone, or kernels where there are some."""
    if path == "alone":
        monkeypatch.setattr(paths, "SMALL", {})
    compiled = PATHS[path] and has_kernel(mirror_map)
    return optimizer(params, lr, mirror_map=mirror_map, compiled=compiled, **options)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS, ids=["descent", "adamw"])
def test_every_path_is_the_rule(optimizer, options, mirror_map, path, monkeypatch):
    """Tensors larger than a block and smaller, against the rule on the whole tensor."""
    params = [nn.Parameter(torch.randn(s)) for s in ((BLOCK + 7,), (3, 5), ())]
    opt = make(optimizer, params, 0.02, mirror_map, path, monkeypatch, **options)
    plain = [p.detach().clone() for p in params]
    state: list[dict[str, torch.Tensor]] = [{} for _ in params]
    for step in range(1, 4):
        for p, x, s in zip(params, plain, state, strict=True):
            p.grad = torch.randn_like(p)
            if optimizer is MirrorDescent:
                s["m"] = p.grad.clone() if step == 1 else 0.9 * s["m"] + p.grad
                delta = 0.02 * s["m"]
            else:
                s["m"] = 0.9 * s.get("m", 0 * x) + 0.1 * p.grad
                s["v"] = 0.999 * s.get("v", 0 * x) + 0.001 * p.grad**2
                root = (s["v"] / (1 - 0.999**step)).sqrt() + 1e-8
                delta = 0.02 * s["m"] / (1 - 0.9**step) / root
            x.copy_(mirror_map.step(x, delta))
        opt.step()
    for p, x in zip(params, plain, strict=True):
        torch.testing.assert_close(p.detach(), x, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS, ids=["descent", "adamw"])
def test_zero_gradients_leave_every_bit_on_every_path(optimizer, options, path, dtype, monkeypatch):
    values = torch.randn(BLOCK + 64).to(dtype)
    values[:4] = torch.tensor([0.0, -0.0, 1e-7, -1e-7])
    for mirror_map in MAPS:
        p = nn.Parameter(values.clone())
        opt = make(optimizer, [p], 0.1, mirror_map, path, monkeypatch, **options)
        for zero in (0.0, -0.0):
            p.grad = torch.full_like(p, zero)
            opt.step()
        size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
        assert torch.equal(p.detach().view(size), values.view(size)), mirror_map

"""What users of torch are used to: scaler, clipping, half precision, compile; and accuracy."""

from __future__ import annotations

import copy

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent

MAPS = [
    maps.Quadratic(),
    maps.Power(1.5),
    maps.Power(4),
    maps.Power(2.7),
    maps.HyperbolicEntropy(0.1),
    maps.Logarithmic(0.1),
    maps.Cosh(0.5),
    maps.Exponential(),
]


def test_grad_scaler_skips_overflowing_steps():
    p = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float32))
    opt = MirrorDescent([p], 0.1, mirror_map=maps.Power(3))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor, moves in ((1.0, True), (float("inf"), False)):
        before = p.detach().clone()
        opt.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(opt)
        scaler.update()
        assert torch.equal(p.detach(), before) is not moves
    alone = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float32))
    alone.grad = torch.ones(2, dtype=torch.float32)
    MirrorDescent([alone], 0.1, mirror_map=maps.Power(3)).step()
    assert torch.equal(p, alone)
    assert scaler.get_scale() == 512.0


def test_clipping_and_accumulation_act_on_the_gradient():
    net = nn.Linear(4, 1)
    opt = MirrorDescent(net.parameters(), 0.1, mirror_map=maps.HyperbolicEntropy(0.1))
    twin = copy.deepcopy(net)
    other = MirrorDescent(twin.parameters(), 0.1, mirror_map=maps.HyperbolicEntropy(0.1))
    x = torch.randn(8, 4)
    for part in x.split(2):
        (net(part).sum() * 10).backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    (twin(x).sum() * 10).backward()
    nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
    opt.step()
    other.step()
    torch.testing.assert_close(net.weight, twin.weight, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("compiled", [False, True])
def test_half_precision_follows_small_steps(dtype, compiled):
    """Each step is below half a unit in the last place: without a master nothing would move."""
    p = nn.Parameter(torch.ones(64, dtype=dtype))
    mirror_map = maps.HyperbolicEntropy(0.1)
    opt = MirrorDescent([p], 1e-4, mirror_map=mirror_map, compiled=compiled)
    for _ in range(2000):
        p.grad = torch.ones_like(p)
        opt.step()
    one = torch.ones(1)
    want = mirror_map.to_primal(mirror_map.to_dual(one) - 2000 * 1e-4)
    torch.testing.assert_close(p[0].double(), want[0], rtol=torch.finfo(dtype).eps, atol=0)
    assert opt.state[p]["master"].dtype == torch.float32
    with torch.no_grad():
        p[:32] = 0.25  # a change from outside is followed
    p.grad = torch.zeros_like(p)
    opt.step()
    assert (p[:32] == 0.25).all()
    torch.testing.assert_close(p[40].double(), want[0], rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(
    ("mirror_map", "compiled"),
    [*((m, True) for m in MAPS), (maps.HyperbolicEntropy(0.1), False)],
    ids=str,
)
def test_float32_follows_float64_over_ten_thousand_steps(mirror_map, compiled):
    """On a strongly convex problem: noise of the gradient moves the net, rounding must not."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100, 40, generator=generator)
    target = torch.linspace(-2, 2, 40)
    ends = []
    for dtype in (torch.float32, torch.float64):
        p = nn.Parameter(torch.full((40,), 0.3, dtype=dtype))
        opt = MirrorDescent([p], 2e-3, mirror_map=mirror_map, compiled=compiled)
        for step in range(10_000):
            p.grad = p.detach() - target.to(dtype) + 0.3 * noise[step % 100].to(dtype)
            opt.step()
        ends.append(p.detach().double())
    torch.testing.assert_close(ends[0], ends[1], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("optimizer", [MirrorDescent, MirrorAdamW])
def test_the_step_compiles_once_and_stays_when_a_scheduler_changes_lr(optimizer):
    torch._dynamo.reset()
    params = [nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(3))]
    twins = copy.deepcopy(params)
    lr = [torch.tensor(0.01), torch.tensor(0.01)]  # numbers would be compiled in
    opt, eager = (
        optimizer(p, rate, mirror_map=maps.HyperbolicEntropy(0.1))
        for p, rate in zip((params, twins), lr, strict=True)
    )
    scheduler = [torch.optim.lr_scheduler.ExponentialLR(o, 0.9) for o in (opt, eager)]
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")

    @torch.compile(backend=counter)
    def step():
        opt.step()

    for _ in range(6):
        for p, q in zip(params, twins, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        step()
        eager.step()
        for s in scheduler:
            s.step()
    assert counter.frame_count <= 2  # once more after the state has appeared
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)

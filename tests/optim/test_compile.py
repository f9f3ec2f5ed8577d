"""torch.compile with its real backend: the whole training step, and the step generated for GPUs."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from mirrorflow import maps
from mirrorflow.losses import log_loss
from mirrorflow.optim import MirrorAdamW, MirrorDescent, base
from mirrorflow.optim.base import MirrorOptimizer
from mirrorflow.optim.kernels import inductor

needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
# Importing inductor warns about torch's own use of torch.jit.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


def problem():
    net = nn.Linear(6, 3, bias=False)
    return net, copy.deepcopy(net), torch.randn(20, 6), torch.randint(0, 3, (20,))


def train(lr, optimizer, backend):
    """Six training steps with a scheduler, compiled and plain: both nets, frames compiled."""
    torch.compiler.reset()
    net, twin, x, y = problem()
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    for model, backend_of_model in ((net, counter), (twin, None)):
        rate = lr if isinstance(lr, str) else torch.tensor(lr)
        opt = optimizer(model.parameters(), rate, mirror_map=maps.HyperbolicEntropy(0.1))
        scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)

        def step(model=model, opt=opt):
            opt.zero_grad()
            loss = log_loss(model(x), y)
            loss.backward()
            opt.step()

        run = torch.compile(step, backend=backend_of_model) if backend_of_model else step
        frames = []
        for _ in range(6):
            run()
            scheduler.step()
            frames.append(counter.frame_count)
        if backend_of_model:
            seen = frames
    return net, twin, seen


@needs_compiler
def test_the_whole_training_step_under_inductor():
    net, twin, frames = train(0.05, MirrorAdamW, "inductor")
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    assert frames[-1] == frames[1]  # once more when Adam's state has appeared, never for a new lr


def test_the_relative_step_stays_outside_the_graph():
    net, twin, frames = train("auto", MirrorDescent, "eager")
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    assert frames[-1] == frames[1]


def compare_generated(device, dtype, tolerance, optimizer, options):
    """`compiled=True` on a device for which code is generated, against the plain rule."""
    torch.compiler.reset()
    inductor._compiled.cache_clear()
    shapes = ((40, 50), (30,), (7, 3, 3))
    mine = [nn.Parameter(torch.randn(s, dtype=dtype, device=device)) for s in shapes]
    plain = copy.deepcopy(mine)
    mirror_map = maps.HyperbolicEntropy(0.1)
    pairs = [
        (mine, optimizer(mine, 0.1, mirror_map=mirror_map, compiled=True, **options)),
        (plain, optimizer(plain, 0.1, mirror_map=mirror_map, **options)),
    ]
    for step in range(4):
        gradients = [torch.randn_like(p) for p in mine]
        for params, opt in pairs:
            opt.param_groups[0]["lr"] = 0.1 / (1 + step)
            for p, g in zip(params, gradients, strict=True):
                p.grad = g.clone()
            opt.step()
    for p, q in zip(mine, plain, strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


GENERATED = [
    (MirrorDescent, {"momentum": 0.9, "weight_decay": 0.1}),
    (MirrorAdamW, {"weight_decay": 0.1, "decay": "dual"}),
]


@needs_compiler
@pytest.mark.parametrize(("optimizer", "options"), GENERATED, ids=["descent", "adamw"])
def test_generated_code_is_the_rule(monkeypatch, optimizer, options):
    """The path of GPUs, on the CPU: not compiled anew for three sizes and four rates."""
    calls, compiled = [], torch.compile

    def counting(function, **how):
        counter = torch._dynamo.testing.CompileCounterWithBackend("inductor")
        calls.append(counter)
        return compiled(function, backend=counter, **how)

    monkeypatch.setattr(inductor, "DEVICES", {"cpu": lambda: True})
    monkeypatch.setattr(torch, "compile", counting)
    monkeypatch.setattr(MirrorOptimizer, "_step_fused", lambda _, group, updates, lr: updates)
    monkeypatch.setattr(base, "require_kernels", lambda *_: None)
    compare_generated("cpu", torch.float64, 1e-12, optimizer, options)
    assert len(calls) == 1
    assert 1 <= calls[0].frame_count <= 2


def test_what_cannot_be_generated_is_refused(monkeypatch):
    """`compiled=True` requires it: a backend that fails is an error, and nothing has moved."""

    def broken(*_):
        raise RuntimeError("no Triton here")

    monkeypatch.setattr(inductor, "DEVICES", {"cpu": lambda: True})
    monkeypatch.setattr(MirrorOptimizer, "_step_fused", lambda _, group, updates, lr: updates)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compiled(f, backend=broken, **how))
    inductor._compiled.cache_clear()
    p = nn.Parameter(torch.ones(5))
    p.grad = torch.ones(5)
    opt = MirrorDescent([p], 0.1, mirror_map=maps.Power(3), compiled=True)
    with pytest.raises(TypeError, match=r"compiled = True .* of shape \(5,\) .*did not compile"):
        opt.step()
    assert torch.equal(p.detach(), torch.ones(5))
    inductor._compiled.cache_clear()


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", [{}, {"compiled": True}], ids=str)
@pytest.mark.parametrize(("optimizer", "options"), GENERATED, ids=["descent", "adamw"])
def test_a_gpu_steps_as_the_cpu(optimizer, options, path, dtype):
    on_cpu = [nn.Parameter(torch.randn(s).to(dtype)) for s in ((40, 50), (30,))]
    on_gpu = [nn.Parameter(p.detach().cuda()) for p in on_cpu]
    chosen = {"mirror_map": maps.HyperbolicEntropy(0.1), **options}
    pairs = [
        (on_cpu, optimizer(on_cpu, 0.05, **chosen)),
        (on_gpu, optimizer(on_gpu, 0.05, **chosen, **path)),
    ]
    for _ in range(5):
        gradients = [torch.randn(p.shape).to(dtype) for p in on_cpu]
        for params, opt in pairs:
            for p, g in zip(params, gradients, strict=True):
                p.grad = g.to(p.device)
            opt.step()
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 1e-2}[dtype]
    for p, q in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(p, q.cpu(), rtol=tolerance, atol=tolerance)

"""Run by test_distributed.py in two processes: `python distributed_worker.py RANK FILE`."""

from __future__ import annotations

import copy
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from mirrorflow import maps
from mirrorflow.losses import log_loss
from mirrorflow.optim import MirrorAdamW, MirrorDescent

SEPARABLE = [maps.Power(1.5), maps.HyperbolicEntropy(0.1), maps.Cosh(0.5), maps.Logarithmic(0.1)]
WHOLE = [
    maker() for name, maker in (
        ("PNorm", lambda: maps.PNorm(3.0)), ("Spectral", lambda: maps.Spectral(maps.Power(1.5)))
    ) if hasattr(maps, name)
]  # fmt: skip


def build():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False))
    return net, torch.randn(20, 6), torch.randint(0, 3, (20,))


def train(net, opt, x, y, *, accumulate=1, use_closure=False):
    def closure():
        opt.zero_grad()
        for part in range(accumulate):
            loss = log_loss(net(x[part::accumulate]), y[part::accumulate]) / accumulate
            loss.backward()
        return loss

    for _ in range(5):
        if use_closure:
            opt.step(closure)
        else:
            closure()
            opt.step()


def check(rank, wrap, optimizer, mirror_map, lr, **options):
    """Two processes, each with half of the points, end where one process with all of them ends."""
    accumulate = options.pop("accumulate", 1)
    use_closure = options.pop("use_closure", False)
    net, x, y = build()
    alone = copy.deepcopy(net)
    wrapped = wrap(net)
    one = optimizer(alone.parameters(), lr, mirror_map=mirror_map, **options)
    two = optimizer(wrapped.parameters(), lr, mirror_map=mirror_map, **options)
    # The mean of two means of log losses is what both processes descend on.
    halves = torch.cat([x[0::2], x[1::2]]), torch.cat([y[0::2], y[1::2]])

    def reference():
        one.zero_grad()
        for part in (0, 1):
            px, py = halves[0][10 * part : 10 * part + 10], halves[1][10 * part : 10 * part + 10]
            for k in range(accumulate):
                loss = log_loss(alone(px[k::accumulate]), py[k::accumulate])
                (loss / (2 * accumulate)).backward()
        return loss

    for _ in range(5):
        if use_closure:
            one.step(reference)
        else:
            reference()
            one.step()
    train(wrapped, two, x[rank::2], y[rank::2], accumulate=accumulate, use_closure=use_closure)
    for p, q in zip(wrapped.parameters(), alone.parameters(), strict=True):
        full = p.full_tensor() if hasattr(p, "full_tensor") else p
        torch.testing.assert_close(full.detach(), q.detach(), rtol=1e-9, atol=1e-12)
    return wrapped, two


def main(rank: int, file: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{file}")
    mesh = init_device_mesh("cpu", (2,))

    def shard(net):
        for layer in net:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        return fully_shard(net, mesh=mesh)

    for wrap in (DistributedDataParallel, shard):
        check(rank, wrap, MirrorDescent, SEPARABLE[0], 0.05, momentum=0.9, accumulate=2)
        check(rank, wrap, MirrorDescent, SEPARABLE[1], "auto", use_closure=True)
        check(rank, wrap, MirrorAdamW, SEPARABLE[1], 0.01)
        for mirror_map in WHOLE:
            check(rank, wrap, MirrorDescent, mirror_map, 0.05, momentum=0.9)
            check(rank, wrap, MirrorDescent, mirror_map, "auto")
    for mirror_map in SEPARABLE[2:]:
        check(rank, shard, MirrorDescent, mirror_map, 0.05, compiled=True, weight_decay=0.1)

    flat = FullyShardedDataParallel(build()[0], device_id=torch.device("cpu"))
    MirrorDescent(flat.parameters(), 0.05, mirror_map=SEPARABLE[0])
    try:
        MirrorDescent(flat.parameters(), 0.05, mirror_map=maps.PNorm(3.0))
    except TypeError as error:
        assert "fully_shard" in str(error)  # noqa: PT017
    else:
        raise AssertionError("FSDP1's flat parameters were not noticed")

    net, opt = check(rank, shard, MirrorAdamW, SEPARABLE[0], 0.01)
    saved = get_optimizer_state_dict(net, opt)
    first = saved["state"]["0.weight"]["exp_avg"]
    assert first.full_tensor().shape == (7, 6)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

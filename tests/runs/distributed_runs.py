"""Run by test_distributed_runs.py under torchrun: `distributed_runs.py OUT MODE`, in two processes.

Each process checks what it holds itself; the test compares what the first one wrote.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mirrorflow.cli.app import app
from mirrorflow.losses import log_loss
from mirrorflow.runs import RunConfig, train
from mirrorflow.runs.distributed import Team

BASE = RunConfig(
    data="teacher",
    data_options={"n": 61, "d": 4, "n_test": 20},
    net="mlp",
    net_options={"hidden": [9, 6]},
    loss="logistic",
    dtype="float64",
    steps=40,
    until=(),
    certify_points=10,
)
RUNS = {
    "full": dataclasses.replace(BASE, mirror_map="hyperbolic_entropy(beta=0.1)"),
    "deep": dataclasses.replace(BASE, mirror_map="power(p=3)", until=(-1.0, -3.0), steps=200),
    "batches": dataclasses.replace(BASE, batch_size=7, epochs=3, mirror_map="spectral(power(3))"),
    "layers": dataclasses.replace(
        BASE, mirror_map={"weights.0": "power(p=3)", "*": "quadratic"}, objective="loss", lr=0.05
    ),
    "adam": dataclasses.replace(
        BASE, optimizer="mirror_adamw", lr=1e-2, batch_size=7, epochs=4, schedule="cosine"
    ),
    "sgd": dataclasses.replace(
        BASE, optimizer="sgd", lr=0.05, optimizer_options={"momentum": 0.9}, batch_size=8, epochs=3
    ),
}


class StopError(Exception):
    """In place of a kill."""


def check_gradient(crew: Team) -> None:
    """One process has the points that decide: the mean of own log losses would be wrong."""
    torch.manual_seed(0)
    x, w = torch.randn(10, 3), torch.randn(3, requires_grad=True)
    x[::2] *= 300  # the points of process 0
    y = torch.where(x @ w.detach() > 0, 1, -1)
    y[0] = -y[0]
    alone = log_loss(x @ w, y, "logistic")
    (wanted,) = torch.autograd.grad(alone, w)
    value = crew.log_loss(crew.share(x) @ w, crew.share(y), "logistic", 10)
    (mine,) = torch.autograd.grad(value, w)
    dist.all_reduce(mine)
    torch.testing.assert_close(mine / 2, wanted, rtol=1e-13, atol=0)
    torch.testing.assert_close(value, alone, rtol=1e-14, atol=0)
    (own,) = torch.autograd.grad(log_loss(crew.share(x) @ w, crew.share(y), "logistic"), w)
    dist.all_reduce(own)
    assert (own / 2 - wanted).norm() > 0.1 * wanted.norm()  # the plain average


def cut_short(config: RunConfig, folder: Path) -> None:
    """Stop in the middle, with a checkpoint."""
    original = torch.optim.Optimizer.zero_grad
    calls = 0

    def breaking(self: object, *args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 25:
            raise StopError
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    torch.optim.Optimizer.zero_grad = breaking  # type: ignore[method-assign]
    try:
        train(config, folder, checkpoint_seconds=0.0)
    except StopError:
        pass
    finally:
        torch.optim.Optimizer.zero_grad = original  # type: ignore[method-assign]


def main(out: Path) -> None:
    torch.set_default_dtype(torch.float64)
    # The command finds its processes in the variables of torchrun.
    words = ["train", "--data", "blobs", "--net", "two_layer", "--json", "--steps", "30"]
    words += ["--until=-50", "--set", "dtype=float64", "--parallel", "fsdp"]
    app([*words, "--out", str(out / "command")], standalone_mode=False)
    check_gradient(Team("ddp", torch.device("cpu"), dist.get_rank(), 2))
    for parallel in ("ddp", "fsdp"):
        for name, config in RUNS.items():
            spread = dataclasses.replace(config, parallel=parallel)
            run = train(spread, out / parallel / name)
            ends = [None, None]
            dist.all_gather_object(ends, [p.tolist() for p in run.net.parameters()])
            assert ends[0] == ends[1], f"{name}: the processes disagree"
        for name in ("full", "adam"):
            spread = dataclasses.replace(RUNS[name], parallel=parallel)
            cut_short(spread, out / parallel / f"{name}-cut")
    # What one process began, two finish.
    for name in ("full", "adam"):
        train(dataclasses.replace(RUNS[name], parallel="fsdp"), out / "begun" / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Several processes that train one net (torchrun): who does what, and how one loss is made of all.

With `a_i = log ℓ_i` and the n points of a minibatch spread over the processes,

    log ℓ = log Σ_i e^{a_i} − log n,   ∇ log ℓ = Σ_i w_i ∇a_i,   w_i = e^{a_i − log Σ_j e^{a_j}}.

The weights need the sum over all processes: the mean of each process's own `∇ log ℓ` would give
every process the same weight, whether it holds the point that decides the loss or not.
"""

from __future__ import annotations

import atexit
import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mirrorflow.errors import portable
from mirrorflow.losses import Loss, log_loss, log_loss_per_point
from mirrorflow.nets import HomogeneousNet
from mirrorflow.optim.sharded import is_sharded, sharded_like, whole
from mirrorflow.runs.config import RunConfig

__all__ = ["Team", "is_first", "team"]

T = TypeVar("T")


class Team:
    """The processes of a run, seen from one of them; a run of one process is a team of one.

    Args:
        parallel: "none", "ddp" or "fsdp".
        device: that this process computes on.
        rank: its number, from 0 on; the first one measures and writes.
        size: how many there are.
    """

    def __init__(self, parallel: str, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.parallel, self.device, self.rank, self.size = parallel, device, rank, size

    @property
    def first(self) -> bool:
        """Whether this process measures and writes."""
        return self.rank == 0

    def agree(self, make: Callable[[], T]) -> T:
        """What the first process makes of it, in every process; its exception likewise."""
        if self.size == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[0] = make()
            except Exception as error:
                answer[1] = portable(error)
        dist.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        made: T = answer[0]
        return made

    def share(self, x: Tensor) -> Tensor:
        """The points of a minibatch that are this process's: every `size`-th one.

        Raises:
            ValueError: fewer points than processes.
        """
        if len(x) < self.size:
            raise ValueError(
                f"a step sees {len(x)} points, which cannot be spread over {self.size} processes; "
                "take a larger batch_size or fewer processes"
            )
        return x if self.size == 1 else x[self.rank :: self.size]

    def spread(self, net: HomogeneousNet) -> tuple[nn.Module, HomogeneousNet]:
        """The net as it is called in training, and the one that has the trained parameters.

        Under DDP these are the net itself, wrapped; under FSDP2 a copy whose parameters and
        optimizer state are cut over the processes, as one unit.
        """
        if self.size == 1:
            return net, net
        if self.parallel == "ddp":
            return nn.parallel.DistributedDataParallel(net), net
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        cut = fully_shard(copy.deepcopy(net), mesh=mesh)
        return cut, cut  # type: ignore[return-value]

    def log_loss(self, outputs: Tensor, y: Tensor, loss: Loss, points: int) -> Tensor:
        """`log ℓ`, the log of the mean over the points of all processes, in each of them.

        Args:
            outputs: of this process's share of the points.
            y: their labels.
            loss: see `losses.log_loss_per_point`.
            points: n, of all processes.

        Returns:
            A scalar, bit for bit the same everywhere, whose gradient is that of `log ℓ` once it
            is averaged over the processes, as DDP and FSDP2 do.
        """
        if self.size == 1:
            return log_loss(outputs, y, loss)
        each = log_loss_per_point(outputs, y, loss)
        values = each.detach().double()
        top = values.max()
        mine = torch.stack([top, (values - top).exp().sum()])
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        tops, sums = torch.stack(parts).unbind(1)
        log_sum = tops.max() + (sums * (tops - tops.max()).exp()).sum().log()
        weights = self.size * (values - log_sum).exp()
        combined: Tensor = _Combined.apply(  # type: ignore[no-untyped-call]
            each, weights.to(each.dtype), (log_sum - math.log(points)).to(each.dtype)
        )
        return combined

    def collect(self, trained: HomogeneousNet, plain: HomogeneousNet) -> None:
        """Bring `plain` to the parameters of `trained`; nothing to do where they are one."""
        if trained is plain:
            return
        with torch.no_grad():
            for p, q in zip(plain.parameters(), trained.parameters(), strict=True):
                p.copy_(whole(q))

    def save(self, trained: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """State of net and optimizer as one process on a CPU would have it."""
        state = optimizer.state_dict()
        entries = {i: {k: _full(v) for k, v in s.items()} for i, s in state["state"].items()}
        net = {name: _full(value) for name, value in trained.state_dict().items()}
        return {"net": net, "optimizer": {**state, "state": entries}}

    def load(
        self, trained: nn.Module, optimizer: torch.optim.Optimizer, saved: dict[str, Any]
    ) -> None:
        """The inverse of `save`, under any number of processes."""
        own = trained.state_dict()
        trained.load_state_dict({k: _cut(v, own[k]) for k, v in saved["net"].items()})
        state = saved["optimizer"]
        ids = [i for group in state["param_groups"] for i in group["params"]]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        of = dict(zip(ids, parameters, strict=True))
        entries = {
            i: {k: _cut(v, of[i]) for k, v in entry.items()} for i, entry in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": entries})


class _Combined(torch.autograd.Function):
    """A value that was made elsewhere, with the weights of its gradient."""

    @staticmethod
    def forward(ctx: Any, each: Tensor, weights: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(weights)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        return gradient * weights, None, None


def _full(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return (whole(value) if is_sharded(value) else value).detach().cpu()


def _cut(value: Any, like: Tensor) -> Any:
    fits = isinstance(value, Tensor) and is_sharded(like) and value.shape == like.shape
    return sharded_like(value.to(like.device), like, of_whole=True) if fits else value


def is_first() -> bool:
    """Whether this process is the one of its `torchrun` that reports; true outside of one."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


@contextmanager
def team(config: RunConfig) -> Iterator[Team]:
    """The team of this process: from torch.distributed if it runs, else from torchrun's variables.

    Raises:
        ValueError: several processes, but `parallel` is "none"; a device that is not there.
    """
    running = dist.is_available() and dist.is_initialized()
    size = dist.get_world_size() if running else int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and config.parallel == "none":
        raise ValueError(
            f'parallel = "none", but {size} processes were started, which would all train the '
            'same run; set parallel to "ddp" or "fsdp" (--set parallel=ddp)'
        )
    device = config.find_device(int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else 0)
    if size == 1:
        yield Team(config.parallel, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not running:
        # Kept for the next run: processes that close a group and open another can miss each other.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    yield Team(config.parallel, device, dist.get_rank(), size)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()

"""The end of a run: full batches with momentum, of which only the points that count are evaluated.

At a small loss the full batch's gradient is decided by few points: the share of point i is
`ℓ_i/Σ_j ℓ_j`, and a point whose margin is 20 above the smallest has a share below 1e-8. So after
every block of steps all points are evaluated, and the next block sees only those with the largest
loss. A block that has raised the loss is taken back, with its momentum, and the step halved.

Where too many points decide for that, steps may draw them (`Finish.sample`): point i with
probability `p_i ∝ sqrt(ℓ_i)`, its loss divided by `p_i`, which estimates the loss of all points
and its gradient without bias. The step follows the gradient of the estimate's logarithm, whose
bias falls like 1/sample. The root keeps points in sight that a step may bring back.

The momentum is forgotten only when three blocks in a row were taken back, so that it leads nowhere
any more. It is the average over the points that take turns in deciding the loss, and the step has
one length: without that average it is spent on the last of them. On all of MNIST (quadratic, three
seeds) 800 steps led to 1e-17, 1e-27 and 1e-55 where every block taken back forgot it at momentum
0.99, and 677 to 1e-100 on average as it is now (docs/results.md).

Nesterov's form of the momentum, `d = g + 0.999 m`, damps the directions in which the loss is steep;
with `d = m` they swing, and above order 2, where weights near zero are stiff, most blocks are taken
back for it (docs/runs.md has both side by side).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirrorflow.losses import log_loss_per_point
from mirrorflow.optim import MirrorDescent, RelativeStep
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.loop import Loop
from mirrorflow.runs.state import LoadedRun

__all__ = ["Finish", "FinishingLoop"]

_GAIN = 1.2
_MOST = 0.05  # of the relative step
_PATIENCE = 3  # blocks taken back in a row
_SHARE = 1e-3  # of the loss, that may lie on points that are left out
_DRAWS = 3 << 30  # seeds of the draws of steps, apart from those of epochs and of augmentation


@dataclass(frozen=True)
class Finish:
    """What `RunConfig.finish_options` may say.

    Args:
        steps: how many follow the minibatches.
        eta: the relative step of the first block; a block that lowers the loss multiplies it by
            1.2, one that does not halves it.
        momentum: in the dual; it averages over the points that take turns in deciding the loss.
        nesterov: whether that momentum, where there is one, looks ahead; see above.
        points: at least so many are kept, those with the largest loss; up to four times as many,
            until the others have less than 1e-3 of it together.
        sample: points that a step draws where four times `points` are too few for that; with 0
            the others are left out all the same, and their loss may bring every block back.
        every: steps of a block.

    Raises:
        ValueError, TypeError: a value out of range.
    """

    steps: int = 600
    eta: float = 0.002
    momentum: float = 0.999
    nesterov: bool = True
    points: int = 1024
    sample: int = 0
    every: int = 20

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("points", 1), ("sample", 0), ("every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"finish_options.{name} = {value!r}; pass an int >= {least}")
            if value < least:
                raise ValueError(f"finish_options.{name} = {value}; pass an int >= {least}")
        if not isinstance(self.nesterov, bool):
            raise TypeError(f"finish_options.nesterov = {self.nesterov!r}; pass true or false")
        if not 0 < self.eta < 1:
            raise ValueError(f"finish_options.eta = {self.eta}; choose 0 < eta < 1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"finish_options.momentum = {self.momentum}; choose 0 <= momentum < 1")

    @staticmethod
    def of(config: RunConfig) -> Finish:
        """The plan of a configuration.

        Raises:
            ValueError: an unknown key, or a configuration that it cannot follow.
        """
        known = set(Finish.__dataclass_fields__)
        unknown = sorted(set(config.finish_options) - known)
        if unknown:
            raise ValueError(f"finish_options has no key {unknown}; it takes {sorted(known)}")
        if config.optimizer != "mirror_descent" or config.lr != "auto" or not config.batch_size:
            raise ValueError(
                "finish_options follows minibatches of mirror_descent with lr = 'auto'; this run "
                f"has optimizer = {config.optimizer!r}, lr = {config.lr!r}, batch_size = "
                f"{config.batch_size}"
            )
        if config.parallel != "none":
            raise ValueError(
                f"finish_options is for one process; parallel = {config.parallel!r}, set it to none"
            )
        plan = Finish(**config.finish_options)
        dampening = config.optimizer_options.get("dampening", 0)
        if plan.looks_ahead and dampening:
            raise ValueError(
                f"finish_options.nesterov = true needs optimizer_options.dampening = 0, not "
                f"{dampening}; drop the dampening or set finish_options.nesterov = false"
            )
        return plan

    @property
    def looks_ahead(self) -> bool:
        """Whether the steps are Nesterov's."""
        return self.nesterov and self.momentum > 0


class FinishingLoop(Loop):
    """A run of minibatches that ends with steps of the full batch; see `Finish`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.plan = Finish.of(self.config)
        self.start = self.total - self.plan.steps
        self.drawn = torch.zeros(0, dtype=torch.int64)  # points of the present step

    def run(self, checkpoint_seconds: float) -> LoadedRun:
        """See `Loop.run`."""
        saved = self.folder.load_checkpoint()
        if saved is not None and saved["state"]["step"] > self.start:
            self._restart(saved["state"]["block"]["eta"])
        return super().run(checkpoint_seconds)

    @property
    def _finishing(self) -> bool:
        return self.state.step >= self.start

    def _restart(self, eta: float) -> None:
        given = {k: v for k, v in self.config.optimizer_options.items() if k != "eta"}
        self.optimizer = MirrorDescent(
            self.parts.trained.named_parameters(),
            RelativeStep(self.plan.eta, "constant", reject=False),
            mirror_map=self.parts.mirror_map,
            **given | {"momentum": self.plan.momentum, "nesterov": self.plan.looks_ahead},
        )
        self._set(eta)

    def _set(self, eta: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = eta

    def _step(self) -> float:
        at = self.state.step - self.start
        if at >= 0 and at % self.plan.every == 0:
            self._begin_block(at == 0)
            value = float(self.state.block["log_loss"])
            if self._below(value / math.log(10)):
                self._measure()
                if self._done() is not None:
                    return value
        return super()._step()

    @torch.no_grad()
    def _begin_block(self, first: bool) -> None:
        each = self._log_losses()
        value = self._log_loss(each)
        before = self.state.block
        if not first and not value < before["log_loss"]:
            self.net.load_state_dict(before["net"])
            self.optimizer.load_state_dict(copy.deepcopy(before["optimizer"]))
            before["eta"] /= 2
            before["refused"] += 1
            if before["refused"] % _PATIENCE == 0:
                before["eta"] *= 2 ** (_PATIENCE - 1)
                self._restart(before["eta"])
            self._set(before["eta"])
            return
        eta = self.plan.eta if first else min(_GAIN * before["eta"], _MOST)
        if first:
            self._restart(eta)
        self.state.block = {
            "eta": eta,
            "log_loss": value,
            "refused": 0,
            **self._deciding(each),
            "net": {name: p.clone() for name, p in self.net.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
        }
        self._set(eta)

    def _deciding(self, each: Tensor) -> dict[str, Tensor | None]:
        """What the next block sees, of the log losses of all: the points `kept`, or the
        `log_chances` with which each step draws its own."""
        falling, order = each.sort(descending=True)
        shares = (falling - torch.logsumexp(each, 0)).exp().cumsum(0)
        wanted = int((shares < 1 - _SHARE).sum()) + 1
        least = self.plan.points
        if self.plan.sample and wanted > 4 * least:
            return {"kept": None, "log_chances": torch.log_softmax(each / 2, 0).cpu()}
        kept = order[: min(max(wanted, least), 4 * least)].sort().values
        return {"kept": kept, "log_chances": None}

    def _log_loss(self, each: Tensor) -> float:
        return float(torch.logsumexp(each, 0)) - math.log(self.n)

    def _log_losses(self) -> Tensor:
        x, y, size = self.data.x, self.data.y, self.meter.batch
        parts = []
        for start in range(0, self.n, size):
            outputs = self.net(x[start : start + size]).double()
            parts.append(log_loss_per_point(outputs, y[start : start + size], self.config.loss))
        return torch.cat(parts)

    def _batch(self) -> tuple[Tensor, Tensor]:
        if not self._finishing:
            return super()._batch()
        kept = self.state.block["kept"]
        if kept is None:
            g = torch.Generator().manual_seed((self.config.seed << 32) + _DRAWS + self.state.step)
            chances = self.state.block["log_chances"].exp()
            kept = torch.multinomial(chances, self.plan.sample, replacement=True, generator=g)
        self.drawn = kept
        return self.data.x[kept], self.data.y[kept]

    def _objective(self, outputs: Tensor, y: Tensor, points: int) -> Tensor:
        if not self._finishing or self.state.block.get("log_chances") is None:
            return super()._objective(outputs, y, points)
        each = log_loss_per_point(outputs, y, self.config.loss)
        weighted = each - self.state.block["log_chances"][self.drawn].to(each.device, each.dtype)
        return torch.logsumexp(weighted, 0) - math.log(points * self.n)

    def _paid_for(self, share: float, cost: int | None = None) -> bool:
        # Thresholds are seen between blocks, where the loss of all points is known.
        if self._finishing:
            return self.state.step >= self.state.next_row
        return super()._paid_for(share, cost)

    @torch.no_grad()
    def _measure_last(self) -> None:
        """The last block is taken back like any other."""
        before = self.state.block
        if not self._log_loss(self._log_losses()) < before["log_loss"]:
            self.net.load_state_dict(before["net"])
        super()._measure_last()

    def _measure(self) -> None:
        if not self._finishing:
            return super()._measure()
        # Between thresholds the test set, often the larger one, would cost more than it tells.
        tests = len(self.data.x_test)
        below = self._below(self.state.block.get("log_loss", math.inf) / math.log(10))
        row = self._row(self.n, tests if below else self.meter.test_points)
        if row["test_points"] < tests and self._below(row["log10_loss"]):
            row = self._row(self.n, tests)
        self._record(row)
        return None

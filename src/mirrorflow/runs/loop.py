"""The loop of a training run: steps, rows of the metrics, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mirrorflow.data import crop_flip
from mirrorflow.errors import DivergedError, NotSeparableError
from mirrorflow.runs.build import schedule
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.denormals import flushed_denormals
from mirrorflow.runs.distributed import Team
from mirrorflow.runs.folder import ENDED, RunFolder
from mirrorflow.runs.measure import Meter
from mirrorflow.runs.state import LoadedRun, Parts, Progress, RunState

__all__ = ["Loop"]

# With minibatches a row waits until the rows so far, and itself, cost at most this share of what
# training did; the last row takes the whole training set if that costs at most the second share.
_SHARE, _LAST_SHARE = 0.06, 0.08
_CERTIFY, _CERTIFY_DUE = 0.04, 0.08
_MEASURE_POINTS = (100, 2000)
_ASK_EVERY = 16  # steps, where several processes have to agree


class Loop:
    """One run at work in its folder.

    Contract: `run` goes on from the last checkpoint, and what it does depends on the
    configuration and the step alone.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        parts: Parts,
        crew: Team,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.config, self.folder, self.parts, self.crew = config, folder, parts, crew
        self.net, self.data, self.optimizer = parts.net, parts.data, parts.optimizer
        self.progress = progress if crew.first else None
        self.on_row: Callable[[dict[str, Any]], None] = lambda row: None  # noqa: ARG005
        self.state = RunState()
        self.n, self.total = len(self.data.x), config.total_steps(len(self.data.x))
        self.minibatch, self.spent = config.is_minibatch(self.n), 0.0
        self.order = (-1, torch.zeros(0, dtype=torch.int64))  # of the points, in an epoch
        points = config.measure_points or (self._default_points() if self.minibatch else None)
        self.meter = Meter(self.net, self.data, parts.mirror_map, config.loss, points)

    def _default_points(self) -> int:
        least, most = _MEASURE_POINTS
        return max(least, min(most, self.total * self.config.batch_size // 64))

    def run(self, checkpoint_seconds: float) -> LoadedRun:
        """To the end, with a checkpoint every so many seconds."""
        saved = self.crew.agree(self.folder.load_checkpoint)
        if saved is not None:
            self.folder.fit(lambda: self.crew.load(self.parts.trained, self.optimizer, saved))
            self.crew.collect(self.parts.trained, self.net)
            self.state = RunState(**saved["state"])
            for row in self.state.rows:
                self.on_row(row)
        manifest = self.crew.agree(self.folder.manifest)
        if saved is not None and not self.crew.agree(lambda: self.folder.check_metrics(saved)):
            self._save()  # the metrics are gone; the checkpoint has their rows
        if manifest["outcome"] == self._done() is not None:
            return self._result(manifest["outcome"])
        self.folder.update_manifest(device=str(self.crew.device), processes=self.crew.size)
        if manifest["outcome"] in ENDED and (saved is None or self._done() is None):
            # An ended run whose checkpoint is gone, or from before its end, is not ended.
            self.folder.update_manifest(outcome="running")
            self.folder.log(f"the checkpoint of the end is gone, at step {self.state.step} again")
            manifest["seconds"] = manifest["seconds"] if saved else 0.0
        spent = float(manifest["seconds"])
        self.spent = float(manifest.get("evaluation_seconds", 0.0))
        self.folder.log(f"step {self.state.step}: {'resumed' if saved else 'started'}")
        for note in self.data.notes:
            self.folder.log(note)
        begun = saved_at = shown = time.monotonic()
        if not self.state.rows:
            self._measure()
        outcome = self._done()
        if outcome is not None and saved is None:
            self._save()  # it ends where it starts
        while outcome is None:
            value = self._step()
            now = time.monotonic()
            if self.progress is not None and now - shown > 0.1:
                shown = now
                at = Progress(self.state.step, self.total, value / math.log(10))
                self.progress(at)
            outcome = self._done()
            if outcome is not None or self._is_late(now - saved_at > checkpoint_seconds):
                self._save()
                saved_at = now
                self.folder.update_manifest(
                    seconds=round(spent + now - begun, 3), evaluation_seconds=round(self.spent, 3)
                )
        return self._finish(outcome)

    def _is_late(self, late: bool) -> bool:
        """Whether it is time for a checkpoint; clocks differ, so that one of them is asked."""
        if self.crew.size == 1:
            return late
        return self.state.step % _ASK_EVERY == 0 and self.crew.agree(lambda: late)

    def _step(self) -> float:
        x, y = self._batch()
        if self.config.schedule != "constant":
            factor = schedule(self.config, self.state.step, self.total)
            for group in self.optimizer.param_groups:
                group["lr"] = float(self.config.lr) * factor

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            outputs = self.parts.model(self.crew.share(x))
            value = self._objective(outputs, self.crew.share(y), len(x))
            target = value if self.config.follows_log_loss else value.exp()
            target.backward()  # type: ignore[no-untyped-call]
            return value

        with flushed_denormals():
            value = float(self.optimizer.step(closure).detach())  # type: ignore[arg-type,attr-defined]
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} at step {self.state.step}; use lr='auto' or a smaller lr. "
                f"{self.folder.path} keeps the last checkpoint"
            )
        self.state.step += 1
        # The value belongs to the state before the step, so a threshold is seen one step late;
        # the row that is recorded states its own loss.
        due = self.state.step >= self.state.next_row
        last = self.state.step == self.total
        if last:
            self._measure_last()
        elif (due or self._below(value / math.log(10))) and self._paid_for(_SHARE):
            self._measure()
        return value

    def _objective(self, outputs: Tensor, y: Tensor, points: int) -> Tensor:
        """The log of the mean loss over a batch of so many points, of which y is this process's."""
        return self.crew.log_loss(outputs, y, self.config.loss, points)

    def _below(self, log10_loss: float) -> bool:
        """Whether a loss is below the next threshold."""
        until, reached = self.config.until, self.state.reached
        return reached < len(until) and log10_loss <= until[reached]

    def _paid_for(self, share: float, cost: int | None = None) -> bool:
        """Whether training so far allows for a row; always for the full batch, where rows are few.

        It counts multiplications and not time, so that a run is the same on any machine.
        """
        if not self.minibatch:
            return True
        if cost is None:
            cost = self.state.evaluated + self.meter.cost(self.meter.points, self.meter.test_points)
        return cost <= share * 3 * self.meter.forward * self.state.step * self.config.batch_size

    def _batch(self) -> tuple[Tensor, Tensor]:
        x, y, size = self.data.x, self.data.y, self.config.batch_size
        if not self.minibatch:
            return x, y
        epoch, at = divmod(self.state.step, self.config.batches(self.n))
        seed = self.config.seed << 32
        if self.order[0] != epoch:
            g = torch.Generator().manual_seed(seed + epoch)
            self.order = (epoch, torch.randperm(self.n, generator=g))
        chosen = self.order[1][at * size : (at + 1) * size]
        points = x[chosen]
        if self.config.augment == "crop_flip":
            g = torch.Generator().manual_seed(seed + (1 << 31) + self.state.step)
            points = crop_flip(points, g)
        return points, y[chosen]

    def _measure(self) -> None:
        row = self._row(self.meter.points, self.meter.test_points)
        # What a subset says of a threshold is not enough.
        if row["points"] < self.n and self._below(row["log10_loss"]):
            row = self._row(self.n, len(self.data.x_test))
        self._record(row)

    def _measure_last(self) -> None:
        """On the whole test set, and on the whole training set if that is paid for, or if
        thresholds depend on it."""
        tests = len(self.data.x_test)
        paid = self._paid_for(_LAST_SHARE, self.meter.cost(self.n, tests))
        self._record(self._row(self.n if paid or self.config.until else self.meter.points, tests))

    def _row(self, points: int, test_points: int) -> dict[str, Any]:
        begun = time.monotonic()
        self.crew.collect(self.parts.trained, self.net)
        made = self.crew.agree(lambda: self.meter(self.net, points, test_points))
        row = {"step": self.state.step, **made}
        self.state.evaluated += self.meter.cost(points, test_points)
        self.spent += time.monotonic() - begun
        return row

    def _record(self, row: dict[str, Any]) -> None:
        state = self.state
        row["threshold"] = math.nan
        while row["points"] == self.n and self._below(row["log10_loss"]):
            row["threshold"] = self.config.until[state.reached]
            state.reached += 1
        row |= self._certificate(row)
        state.rows.append(row)
        self.on_row(row)
        if state.step >= state.next_row:
            state.next_row = max(state.step + 1, math.ceil(state.step * math.sqrt(2)))

    def _certificate(self, row: dict[str, Any]) -> dict[str, Any]:
        margins, points = self.config.certify_margins, self.config.certify_points
        due = self.state.step == self.total or not math.isnan(row["threshold"])
        cost = self.state.certified + self.meter.certificate_cost(margins)
        size = min(self.config.batch_size or self.n, self.n)
        trained = 3 * self.meter.forward * self.state.step * size
        paid = cost <= (_CERTIFY_DUE if due else _CERTIFY) * trained
        begun = time.monotonic()
        if self.config.loss == "square":
            reason = "real targets"
            found = {"epsilon": math.nan, "delta": math.nan, "certified": 0, "certificate": reason}
        elif points and due:
            found = self.crew.agree(lambda: self.meter.certificate(self.net, points))
        elif margins and row["min_margin"] > 0 and paid:
            found = self.crew.agree(lambda: self.meter.certificate_of_closest(self.net, margins))
            self.state.certified = cost
        else:
            reason = "not asked for" if not margins else "not separated"
            if margins and row["min_margin"] > 0:
                reason = "not paid for"
            found = {"epsilon": math.nan, "delta": math.nan, "certified": 0, "certificate": reason}
        self.spent += time.monotonic() - begun
        return found

    def _done(self) -> str | None:
        if self.state.reached == len(self.config.until) and self.config.until:
            return "reached"
        return "steps" if self.state.step >= self.total else None

    def _save(self) -> None:
        self.folder.write_metrics(self.state.rows)
        self.folder.save_checkpoint(
            {
                **self.crew.save(self.parts.trained, self.optimizer),
                "state": _on_cpu(dict(vars(self.state))),
            }
        )

    def _finish(self, outcome: str) -> LoadedRun:
        whole = [row["min_margin"] for row in self.state.rows if row["points"] == self.n]
        best = max(whole, default=math.nan)
        if outcome == "steps" and best <= 0 and self.config.until:
            self.folder.update_manifest(
                outcome="not_separated", best_margin=best, last_step=self.state.step
            )
            self.folder.log(f"step {self.state.step}: not separated, best margin {best:.6g}")
            misclassified = self.state.rows[-1]["train_errors"]
            raise NotSeparableError(
                f"the training set is not separated after {self.state.step} steps: the best "
                f"margin min_i q_i was {best:.6g}, {misclassified} of {len(self.data.x)} points "
                "are misclassified. If the labels are right, take a wider net or more steps; the "
                f"run is kept in {self.folder.path}",
                state=self._result("not_separated"),
            )
        self.folder.update_manifest(outcome=outcome, last_step=self.state.step)
        self.folder.log(f"step {self.state.step}: {outcome}")
        return self._result(outcome)

    def _result(self, outcome: str) -> LoadedRun:
        self.crew.collect(self.parts.trained, self.net)
        mirror_map = self.parts.mirror_map
        return LoadedRun(self.config, outcome, self.net, self.data, mirror_map, self.state.rows)


def _on_cpu(value: Any) -> Any:
    """A checkpoint made on a GPU can be read without one."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    return value

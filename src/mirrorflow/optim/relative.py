"""The relative Bregman step at work: measures, feeds back, and takes bad steps back."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from mirrorflow.errors import DivergedError
from mirrorflow.optim.paths import dual_blocked, moved_blocked
from mirrorflow.optim.sharded import inner
from mirrorflow.optim.step_size import LossScaled, solve_step
from mirrorflow.optim.update import Update

__all__ = ["RelativeStep"]

# A halved η doubles again in 70 accepted steps. Halved for good, hyperbolic entropy took 7,029
# steps instead of 4,326 to loss 1e-1000 on the digits.
_RECOVERY = 1.01
_MEMORY = {"t": 0, "gain": 0.0, "backoff": 1.0, "log_loss": math.inf, "noisy": False}


class RelativeStep:
    """One scalar step for all parameters, with `ρ(s) = η_t` (see `step_size`).

    Contract: its memory is five entries of the first parameter group: accepted steps, step times
    gradient norm at unit η (the feedback), the factor left by rejections, the last log loss, and
    whether the closure was found to be another function every time (minibatches, dropout).
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups = groups
        self.memory = groups[0]
        for key, value in _MEMORY.items():
            self.memory.setdefault("auto_" + key, value)

    def accepts(self, log_loss: float) -> bool:
        """Remember the log loss; False if the last step has to be taken back."""
        before = self.memory["auto_log_loss"]
        if LossScaled.is_worse(before, log_loss) and not self.memory["auto_noisy"]:
            if math.isinf(before):
                raise DivergedError("log loss is NaN before the first step; no parameter was moved")
            return False
        self.memory["auto_log_loss"] = log_loss
        self.memory["auto_backoff"] = min(1.0, _RECOVERY * self.memory["auto_backoff"])
        return True

    def forget(self) -> None:
        """A step without a closure: the next log loss has nothing to be compared with."""
        self.memory["auto_log_loss"] = math.inf

    def back_off(self, again: float) -> None:
        """After a rejection: halve η, and count the step as not taken.

        Args:
            again: the log loss at the restored parameters. If it is not what it was, the closure
                evaluates other data each time, and nothing is taken back from then on.
        """
        before = self.memory["auto_log_loss"]
        self.memory["auto_t"] -= 1
        if not abs(again - before) <= 1e-2 * abs(before):
            self.memory["auto_noisy"] = True
            self.memory["auto_log_loss"] = again
            return
        self.memory["auto_backoff"] /= 2
        if self.memory["auto_backoff"] < 2.0**-60:
            raise DivergedError(
                "the step was halved 60 times and log loss still falls back; the parameters are "
                "those of the last good step"
            )

    def step(self, rule: LossScaled, updates: list[Update]) -> list[Tensor]:
        """The new values of all parameters."""
        target = self._target(rule)
        trial = _Trial(updates)
        if target == 0 or trial.norm == 0:
            self.memory["auto_t"] += 1
            return [u.x for u in updates]
        gain, first = self.memory["auto_gain"], self.memory["auto_gain"] == 0
        start = (gain or math.sqrt(trial.energy)) * target / trial.norm
        s = solve_step(trial, start, target, within=1.05 if first else 1.5)
        if s != trial.s:
            trial(s)
        if not math.isfinite(trial.rho):
            raise DivergedError(
                f"no finite step: gradient norm {trial.norm}, dual energy {trial.energy}; no "
                "parameter was moved"
            )
        if trial.rho > 0:
            self.memory["auto_gain"] = s * trial.norm / trial.rho
        self.memory["auto_t"] += 1
        return trial.moved

    def _target(self, rule: LossScaled) -> float:
        etas = {float(group["lr"]) for group in self.groups}
        if len(etas) > 1:
            raise ValueError(
                f"the groups have relative steps {sorted(etas)}; it is one scalar for the whole net"
            )
        return etas.pop() * rule.factor(self.memory["auto_t"]) * float(self.memory["auto_backoff"])


class _Trial:
    """`ρ(s)` as a function that keeps its last step."""

    def __init__(self, updates: list[Update]) -> None:
        self.updates = updates
        self.directions = [u.full_direction() for u in updates]
        self.norm = math.sqrt(sum(inner(d, d) for d in self.directions))
        self.energy = sum(inner(dual_blocked(u), u.x) for u in updates)
        if self.energy == 0:
            raise ValueError(
                "lr='auto' measures the step relative to the parameters, which are all zero; "
                "initialise them, or pass a number as lr"
            )
        if self.energy < 0:
            raise ValueError(
                f"lr='auto' measures the step relative to <u, x>, which is {self.energy:.3g} < 0 "
                "here: maps of positive parameters have no such scale; pass a number as lr"
            )
        self.s, self.rho, self.moved = math.nan, math.nan, [u.x for u in updates]

    def __call__(self, s: float) -> float:
        self.s = s
        pairs = zip(self.updates, self.directions, strict=True)
        self.moved = [moved_blocked(u, s, d) for u, d in pairs]
        change = 0.0
        for u, d, new in zip(self.updates, self.directions, self.moved, strict=True):
            change += inner(d, u.start(s) - new)  # weight decay is no part of it
        self.rho = math.sqrt(max(0.0, s * change / self.energy)) if change == change else math.nan
        return self.rho

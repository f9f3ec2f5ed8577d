"""The relative Bregman step at work: measures, feeds back, and takes bad steps back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mirrorflow.errors import DivergedError
from mirrorflow.optim.floored import Floored, can_floor, find_knee
from mirrorflow.optim.paths import dual_blocked
from mirrorflow.optim.sharded import inner, largest_over_ranks
from mirrorflow.optim.step_size import RelativeStep, solve_step
from mirrorflow.optim.trial import Trials
from mirrorflow.optim.update import Update

__all__ = ["StepSearch"]

# A halved η doubles again in 70 accepted steps. Halved for good, hyperbolic entropy took 7,029
# steps instead of 4,326 to loss 1e-1000 on the digits.
_RECOVERY = 1.01
# A step may move the margins apart by this share of log loss. ⟨Δg, Δθ⟩ is the variance of what it
# does to them, hence the square: with the first power margins were 3 % off at loss 1e-2.
_SPREAD = 0.01
# Across a kink the curvature that is met falls only like the step; a smaller one cures nothing.
_SHORTEST = 2.0**-20
# A curvature that was met once counts for some hundred steps: jumps along it come back otherwise.
_FADING = 0.995
# What floors may add to ⟨u, θ⟩, relative to it and to the curvature c that is asked for.
_FLOOR = 0.5
_MEMORY = {
    "t": 0,
    "gain": 0.0,
    "backoff": 1.0,
    "log_loss": math.inf,
    "noisy": False,
    "slope": 0.0,
    "drop": 0.0,
    "cut": 0.5,
    "stiffness": 0.0,
}


class StepSearch:
    """One scalar step for all parameters, with `ρ(s) = η_t` (see `step_size`).

    Contract: its memory is nine entries of the first parameter group: accepted steps, step times
    gradient norm at unit η (the feedback), the factor that curvature and rejections leave of η, the
    last log loss, whether the closure was found to be another function every time (minibatches,
    dropout), `⟨g, Δθ⟩` and `⟨d, −Δθ⟩` of the last step (0 where there is no curvature to measure),
    the factor that a rejection is about to apply, and the largest curvature
    `⟨Δg, Δθ⟩/‖Δθ‖²` of late.

    Args:
        groups: the optimizer's parameter groups.
        state: its state, which holds the values before the last step.
    """

    def __init__(self, groups: list[dict[str, Any]], state: Any) -> None:
        self.groups = groups
        self.state = state
        self.memory = groups[0]
        for key, value in _MEMORY.items():
            self.memory.setdefault("auto_" + key, value)

    def accepts(self, log_loss: float, rule: RelativeStep) -> bool:
        """Remember the log loss; False if the last step has to be taken back.

        The gradients must be those at the parameters as they are.
        """
        before, backoff = self.memory["auto_log_loss"], self.memory["auto_backoff"]
        kappa = self._kappa(log_loss, rule)
        if RelativeStep.is_worse(before, log_loss) and not self.memory["auto_noisy"]:
            if math.isinf(before):
                raise DivergedError("log loss is NaN before the first step; no parameter was moved")
            self.memory["auto_cut"] = 0.5
            return False
        if kappa is None:
            recovered = _RECOVERY * backoff
        elif kappa > 2 and backoff > _SHORTEST:
            self.memory["auto_cut"] = max(0.2, 0.8 / kappa)
            return False
        else:
            factor = 0.95 / math.sqrt(max(kappa, 1e-6))
            recovered = max(min(1.5, factor) * backoff, min(_SHORTEST, backoff))
        self.memory["auto_log_loss"] = log_loss
        self.memory["auto_backoff"] = min(1.0, recovered)
        return True

    def _kappa(self, log_loss: float, rule: RelativeStep) -> float | None:
        """The curvature at the last step (see `RelativeStep`); None if it was not measured."""
        memory = self.memory
        blind = rule.curvature is None or memory["auto_noisy"] or not memory["auto_drop"] > 0
        if blind or math.isinf(memory["auto_log_loss"]):
            return None
        slope, length = 0.0, 0.0
        for group in self.groups:
            for p in group["params"]:
                state = self.state[p]
                if p.grad is not None and "previous_value" in state:
                    value = state.get("master", p).detach()
                    moved = value - state.get("previous_master", state["previous_value"])
                    slope += inner(p.grad.to(value.dtype), moved)
                    length += inner(moved, moved)
        assert rule.curvature is not None  # `blind` has looked
        met = largest_over_ranks(abs(slope - memory["auto_slope"]))
        if length > 0 and met < math.inf:
            stiffness = largest_over_ranks(met / length)
            memory["auto_stiffness"] = max(_FADING * memory["auto_stiffness"], stiffness)
        spread = _SPREAD * max(1.0, abs(memory["auto_log_loss"]))
        kappa = met / max(rule.curvature * memory["auto_drop"], spread**2)
        return math.inf if math.isnan(kappa) or math.isnan(log_loss) else kappa

    def forget(self) -> None:
        """A step without a closure: the next log loss has nothing to be compared with."""
        self.memory["auto_log_loss"] = math.inf

    def back_off(self, again: float) -> None:
        """After a rejection: lower η, and count the step as not taken.

        Args:
            again: the log loss at the restored parameters. If it is not what it was, the closure
                evaluates other data each time, and nothing is measured or taken back from then on.
        """
        before = self.memory["auto_log_loss"]
        self.memory["auto_t"] -= 1
        if not abs(again - before) <= 1e-2 * abs(before):
            self.memory["auto_noisy"] = True
            self.memory["auto_backoff"] = 1.0
            self.memory["auto_log_loss"] = again
            return
        self.memory["auto_backoff"] *= self.memory["auto_cut"]
        if self.memory["auto_backoff"] < 2.0**-60:
            raise DivergedError(
                "the step was halved 60 times and log loss still falls back; the parameters are "
                "those of the last good step"
            )

    def step(self, rule: RelativeStep, updates: list[Update]) -> list[Tensor]:
        """The new values of all parameters."""
        target = self._target(rule)
        stiffness = self.memory["auto_stiffness"] if rule.curvature is not None else 0.0
        trial = _Trial(updates, target, stiffness, _FLOOR * (rule.curvature or 0.0))
        self.memory["auto_slope"] = self.memory["auto_drop"] = 0.0
        if target == 0 or trial.norm == 0:
            self.memory["auto_t"] += 1
            return [u.x for u in updates]
        gain, first = self.memory["auto_gain"], self.memory["auto_gain"] == 0
        start = (gain or math.sqrt(trial.energy)) * target / trial.norm
        if 0 < start < math.inf:
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
            if trial.floored > trial.rho:  # the factor says what was done, so that it can react
                self.memory["auto_backoff"] *= min(1.0, trial.rho / target)
        if rule.curvature is not None:
            self._remember(updates, trial)
        self.memory["auto_t"] += 1
        return trial.moved

    def _remember(self, updates: list[Update], trial: _Trial) -> None:
        """What the curvature of this step is measured against, once its end has a gradient."""
        if any(u.denominator is not None for u in updates):
            return  # Adam's direction follows no flow, and its length is not that of a gradient
        slope = 0.0
        for u, moved in zip(updates, trial.moved, strict=True):
            g = u.parameter.grad
            if g is not None:
                slope += inner(g.to(u.x.dtype), moved - u.x)
        if math.isfinite(slope) and math.isfinite(trial.drop):
            self.memory["auto_slope"], self.memory["auto_drop"] = slope, trial.drop

    def _target(self, rule: RelativeStep) -> float:
        etas = {float(group["lr"]) for group in self.groups}
        if len(etas) > 1:
            raise ValueError(
                f"the groups have relative steps {sorted(etas)}; it is one scalar for the whole net"
            )
        return etas.pop() * rule.factor(self.memory["auto_t"]) * float(self.memory["auto_backoff"])


class _Trial:
    """`ρ(s)` as a function that keeps its last step; with a stiffness h, of maps floored at `s·h`.

    It is then at least as large as `η_t` times what the floors add to `⟨u, θ⟩` over what they may.
    """

    def __init__(
        self, updates: list[Update], target: float, stiffness: float, share: float
    ) -> None:
        self.updates, self.target = updates, target
        self.stiffness, self.share = stiffness, share
        self.trials = Trials(updates)
        squares, self.energy = self.trials.sizes()
        self.norm = math.sqrt(squares)
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
        self.floors: list[_Floor | None] = [
            _Floor(u, dual_blocked(u))
            if stiffness > 0 and can_floor(u.group["mirror_map"], u.x)
            else None
            for u in updates
        ]
        self.s, self.rho, self.moved = math.nan, math.nan, [u.x for u in updates]
        self.drop, self.floored = 0.0, 0.0

    def __call__(self, s: float) -> float:
        self.s = s
        used, added = [], 0.0
        for update, floor in zip(self.updates, self.floors, strict=True):
            one, more = (update, 0.0) if floor is None else floor.at(s * self.stiffness)
            used.append(one)
            added += more
        self.moved, change = (Trials(used) if any(self.floors) else self.trials).move(s)
        self.drop = change
        self.rho = math.sqrt(max(0.0, s * change / self.energy)) if change == change else math.nan
        self.floored = self.target * added / (self.share * self.energy) if added else 0.0
        return max(self.rho, self.floored)


class _Floor:
    """One parameter under its floored map."""

    def __init__(self, update: Update, dual: Tensor) -> None:
        self.update = update
        self.size, self.dual = update.x.detach().abs(), dual.abs()
        self.largest = float(self.size.max()) if self.size.numel() else 0.0

    def at(self, slope: float) -> tuple[Update, float]:
        """The update under `r'' ≥ slope`, and what that adds to `⟨u, θ⟩` below the knee."""
        group = self.update.group
        knee = find_knee(group["mirror_map"], slope, self.largest)
        if knee == 0:
            return self.update, 0.0
        more = torch.where(self.size <= knee, (slope * self.size - self.dual) * self.size, 0.0)
        floored = Floored(group["mirror_map"], knee, slope)
        return replace(self.update, group={**group, "mirror_map": floored}), float(more.sum())

"""Steps that need no tuning: one scalar for the whole net, kept at a relative Bregman size.

`ρ(s) = √(⟨Δu, Δθ⟩/⟨u, θ⟩)`, `Δu = −s·d`, `Δθ = ∇R*(u − s·d) − θ`, summed over all parameters. It is
exact mirror descent with a time-varying scalar step, so the horizon function is untouched, and it
does not depend on the scale of the gradient or of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["LossScaled", "solve_step"]


@dataclass(frozen=True)
class LossScaled:
    """The schedule of the relative step `η_t`, and when a step is taken back.

    - decay "root": `η_t = η/√(1 + t/steps)`: full batch; steps = 500 was measured.
    - decay "linear": `η_t = η (1 − t/steps)`: minibatches, steps = their total number.
    - decay "constant": `η_t = η` (for the schedulers of torch, which act on `group["lr"] = η`).

    Args:
        eta: η, the relative step in (0, 1); 0.02 full batch, about 0.01 for minibatches.
        decay: see above.
        steps: the time scale, ≥ 1.
        reject: take a step back if it halves `|log loss|`, and halve η (it recovers by 1 % per
            accepted step). Needs `step(closure)` with a closure that returns the *logarithm* of
            the loss on the same data at every step. Without a closure nothing is taken back; with
            one that is found to evaluate other data each time, neither.

    Raises:
        ValueError: η outside (0, 1), steps < 1, unknown decay.

    Source: measured for this library, see docs/optimizers.md.
    """

    eta: float = 0.02
    decay: Literal["root", "linear", "constant"] = "root"
    steps: int = 500
    reject: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.eta, bool) or not isinstance(self.eta, int | float):
            raise TypeError(f"eta = {self.eta!r} is no number; choose 0 < eta < 1")
        if not 0 < self.eta < 1:
            raise ValueError(f"eta = {self.eta} is not a relative step; choose 0 < eta < 1")
        if self.decay not in ("root", "linear", "constant"):
            raise ValueError(f"decay = {self.decay!r}; choose 'root', 'linear' or 'constant'")
        if self.steps < 1:
            raise ValueError(f"steps = {self.steps}; choose the time scale steps >= 1")

    def factor(self, t: int) -> float:
        """`η_t/η`, t counting accepted steps from 0."""
        if self.decay == "root":
            return 1 / math.sqrt(1 + t / self.steps)
        return max(0.0, 1 - t / self.steps) if self.decay == "linear" else 1.0

    @staticmethod
    def is_worse(before: float, after: float) -> bool:
        """True if a step from log loss `before` to `after` halved its magnitude (or is NaN).

        Above loss 1/e nothing is taken back: `|log loss|` is then no measure of progress.
        """
        return math.isnan(after) or (before < -1 and after > 0.5 * before)


def solve_step(
    relative: Callable[[float], float],
    start: float,
    target: float,
    *,
    within: float,
    attempts: int = 60,
) -> float:
    """A step s with `target/within ≤ relative(s) ≤ target·within`; `relative` is nondecreasing.

    The first guess is taken if it fits, so a step that is fed back costs one evaluation.

    Args:
        relative: ρ(s); NaN and ∞ count as too large.
        start: first guess, > 0.
        target: η > 0.
        within: the factor > 1.
        attempts: after so many the best lower bound is returned.
    """
    low, high, s = 0.0, math.inf, start
    for _ in range(attempts):
        rho = relative(s)
        if target / within <= rho <= target * within:
            break
        if rho < target:
            low = s
        else:  # also NaN
            high = s
        guess = s * min(1e3, target / rho) if 0 < rho < math.inf else s * (1e3 if rho == 0 else 0.1)
        if not low < guess < high:
            guess = math.sqrt(low * high) if low > 0 else high * 1e-3
        if guess in (low, high, s) or guess == 0 or math.isinf(guess):
            s = low or s
            break
        s = guess
    return s

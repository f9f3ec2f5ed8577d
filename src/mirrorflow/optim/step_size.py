"""Steps that need no tuning: one scalar for the whole net, kept at a relative Bregman size.

`ρ(s) = √(⟨Δu, Δθ⟩/⟨u, θ⟩)`, `Δu = −s·d`, `Δθ = ∇R*(u − s·d) − θ`, summed over all parameters. It is
exact mirror descent with a time-varying scalar step, so the horizon function is untouched, and it
does not depend on the scale of the gradient or of the loss.

Where the whole loss can be seen, a step may be made shorter by the curvature that it meets
(`RelativeStep.curvature`): an Euler step follows the flow while the gradient hardly turns along it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mirrorflow.checks import as_choice, as_flag, as_function, as_integer, as_number

__all__ = ["RelativeStep", "solve_step"]


@dataclass(frozen=True)
class RelativeStep:
    """The schedule of the relative step `η_t`, when a step is shortened and when taken back.

    - decay "root": `η_t = η/√(1 + t/steps)`: full batch; steps = 500 was measured.
    - decay "linear": `η_t = η (1 − t/steps)`: minibatches, steps = their total number.
    - decay "constant": `η_t = η` (for the schedulers of torch, which act on `group["lr"] = η`).

    `curvature` and `reject` need `step(closure)` with a closure that returns the *logarithm* of the
    loss on the same data at every step. Without a closure both do nothing; with one that is found
    to evaluate other data each time, neither.

    Args:
        eta: η, the relative step in (0, 1); 0.02 full batch, about 0.01 for minibatches.
        decay: see above.
        steps: the time scale, ≥ 1.
        reject: take a step back if it halves `|log loss|`, and halve η.
        curvature: c > 0: η is multiplied by a factor of at most 1 that is fed back to hold
            `κ = |⟨g_{t+1} − g_t, Δθ⟩| / max(c ⟨d, −Δθ⟩, (0.01 max(1, |log ℓ|))²)` near 1, and a
            step with κ > 2 is taken back. The numerator is the variance of what the step does to
            the margins: they move apart by about 1 % of log loss at most. Maps that are flat at
            zero (p > 2, cosh) get a floor under `r''` (see `floored`) that adds at most `c/2` of
            `⟨u, θ⟩` below it. 0.1 follows the flow, 0.02 more closely; None, the default, goes on
            to tiny losses in fewer steps, and leaves the flow by several per cent of the margin.
            Needs `reject`. Directions of Adam are not measured.

    Raises:
        ValueError: η outside (0, 1), steps < 1, curvature ≤ 0, unknown decay.
        TypeError: not a number, not text, not a boolean.

    Source: measured for this library, see docs/optimizers.md.
    """

    eta: float = 0.02
    decay: Literal["root", "linear", "constant"] = "root"
    steps: int = 500
    reject: bool = True
    curvature: float | None = None

    def __post_init__(self) -> None:
        checked = {
            "eta": as_number(self.eta, "eta", above=0, below=1),
            "decay": as_choice(self.decay, "decay", ("root", "linear", "constant")),
            "steps": as_integer(self.steps, "steps", least=1),
            "reject": as_flag(self.reject, "reject"),
        }
        if self.curvature is not None:
            if not checked["reject"]:
                raise ValueError(
                    f"curvature = {self.curvature!r} takes steps back, and reject = False forbids "
                    "it; pass curvature=None or reject=True"
                )
            checked["curvature"] = as_number(self.curvature, "curvature", above=0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def factor(self, t: int) -> float:
        """`η_t/η`, t counting accepted steps from 0.

        Raises:
            ValueError: t < 0.
            TypeError: t is not an integer.
        """
        t = as_integer(t, "t", least=0)
        if self.decay == "root":
            return 1 / math.sqrt(1 + t / self.steps)
        return max(0.0, 1 - t / self.steps) if self.decay == "linear" else 1.0

    @staticmethod
    def is_worse(before: float, after: float) -> bool:
        """True if a step from log loss `before` to `after` halved its magnitude (or is NaN).

        Above loss 1/e nothing is taken back: `|log loss|` is then no measure of progress.

        Raises:
            TypeError: not numbers.
        """
        for name, value in (("before", before), ("after", after)):
            if not isinstance(value, float):
                as_number(value, name, infinite=True)
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

    Raises:
        ValueError: a number outside its range.
        TypeError: not a number, or not a function.
    """
    as_function(relative, "relative", "the step s")
    start = as_number(start, "start", above=0)
    target = as_number(target, "target", above=0)
    within = as_number(within, "within", above=1)
    attempts = as_integer(attempts, "attempts", least=1)
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

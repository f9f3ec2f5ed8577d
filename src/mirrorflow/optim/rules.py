"""Every update rule once, as a pure function; the optimizers only hold state and options.

Notation: `x` parameter, `g` gradient, `d` direction (what is subtracted in the dual), `u = ∇R(x)`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from mirrorflow.maps import MirrorMap, Quadratic

__all__ = ["Decay", "adam", "decay_names", "heavy_ball", "mirror_step", "shrink"]

Decay = Literal["primal", "dual"]


def decay_names() -> list[str]:
    """The readings of weight decay that `mirror_step` knows."""
    return list(get_args(Decay))


def heavy_ball(
    g: Tensor,
    buffer: Tensor | None,
    momentum: float,
    *,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> tuple[Tensor, Tensor]:
    """Momentum in the dual: `m ← μ m + (1−τ) g` (first step `m = g`); `d = m`, or `g + μ m`.

    The recursion is `u ← u − lr·d`, so the trajectory in the dual is that of the heavy ball and
    the horizon function is untouched.

    Args:
        g: gradient, any shape.
        buffer: the momentum of the step before, or None at the first step; it is not changed.
        momentum: μ in [0, ∞).
        dampening: τ.
        nesterov: look ahead, `d = g + μ m`.

    Returns:
        `(d, m)`.
    """
    # The same operations in the same order as torch.optim.SGD, so that the results agree bitwise.
    m = g.clone() if buffer is None else (buffer * momentum).add_(g, alpha=1 - dampening)
    return (g.add(m, alpha=momentum) if nesterov else m), m


def adam(
    g: Tensor,
    first: Tensor,
    second: Tensor,
    step: float | Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
    largest: Tensor | None = None,
) -> tuple[Tensor, float | Tensor, Tensor, Tensor, Tensor | None]:
    """Adam's bias-corrected direction, as numerator, denominator and a factor.

    `m ← β₁ m + (1−β₁) g`, `v ← β₂ v + (1−β₂) g²`,
    `d = m/(√v/√(1−β₂ᵗ) + ε)/(1−β₁ᵗ)`; AMSGrad takes the largest `v` so far.

    Returns:
        `(denominator, 1−β₁ᵗ, m, v, largest)`: `d = m/denominator/(1−β₁ᵗ)`, then the new state.
    """
    beta1, beta2 = betas
    first = torch.lerp(first, g, 1 - beta1)
    second = (second * beta2).addcmul_(g, g, value=1 - beta2)
    scale = (1 - beta2**step) ** 0.5
    if largest is not None:
        largest = torch.maximum(largest, second)
    denominator = ((second if largest is None else largest).sqrt() / scale).add_(eps)
    return denominator, 1 - beta1**step, first, second, largest


def shrink(mirror_map: MirrorMap, x: Tensor, amount: float | Tensor, decay: Decay) -> Tensor:
    """Decoupled weight decay by `amount = lr·λ`: `(1 − amount) x`, or `∇R*((1 − amount) ∇R(x))`."""
    if decay == "primal":
        return x * (1 - amount)
    return mirror_map.step(x, mirror_map.to_dual(x) * amount)


def mirror_step(
    mirror_map: MirrorMap,
    x: Tensor,
    direction: Tensor,
    lr: float | Tensor,
    *,
    weight_decay: float = 0.0,
    decay: Decay = "primal",
    denominator: Tensor | None = None,
    correction: float | Tensor = 1.0,
) -> Tensor:
    """`x' = ∇R*(∇R(x) − lr·d)`, with decoupled weight decay λ; where nothing is to move, x bitwise.

    - decay "primal": `x ← (1 − lr·λ) x` first, as AdamW does: all entries shrink alike, and the
      direction `θ/Q(θ)` is untouched.
    - decay "dual": `u ← (1 − lr·λ) u`, mirror descent on the penalty `λ R(θ)`; the dual energy
      falls at the rate `λ⟨θ, u⟩`. For `Quadratic` the two agree.

    Args:
        mirror_map: the map R.
        x: parameter, any shape.
        direction: d, the shape of x.
        lr: the step, a number or a 0-dimensional tensor.
        weight_decay: λ ≥ 0.
        decay: which reading.
        denominator: if given, `d = direction/denominator/correction` entry by entry (Adam).
        correction: a number > 0 that divides the direction, not the weight decay.

    Returns:
        A new tensor.
    """
    x = shrink(mirror_map, x, lr * weight_decay, decay) if weight_decay else x
    lr = lr / correction
    if isinstance(mirror_map, Quadratic):
        # One rounding (fused multiply-add), bitwise what torch.optim.SGD and AdamW do.
        if denominator is not None:
            moved = _addcdiv(x, direction, denominator, lr)
        elif isinstance(lr, Tensor):
            moved = x - lr * direction
        else:
            moved = torch.add(x, direction, alpha=-lr)
        return torch.where(direction == 0, x, moved)  # −0 + 0 would lose the sign
    if denominator is None:
        return mirror_map.step(x, direction * lr)
    # Where Adam has seen no gradient, ε = 0 would make 0/0 of it.
    delta = torch.where(direction == 0, direction, direction / denominator * lr)
    return mirror_map.step(x, delta)


def _addcdiv(x: Tensor, a: Tensor, b: Tensor, lr: float | Tensor) -> Tensor:
    if isinstance(lr, Tensor):
        return x - lr * (a / b)
    return torch.addcdiv(x, a, b, value=-lr)

"""Inverse of an increasing scalar function, entry by entry, to full precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["solve_increasing"]


def solve_increasing(
    value: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    target: Tensor,
    *,
    iterations: int = 200,
) -> Tensor:
    """The x > 0 with `value(x) = target`, for `target > 0` and an increasing `value(0) = 0`.

    Newton's method on `log value` as a function of `log x`, where powers and products of powers
    with slowly varying factors are nearly straight, inside a bracket that starts with all positive
    floats; a step that leaves the bracket, or is not finite, is replaced by a bisection in `log x`.
    Two Newton steps on x itself end it. The answer is 0 or ∞ where no float reaches the target.
    """
    limits = torch.finfo(target.dtype)
    low = torch.full_like(target, limits.smallest_normal).log()
    high = torch.full_like(target, limits.max).log()
    wanted = target.log()
    log_x = torch.zeros_like(target)
    for count in range(iterations):
        x = log_x.exp()
        here = value(x)
        residual = here.log() - wanted
        low = torch.where(residual < 0, log_x, low)
        high = torch.where(residual > 0, log_x, high)
        newton = log_x - residual * here / (slope(x) * x)
        # Every fourth step bisects, so that a flat stretch cannot hold Newton at one end.
        inside = (newton > low) & (newton < high) & (count % 4 != 3)
        new = torch.where(inside, newton, 0.5 * (low + high))
        new = torch.where(residual == 0, log_x, new)
        # `high − low` is exhausted where the float grid of log x is.
        done = ((new - log_x).abs() <= 1e-13 * (1 + log_x.abs())) | (residual == 0)
        log_x = new
        if bool(done.all()):
            break
    x = log_x.exp()
    for _ in range(2):
        change = (value(x) - target) / slope(x)
        refined = x - change
        good = change.isfinite() & (change.abs() <= 1e-6 * x)
        x = torch.where(good, refined, x)
    x = torch.where(wanted == -torch.inf, torch.zeros_like(x), x)
    return torch.where(target == torch.inf, target, x)

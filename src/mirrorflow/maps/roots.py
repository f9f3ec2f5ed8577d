"""Inverse of an increasing scalar function, entry by entry, to full precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["UnsolvedError", "solve_increasing"]

# An error of 1e-8 in log x is one of 1e-16 after one more step of Newton's method.
SETTLED = 1e-8
TOLERANCE = 1e-9
# The slope of a cubic is right to 1e-4 where its value is to 1e-8.
CHORD = 1e-12


class UnsolvedError(ArithmeticError):
    """No x has the value `target`."""

    def __init__(self, target: float) -> None:
        super().__init__(f"no solution for {target}")
        self.target = target


def solve_increasing(
    value: Callable[[Tensor], Tensor],
    both: Callable[[Tensor], tuple[Tensor, Tensor]],
    target: Tensor,
    low: Tensor,
    high: Tensor,
    start: Tensor,
    steepness: Tensor,
    *,
    iterations: int = 200,
) -> Tensor:
    """The x in `[low, high]` with `value(x) = target`, for an increasing function and target > 0.

    Newton's method on `log value` as a function of `log x`, where powers and products of powers
    with slowly varying factors are nearly straight, inside a bracket; a step that leaves it, or is
    not finite, is replaced by a bisection in `log x`. Each entry goes its own way: the others of
    the tensor change nothing.

    Args:
        value: the function.
        both: it and its derivative.
        target: what it must reach, shape (n,), as all that follow.
        low: a lower bound of x, positive.
        high: an upper bound.
        start: a guess between them.
        steepness: a guess of `d log value/d log x` there. Where it and the start are near enough,
            two steps with it make the derivative unnecessary.
        iterations: at most so many.

    Raises:
        UnsolvedError: the value at the end misses the target by more than `1e-9 target`, and by
            more than eight roundings of x.
    """
    quick, near = _chords(value, target, start, steepness)
    if bool(near.all()):
        return quick
    x, done = start, None
    for count in range(iterations):
        here, slope = both(x)
        miss, steep = here - target, slope * x / here
        shift = -torch.log1p(miss / target) / steep
        # NaN, where r' is infinite or far below the target, is not settled.
        settled = (shift.abs() <= SETTLED) & (steep < torch.inf)
        if done is None and bool(settled.all()):
            x = x + x * torch.expm1(shift)
            break
        low = torch.where(miss < 0, x, low)
        high = torch.where(miss > 0, x, high)
        # Far from the target the logarithms themselves keep the digits.
        apart = (target.log() - here.log()) / steep
        new = x + x * torch.expm1(torch.where(miss.abs() <= 0.5 * target, shift, apart))
        # Every fourth step bisects, so that a flat stretch cannot hold Newton at one end.
        # Rounding may put the last step a digit outside of the bracket.
        inside = ((new >= low) & (new <= high) & (count % 4 != 3)) | settled
        new = torch.where(inside, new, low.sqrt() * high.sqrt())
        new = torch.where(miss == 0, x, new)
        settled = settled | (miss == 0)
        x = new if done is None else torch.where(done, x, new)
        done = settled if done is None else done | settled
        if bool(done.all()):
            break
    miss = (value(x) - target).abs()
    if not bool((miss <= TOLERANCE * target).all()):
        rounding = 8 * torch.finfo(x.dtype).eps * steep.abs().clamp(max=1e6)
        # The smallest floats have few digits.
        bad = ~(miss <= (TOLERANCE + rounding) * target + 2e-323)
        if bool(bad.any()):
            raise UnsolvedError(float(target[bad][0]))
    return torch.where(near, quick, x)


def _chords(
    value: Callable[[Tensor], Tensor], target: Tensor, x: Tensor, steepness: Tensor
) -> tuple[Tensor, Tensor]:
    """Two steps with one slope, and where they have settled: then the error left is below the last
    change times that of the slope."""
    for _ in range(2):
        shift = torch.log1p((value(x) - target) / target) / steepness
        x = x - x * torch.expm1(shift)
    near = (shift.abs() <= CHORD) & ((shift * steepness).abs() <= TOLERANCE)
    return x, near

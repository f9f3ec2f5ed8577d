"""What a scalar function must be to make a mirror map, checked at the door."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["verify_scalar"]


def verify_scalar(
    gradient: Callable[[Tensor], Tensor], given: Callable[[Tensor], Tensor], kind: str
) -> None:
    """Check `gradient` on 1201 points of |x| in 1e-6 … 1e6, both signs, and at 0.

    Args:
        gradient: `r'`.
        given: what the user passed, `r'` or `r`; the errors name it.
        kind: "gradient" or "potential", the name of the argument.

    Raises:
        ValueError: with the argument, the place and what is required.
    """
    half = torch.logspace(-6, 6, 1201, dtype=torch.float64)
    try:
        value = given(half.reshape(1, -1))
    except Exception as error:
        raise ValueError(
            f"{kind} fails on a float64 tensor of shape (1, {half.numel()}): {error}; it must "
            "accept "
            "tensors of any shape and act entry by entry"
        ) from error
    if not isinstance(value, Tensor) or value.shape != (1, half.numel()):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{kind} maps shape (1, {half.numel()}) to {got}; it must act entry by entry, and "
            "give a "
            "tensor of the shape of its argument (no sum)"
        )
    positive, negative = gradient(half), gradient(-half)
    usable = int(positive.isfinite().cumprod(0).sum())
    if usable <= 600:
        raise ValueError(
            f"{kind} gives r'({float(half[usable]):.4g}) = {float(positive[usable]):.4g}; r' must "
            "be "
            "finite at least for |x| <= 1"
        )
    half, positive, negative = half[:usable], positive[:usable], negative[:usable]
    uneven = (positive + negative).abs() > 1e-9 * (positive.abs() + negative.abs())
    if bool(uneven.any()):
        at = int(uneven.nonzero()[0])
        raise ValueError(
            f"{kind} is not {'odd' if kind == 'gradient' else 'even'}: "
            f"r'({float(half[at]):.6g}) = {float(positive[at]):.6g} but "
            f"r'({-float(half[at]):.6g}) = {float(negative[at]):.6g}; r' must be odd. Write it in "
            "x.abs() "
            "and x.sign()"
        )
    origin = float(gradient(torch.zeros(1, dtype=torch.float64)))
    jump = origin != 0 and abs(origin) > 1e-12 * float(positive[-1].abs())
    if jump or float(positive[0]) <= 0 or bool((positive.diff() <= 0).any()):
        values = torch.cat([torch.tensor([0.0], dtype=torch.float64), positive])
        places = torch.cat([torch.tensor([0.0], dtype=torch.float64), half])
        if jump:
            raise ValueError(f"{kind} gives r'(0) = {origin:.6g}; it must be 0")
        at = int((values.diff() <= 0).nonzero()[0])
        raise ValueError(
            f"{kind} is not strictly {'increasing' if kind == 'gradient' else 'convex'}: "
            f"r'({float(places[at]):.6g}) = {float(values[at]):.6g} and "
            f"r'({float(places[at + 1]):.6g}) = {float(values[at + 1]):.6g}; r' must increase "
            "strictly, so "
            "that it has an inverse (a bounded r' such as tanh has none, and no horizon)"
        )

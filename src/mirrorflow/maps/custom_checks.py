"""What a scalar function must be to make a mirror map, checked before anything uses it."""

from __future__ import annotations

import math
from typing import NoReturn

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.table import Pair, Scalar

__all__ = ["verify_scalar"]


def verify_scalar(gradient: Scalar, both: Pair, given: Scalar, kind: str) -> float:
    """Check `gradient` on 1201 points of |x| in 1e-6 … 1e6, both signs, and at 0.

    Args:
        gradient: `r'`.
        both: `r'` and `r''`.
        given: what the user passed, `r'` or `r`; the errors name it.
        kind: "gradient" or "potential", the name of the argument.

    Returns:
        `r''(0)`, the limit from the right: ∞ or 0 where r' is no line there.

    Raises:
        ValueError: with the argument, the place and what is required.
    """
    half = torch.logspace(-6, 6, 1201, dtype=torch.float64)
    _require_entrywise(given, kind, half)
    try:
        positive, negative = gradient(half), gradient(-half)
        origin = float(gradient(torch.zeros(1, dtype=torch.float64)))
    except Exception as error:
        _refuse_failure(kind, half, error)
    usable = int(positive.isfinite().cumprod(0).sum())
    if usable <= 600:
        raise ValueError(
            f"{kind} gives r'({float(half[usable]):.4g}) = {float(positive[usable]):.4g}; r' must "
            "be finite at least for |x| <= 1"
        )
    half, positive, negative = half[:usable], positive[:usable], negative[:usable]
    _require_odd(kind, half, positive, negative)
    _require_increasing(kind, half, positive, origin)
    low, exponent = _require_no_jump_at_0(gradient, kind)
    _require_continuous(gradient, kind, half, positive)
    _require_differentiable(gradient, both, kind, half)
    if abs(exponent - 1) > 1e-3:
        return 0.0 if exponent > 1 else math.inf
    return float(gradient(torch.tensor([low], dtype=torch.float64))) / low


def _refuse_failure(kind: str, half: Tensor, error: Exception) -> NoReturn:
    raise ValueError(
        f"{kind} fails on a float64 tensor of shape (1, {half.numel()}): {error}; it must accept "
        "tensors of any shape and act entry by entry"
    ) from error


def _require_entrywise(given: Scalar, kind: str, half: Tensor) -> None:
    try:
        value, again = given(half.reshape(1, -1)), given(half.reshape(1, -1))
    except Exception as error:  # a user's function may raise anything
        _refuse_failure(kind, half, error)
    if not isinstance(value, Tensor) or value.shape != (1, half.numel()):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{kind} maps shape (1, {half.numel()}) to {got}; it must act entry by entry, and "
            "give a tensor of the shape of its argument (no sum)"
        )
    if value.dtype != torch.float64:
        raise ValueError(
            f"{kind} gives {value.dtype} for float64; it must keep the dtype of its argument"
        )
    if not torch.equal(value.nan_to_num(), again.nan_to_num()):
        raise ValueError(f"{kind} gives another value at each call; it must be a function of x")
    parts = [given(half[::3]), given(half.flip(0))[::300]]
    alone = [value[0, ::3], value[0].flip(0)[::300]]
    for part, whole in zip(parts, alone, strict=True):
        same = isinstance(part, Tensor) and part.shape == whole.shape
        if not same or not torch.allclose(part, whole, rtol=1e-9, atol=0, equal_nan=True):
            raise ValueError(
                f"{kind} gives other values for x = {shown(half[::3])} than for each entry by "
                "itself; it must act entry by entry (no sum, mean or norm)"
            )


def _require_odd(kind: str, half: Tensor, positive: Tensor, negative: Tensor) -> None:
    uneven = (positive + negative).abs() > 1e-9 * (positive.abs() + negative.abs())
    if bool(uneven.any()) or bool(negative.isnan().any()):
        at = int((uneven | negative.isnan()).nonzero()[0])
        raise ValueError(
            f"{kind} is not {'odd' if kind == 'gradient' else 'even'}: "
            f"r'({float(half[at]):.6g}) = {float(positive[at]):.6g} but "
            f"r'({-float(half[at]):.6g}) = {float(negative[at]):.6g}; r' must be odd. Write it in "
            "x.abs() and x.sign()"
        )


def _require_increasing(kind: str, half: Tensor, positive: Tensor, origin: float) -> None:
    if origin != 0 and abs(origin) > 1e-12 * float(positive[-1].abs()):
        raise ValueError(f"{kind} gives r'(0) = {origin:.6g}; it must be 0")
    values = torch.cat([torch.tensor([0.0], dtype=torch.float64), positive])
    places = torch.cat([torch.tensor([0.0], dtype=torch.float64), half])
    if bool((values.diff() <= 0).any()):
        at = int((values.diff() <= 0).nonzero()[0])
        raise ValueError(
            f"{kind} is not strictly {'increasing' if kind == 'gradient' else 'convex'}: "
            f"r'({float(places[at]):.6g}) = {float(values[at]):.6g} and "
            f"r'({float(places[at + 1]):.6g}) = {float(values[at + 1]):.6g}; r' must increase "
            "strictly, so that it has an inverse (a bounded r' such as tanh has none, and no "
            "horizon), and be made of differentiable torch operations"
        )


def _require_no_jump_at_0(gradient: Scalar, kind: str) -> tuple[float, float]:
    """Refuse `r'(0+) > 0`.

    Returns:
        The smallest of the points at which r' is usable, and the exponent `d log r'/d log x` there.
    """
    x = torch.logspace(-300, -6, 295, dtype=torch.float64)
    value = gradient(x)
    first = len(x) - int((value.isfinite() & (value > 0)).flip(0).to(torch.int64).cumprod(0).sum())
    # Next to what underflows digits are missing.
    first = min(first + 10 if first else 0, len(x) - 11)
    x, value = x[first:], value[first:]
    step = max((len(x) - 1) // 4, 1)
    v = [float(value[k * step]) for k in range(4)]
    exponent = math.log(v[1] / v[0]) / math.log(float(x[step] / x[0]))
    # r' = J + c x^a at equal ratios: Aitken's J from two triples agrees; of a slowly varying
    # r'(0+) = 0, such as 1/log(1/x), it does not.
    rises = [b - a for a, b in zip(v, v[1:], strict=False)]
    flat = rises[0] <= 1e-9 * v[0]
    limits = [
        a - r * r / (s - r) if s > r else -math.inf
        for a, r, s in zip(v, rises, rises[1:], strict=False)
    ]
    settled = limits[0] > 1e-3 * v[0] and abs(limits[1] - limits[0]) <= 1e-3 * limits[0]
    if flat or settled:
        jump = v[0] if flat else limits[0]
        raise ValueError(
            f"{kind} has a kink at 0: r' jumps there from {-jump:.6g} to {jump:.6g}, so that x = 0 "
            "does not determine its dual, which may be anything between; a mirror map needs r' "
            "continuous with r'(0) = 0. Round the kink off, for instance sqrt(x**2 + 1e-6) for |x|"
        )
    return float(x[0]), exponent


def _require_continuous(gradient: Scalar, kind: str, half: Tensor, positive: Tensor) -> None:
    """Refuse r' that jumps: the larger half of each interval is halved down to rounding."""
    left, right, below, above = half[:-1], half[1:], positive[:-1], positive[1:]
    for _ in range(42):
        middle = 0.5 * (left + right)
        value = gradient(middle)
        upper = above - value > value - below
        left, right = torch.where(upper, middle, left), torch.where(upper, right, middle)
        below, above = torch.where(upper, value, below), torch.where(upper, above, value)
    jumps = above - below > 1e-4 * above.abs()
    if bool(jumps.any()):
        at = int(jumps.nonzero()[0])
        raise ValueError(
            f"{kind} has a kink of r: r' jumps from {float(below[at]):.6g} to "
            f"{float(above[at]):.6g} at x = {float(left[at]):.10g}, so that x does not determine "
            "its dual there; make r' continuous"
        )


def _require_differentiable(gradient: Scalar, both: Pair, kind: str, half: Tensor) -> None:
    try:
        slope = both(half)[1]
    except Exception as error:
        raise ValueError(
            f"{kind} has no derivative r'' by autograd ({error}); make it of differentiable torch "
            "operations"
        ) from error
    step = 1e-5 * half
    secant = (gradient(half + step) - gradient(half - step)) / (2 * step)
    scale = gradient(half) / half
    wrong = ~((slope - secant).abs() <= 0.02 * secant + 1e-6 * scale)
    # A few points may lie at kinks.
    if int(wrong.sum()) > 0.02 * half.numel():
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"{kind} has r''({float(half[at]):.6g}) = {float(slope[at]):.6g} by autograd, but its "
            f"differences give {float(secant[at]):.6g}; make it of differentiable torch operations "
            "(no detach, round, NumPy or item)"
        )

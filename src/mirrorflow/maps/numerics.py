"""Elementary functions in the forms that lose no digits; every map is made of these.

`torch.expm1` is compiled by inductor on the CPU to `exp(x) − 1`, which loses every digit of a
small argument: `expm1` below is the form that survives compilation.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "asinh_ratio",
    "asinh_shift",
    "expm1",
    "expm1_minus",
    "log1p_ratio",
    "log_asinh_exp",
    "log_expm1_exp",
    "log_log1p_exp",
    "log_root_of_sum",
    "log_sinh_exp",
    "magnitude",
    "minus_log1p",
    "power",
    "product_minus",
    "scaled_power",
    "signed",
    "typed_fraction",
]

LOG2 = math.log(2.0)
_ROUNDS = 8  # of Newton's method: enough for exponents from 1.001 to 1000 across the whole bend


def signed(magnitude: Tensor, sign_of: Tensor) -> Tensor:
    """`magnitude` with the sign of `sign_of`; flipped where magnitude is negative.

    A zero counts as positive, so that a step away from 0 is not lost.
    """
    return torch.where(sign_of < 0, -magnitude, magnitude)


def magnitude(x: Tensor) -> Tensor:
    """`|x|`, whose derivative at 0 is 1: an odd map written in `|x|` keeps its derivative there."""
    return torch.where(x < 0, -x, x)


def expm1(x: Tensor) -> Tensor:
    """`e^x − 1` to the last digits, also when compiled (then as `tanh(x/2)(e^x + 1)`)."""
    if torch.compiler.is_compiling():
        return torch.tanh(0.5 * x) * (torch.exp(x) + 1)
    return torch.expm1(x)


def expm1_minus(m: Tensor) -> Tensor:
    """`e^m − 1 − m` for `m ≥ 0`: the series below 1, where the difference would cancel."""
    small = m.clamp(max=1.0)
    series = torch.ones_like(m) / math.factorial(20)
    for k in range(19, 1, -1):
        series = series * small + 1 / math.factorial(k)
    return torch.where(m < 1, small * small * series, expm1(m.clamp(min=1.0)) - m.clamp(max=1e4))


def minus_log1p(z: Tensor) -> Tensor:
    """`z − log(1 + z)` for `z ≥ 0`: by `log(1+z) = 2 atanh(z/(2+z))` below 1."""
    small = z.clamp(max=1.0)
    w = small / (2 + small)
    w2 = w * w
    tail = torch.ones_like(z) / 37
    for k in range(35, 1, -2):
        tail = tail * w2 + 1 / k
    log = torch.log1p(z.clamp(1.0, torch.finfo(z.dtype).max))
    return torch.where(z < 1, small * w - 2 * w * w2 * tail, z - log)


def asinh_ratio(a: Tensor, scale: float) -> Tensor:
    """`asinh(a/scale)`, also where `a/scale` overflows."""
    if scale >= 1:
        return torch.asinh(a / scale)
    ratio = a / scale
    large = ratio.isinf()
    far = torch.log(torch.where(large, a.abs(), 1.0)) + (LOG2 - math.log(scale))
    return torch.where(large, signed(far, a), torch.asinh(torch.where(large, 0.0, ratio)))


def log1p_ratio(m: Tensor, scale: float) -> Tensor:
    """`log(1 + m/scale)` for `m ≥ 0`, also where `m/scale` overflows."""
    if scale >= 1:
        return torch.log1p(m / scale)
    ratio = m / scale
    large = ratio.isinf()
    far = torch.log(torch.where(large, m, 1.0)) - math.log(scale)
    return torch.where(large, far, torch.log1p(torch.where(large, 0.0, ratio)))


def product_minus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """`x y − z` for `x ≥ 0`, also where `x y` overflows and this does not."""
    plain = x * y - z
    return torch.where(plain.isinf(), x * (y - z / x), plain)


def scaled_power(x: Tensor, exponent: Fraction, factor: float) -> Tensor:
    """`factor x^e` for `x ≥ 0`, `e > 0`, also where `x^e` overflows or vanishes and this does not:
    there `x^{e/2}` enters twice."""
    limits, inverse = torch.finfo(x.dtype), 1 / max(float(exponent), 1.0)
    plain = (x == 0) | ((x < limits.max**inverse) & (x > (limits.tiny / limits.eps) ** inverse))
    near = factor * power(torch.where(plain, x, 1.0), exponent)
    half = power(torch.where(plain, 1.0, x), exponent / 2)
    return torch.where(plain, near, (factor * half) * half)


def asinh_shift(x: Tensor, a: Tensor, unit: float = 1.0) -> tuple[Tensor, Tensor]:
    """`asinh(sinh x − a/unit)` and x minus that, each without cancellation or overflow.

    With `m = |x|`, `s = sgn(x) a` and everything divided by `e^m`,
    `m − asinh(sinh m − s) = log1p(s (e^m + e^{m'})/((cosh m + cosh m')e^{m'}))`
    while `|s| ≤ ½ sinh m`; beyond, the difference `sinh m − s` is itself accurate.
    """
    m = magnitude(x)
    s = signed(a, x)
    decay = torch.exp(-m)
    sinh = -0.5 * expm1(-2 * m)
    shift = (s * decay) / unit
    near = shift.abs() <= 0.5 * sinh
    shift = torch.where(near, shift, 0.0)
    left = sinh - shift
    cosh = torch.hypot(decay, left)
    both = 0.5 * (1 + decay * decay) + cosh
    fall = torch.log1p(shift * (1 + (left + cosh)) / (both * (left + cosh)))
    # A finite `a` can pass ½ unit sinh m only while that is finite.
    rest = 0.5 * torch.where(near, 0.0, m)
    half = (unit * torch.sinh(rest)) * torch.cosh(rest) - 0.5 * torch.where(near, 0.0, s)
    large = half.abs() > 0.25 * torch.finfo(x.dtype).max
    log = torch.log(torch.where(large, half.abs(), 1.0)) + (2 * LOG2 - math.log(unit))
    close = asinh_ratio(2 * torch.where(large, 0.0, half), unit)
    far = torch.where(large, signed(log, half), close)
    fall = torch.where(near, fall, m - far)
    return signed(torch.where(near, m - fall, far), x), signed(fall, x)


def log_sinh_exp(log_x: Tensor) -> Tensor:
    """`log sinh(e^l)`: `sinh` on the scale of logarithms."""
    x = torch.exp(log_x)
    middle = x.clamp(1e-4, 20.0)
    series = log_x + x.clamp(max=1e-4) ** 2 / 6
    far = x + torch.log1p(-torch.exp(-2 * x.clamp(min=20.0))) - LOG2
    return torch.where(x < 1e-4, series, torch.where(x > 20, far, torch.log(torch.sinh(middle))))


def log_asinh_exp(log_x: Tensor) -> Tensor:
    """`log asinh(e^l)`: the inverse of `log_sinh_exp`."""
    low, high = math.log(1e-4), 20.0
    middle = torch.log(torch.asinh(torch.exp(log_x.clamp(low, high))))
    series = log_x - torch.exp(2 * log_x.clamp(max=low)) / 6
    far = torch.log(log_x.clamp(min=high) + LOG2)
    return torch.where(log_x < low, series, torch.where(log_x > high, far, middle))


def log_expm1_exp(log_x: Tensor) -> Tensor:
    """`log expm1(e^l)`."""
    x = torch.exp(log_x)
    low = x.clamp(max=1e-4)
    series = log_x + low / 2 + low * low / 24
    far = x + torch.log1p(-torch.exp(-x.clamp(min=40.0)))
    middle = torch.log(expm1(x.clamp(1e-4, 40.0)))
    return torch.where(x < 1e-4, series, torch.where(x > 40, far, middle))


def log_log1p_exp(log_x: Tensor) -> Tensor:
    """`log log1p(e^l)`: the inverse of `log_expm1_exp`."""
    low, high = math.log(1e-5), 40.0
    x = torch.exp(log_x.clamp(max=low))
    series = log_x - x / 2 + 5 * x * x / 24
    middle = torch.log(torch.log1p(torch.exp(log_x.clamp(low, high))))
    far = torch.log(log_x.clamp(min=high))
    return torch.where(log_x < low, series, torch.where(log_x > high, far, middle))


def typed_fraction(value: float) -> Fraction:
    """The rational number that was meant: 1.1 is 11/10, and 4/3 to the last bit is 4/3."""
    simple = Fraction(value).limit_denominator(1000)
    if abs(float(simple) - value) <= math.ulp(value):
        return simple
    return Fraction(str(value))


def power(x: Tensor, exponent: Fraction) -> Tensor:
    """`x^e` for `x ≥ 0`, `e > 0`, correct for the exact `e` and not only for its rounding.

    Small integers and half-integers are products and square roots; for the others the part of
    `e` below the precision of the tensor is put back to first order, `x^{e+ε} = x^e(1 + ε log x)`.
    """
    if exponent.denominator <= 2 and exponent <= 4:
        whole, half = exponent.numerator // exponent.denominator, exponent.denominator == 2
        result = torch.sqrt(x) if half else x.clone()
        for _ in range(whole if half else whole - 1):
            result = result * x
        return result
    rounded = np.float32(float(exponent)) if x.dtype == torch.float32 else float(exponent)
    rest = float(exponent - Fraction(float(rounded)))
    result = x ** float(rounded)
    if rest == 0 or x.dtype not in (torch.float32, torch.float64):
        return result
    limits = torch.finfo(x.dtype)
    logarithm = torch.log(x.clamp(limits.tiny, limits.max))
    return result + result.clamp(max=limits.max) * (rest * logarithm)


def log_root_of_sum(log_u: Tensor, log_a: float, log_b: float, e: float) -> Tensor:
    """`log x` with `a x + b x^e = u`, by Newton's method on logarithms (convex, so monotone)."""
    log_x = torch.minimum(log_u - log_a, (log_u - log_b) / e)
    for _ in range(_ROUNDS):
        linear, curved = log_x + log_a, e * log_x + log_b
        value = torch.logaddexp(linear, curved)
        share = torch.exp(linear - value)
        log_x = log_x - (value - log_u) / (share + e * (1 - share))
    return log_x

"""How fast a map stiffens along a ray: the fact from which the laws of growth follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["RadialGrowth"]


@dataclass(frozen=True)
class RadialGrowth:
    """`dE/dQ` far out on a ray, where `E = R*(∇R)` is the dual energy and Q the horizon.

    One of three forms:

    - `dE/dQ ~ A Q^{α−1}`: index α finite, order 0;
    - `log dE/dQ ~ c Q^m`: index ∞, order m in (0, ∞), rate c;
    - `log log dE/dQ ~ c Q`: index ∞, order ∞, rate c.

    Attributes:
        index: α, the index of variation, in [1, ∞].
        log_constant: `log A`; NaN if `dE/dQ` has a slowly varying factor, or α = ∞.
        order: m.
        rate: c; 0 if α is finite.
        log_dual: `log r'` as a function of `log x`, for the approach to these limits; None if
            the form is exact.
    """

    index: float
    log_constant: float = math.nan
    order: float = 0.0
    rate: float = 0.0
    log_dual: Callable[[Tensor], Tensor] | None = field(default=None, compare=False, repr=False)

"""Step-size control: proportional-integral (Gustafsson), on the error per unit of tolerance."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 4.0
_FLOOR = 1e-4  # an error below this share of the tolerance says no more than "small"
_CEILING = 0.6  # share of a step that failed, up to which the next may grow at first
RISE = 1.1  # of that bound at the first step that is taken, squared at every further one


class Controller:
    """`h <- 0.9 h err^(-0.7/k) err_last^(0.3/k)` for an error estimate of order k.

    A step that could not be solved leaves a bound on those that follow. It rises slowly at first,
    since the same h most often fails again, and ever faster, since a corner is soon passed.
    """

    def __init__(
        self, order: int, last: float = 1.0, ceiling: float = math.inf, rise: float = RISE
    ) -> None:
        self.order, self.last, self.ceiling, self.rise = order, last, ceiling, rise

    def next(self, h: float, error: float) -> float:
        """The step after one of length h that was accepted with this error."""
        error = max(error, _FLOOR**2)
        factor = _SAFETY * error ** (-0.7 / self.order) * self.last ** (0.3 / self.order)
        self.last = max(error, _FLOOR)
        found = min(h * min(_GROW, max(_SHRINK, factor)), self.ceiling)
        if self.ceiling < math.inf:
            self.ceiling, self.rise = self.ceiling * self.rise, self.rise**2
            if self.rise > _GROW:
                self.ceiling, self.rise = math.inf, RISE
        return found

    def retry(self, h: float, error: float) -> float:
        """The step after one of length h that was rejected for this error."""
        if not error < float("inf"):
            return 0.1 * h
        return h * max(0.1, _SAFETY * error ** (-1.0 / self.order))

    def failed(self, h: float) -> float:
        """The step after one of length h that could not be solved."""
        self.ceiling, self.rise = _CEILING * h, RISE
        return 0.25 * h

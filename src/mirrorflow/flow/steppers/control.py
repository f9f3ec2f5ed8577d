"""Step-size control: proportional-integral (Gustafsson), on the error per unit of tolerance."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 4.0
_FLOOR = 1e-4  # an error below this share of the tolerance says no more than "small"


class Controller:
    """`h <- 0.9 h err^(-0.7/k) err_last^(0.3/k)` for an error estimate of order k."""

    def __init__(self, order: int, last: float = 1.0) -> None:
        self.order, self.last = order, last

    def next(self, h: float, error: float) -> float:
        error = max(error, _FLOOR**2)
        factor = _SAFETY * error ** (-0.7 / self.order) * self.last ** (0.3 / self.order)
        self.last = max(error, _FLOOR)
        return h * min(_GROW, max(_SHRINK, factor))

    def retry(self, h: float, error: float) -> float:
        if not error < float("inf"):
            return 0.1 * h
        return h * max(0.1, _SAFETY * error ** (-1.0 / self.order))

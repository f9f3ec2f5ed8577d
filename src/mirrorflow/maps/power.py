"""The power map: p-homogeneous geometry, horizon ℓp."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["Power"]


@dataclass(frozen=True)
class Power(SeparableMap):
    """`r(x) = |x|^p/p`, `r'(x) = sgn x |x|^{p−1}`, `p > 1`: horizon ℓp; `Power(2)` is `Quadratic`.

    Args:
        p: the exponent, in (1, ∞). Near 1 features are sparse, large p makes them dense.

    Raises:
        ValueError: p ≤ 1, infinite or NaN.
    """

    p: float

    def __post_init__(self) -> None:
        if not 1 < self.p < float("inf"):
            raise ValueError(
                f"p = {self.p} gives no Legendre potential; choose 1 < p < inf "
                "(for p -> 1 use HyperbolicEntropy, for p -> inf use Cosh)"
            )

    @property
    def index(self) -> float:
        """`p`."""
        return self.p

    @property
    def homogeneous(self) -> bool:
        """True, of degree p."""
        return True

    def potential_entries(self, x: Tensor) -> Tensor:
        """`|x|^p/p`."""
        return x.abs() ** self.p / self.p

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`(1 − 1/p)|x|^p`."""
        return (1 - 1 / self.p) * x.abs() ** self.p

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x |x|^{p−1}`."""
        return x.sign() * x.abs() ** (self.p - 1)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u |u|^{1/(p−1)}`."""
        return u.sign() * u.abs() ** (1 / (self.p - 1))

    def hessian(self, x: Tensor) -> Tensor:
        """`(p−1)|x|^{p−2}`: infinite at 0 for p < 2, zero there for p > 2."""
        return (self.p - 1) * x.abs() ** (self.p - 2)

    def horizon(self) -> LpHorizon:
        """ℓp."""
        return LpHorizon(self.p)

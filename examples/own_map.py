"""A mirror map of your own, twice: from one function, and as a class with exact steps.

    python examples/own_map.py

The map is `r'(x) = sgn x (√(1+|x|) − 1)`: linear near 0, so nothing is stuck there, and of
index 3/2 far out, so its limit is the ℓ1.5 max margin, as that of `Power(1.5)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.optim import MirrorDescent


def root_gradient(x: Tensor) -> Tensor:
    """`sgn x (√(1+|x|) − 1)`, written so that small x keep their digits."""
    return x / (1 + torch.sqrt(1 + x.abs()))


# The short way. Inverse, potential, Hessian, index and horizon are found for you.
short = maps.Custom(gradient=root_gradient)


# The fast way: closed forms instead of root-finding and quadrature.
@dataclass(frozen=True)
class Root(maps.SeparableMap):
    """`r'(x) = sgn x (√(1+|x|) − 1)`: horizon ℓ1.5, linear near 0."""

    @property
    def index(self) -> float:
        """3/2."""
        return 1.5

    def potential_entries(self, x: Tensor) -> Tensor:
        """`⅔((1+|x|)^{3/2} − 1) − |x|` with `w = √(1+|x|) − 1`: `w²(2w/3 + 1)`."""
        w = root_gradient(x).abs()
        return w * w * (2 * w / 3 + 1)

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x (√(1+|x|) − 1)`."""
        return root_gradient(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u (u² + 2|u|)`."""
        return u * (u.abs() + 2)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/(2√(1+|x|))`."""
        return 0.5 / torch.sqrt(1 + x.abs())

    def horizon(self) -> maps.LpHorizon:
        """ℓ1.5."""
        return maps.LpHorizon(1.5)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x − δ(|u'| + |u| + 2)` with `u' = u − δ`: a difference of squares."""
        u = root_gradient(x)
        left = u - delta
        crossed = left * u < 0
        near = x - delta * (left.abs() + u.abs() + 2)
        return torch.where(crossed, self.to_primal(left), near)


def main() -> None:
    """Show what is found, hold the two against each other, and train with the map."""
    torch.manual_seed(0)
    root = Root()
    print(f"index {short.index} +- {short.estimate.error:.0e}, horizon {short.horizon()}")

    x, delta = torch.randn(1000, dtype=torch.float64), torch.randn(1000, dtype=torch.float64)
    for name, arguments in (
        ("to_primal", (x,)),
        ("step", (x, delta)),
        ("bregman_entries", (x, x + delta)),
    ):
        one, other = getattr(short, name)(*arguments), getattr(root, name)(*arguments)
        print(f"{name}: the two differ by {((one - other) / other).abs().max():.1e}")

    # It is used like any other map: here logistic regression, whose limit is the ℓ1.5 max margin.
    points = torch.randn(40, 5, dtype=torch.float64)
    labels = torch.sign(points @ torch.tensor([2.0, 1.0, 0.0, 0.0, -0.5], dtype=torch.float64))
    weights = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = MirrorDescent([weights], lr=0.5, mirror_map=root)
    for _ in range(500):
        optimizer.zero_grad()
        torch.nn.functional.softplus(-labels * (points @ weights)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        margin = (labels * (points @ weights)).min() / root.horizon().gauge(weights)
    print(f"margin in the norm of the horizon: {margin:.4f}")


if __name__ == "__main__":
    main()

"""A map from any scalar function: the inverse by root-finding, derivatives by autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mirrorflow.maps.adaptive import adaptive_integral
from mirrorflow.maps.base import SeparableMap, require_floating
from mirrorflow.maps.estimate import HorizonEstimate, estimate_growth, estimate_horizon
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import magnitude, signed
from mirrorflow.maps.quadrature import integral
from mirrorflow.maps.roots import solve_increasing
from mirrorflow.maps.verify import verify_scalar

__all__ = ["Custom"]

Scalar = Callable[[Tensor], Tensor]


class Custom(SeparableMap):
    """A separable map from its scalar gradient `r'`, or from its scalar potential `r`.

    `Custom(gradient=lambda x: x + x**3)`. The rest is made from it: `r` by adaptive quadrature,
    `r''` by autograd, the inverse by a safeguarded Newton method on logarithms, in float64; index
    and horizon are those of `estimate_horizon`. Kinks of r' are allowed; a step across one keeps
    the digits of r' only. Given the potential, r' is its derivative by autograd.

    Args:
        gradient: `r'`: tensor to tensor, entry by entry, odd, continuous and strictly increasing,
            made of differentiable torch operations.
        potential: `r`: the same, even and strictly convex; a constant in it is subtracted.
        name: what `repr` shows instead of the function.

    Raises:
        TypeError: neither or both given, or not callable.
        ValueError: not odd (even), not increasing, not entry by entry, or not finite near 0; the
            message says at which x.
    """

    def __init__(
        self,
        gradient: Scalar | None = None,
        *,
        potential: Scalar | None = None,
        name: str | None = None,
    ) -> None:
        if (gradient is None) == (potential is None):
            raise TypeError("give Custom either gradient= (r') or potential= (r), and not both")
        given = gradient if gradient is not None else potential
        if not callable(given):
            kind = "gradient" if gradient is not None else "potential"
            raise TypeError(f"{kind} = {given!r} is not callable; pass a function of a tensor")
        self._given: Scalar = given
        self._kind = "gradient" if gradient is not None else "potential"
        self._name = name or getattr(given, "__qualname__", repr(given))
        verify_scalar(self._gradient, given, self._kind)

    def __repr__(self) -> str:
        return f"Custom({self._kind}={self._name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Custom):
            return NotImplemented
        return self._given is other._given and self._kind == other._kind

    def __hash__(self) -> int:
        return hash((self._given, self._kind))

    @cached_property
    def estimate(self) -> HorizonEstimate:
        """What `estimate_horizon` finds for this map."""
        return estimate_horizon(self)

    @property
    def index(self) -> float:
        """The estimated index of variation, rounded to a simple fraction within its error.

        Raises:
            NoHorizonError: there is none.
        """
        return self.estimate.order

    def radial_growth(self) -> RadialGrowth:
        """Estimated, see `estimate_growth`.

        Raises:
            NoHorizonError: it cannot be told.
        """
        return estimate_growth(self)

    def horizon(self) -> LpHorizon:
        """ℓ of order `index`.

        Raises:
            NoHorizonError: there is none.
        """
        return LpHorizon(self.estimate.order)

    def potential_entries(self, x: Tensor) -> Tensor:
        """`r(x) = ∫_0^x r'`, by adaptive quadrature in float64."""
        require_floating(x, "x")
        result: Tensor = _Area.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def to_dual(self, x: Tensor) -> Tensor:
        """`r'(x)`, given or by autograd."""
        require_floating(x, "x")
        return self._gradient(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """The inverse of `to_dual`, by root-finding in float64."""
        require_floating(u, "u")
        result: Tensor = _Inverse.apply(u, self)  # type: ignore[no-untyped-call]
        return result

    def hessian(self, x: Tensor) -> Tensor:
        """`r''(x)` by autograd."""
        require_floating(x, "x")
        return derivative(self._gradient, x)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """From the dual, then two Newton steps on `∫_{x'}^x r'' = delta`, which does not cancel."""
        result: Tensor = _Move.apply(x, delta, self)  # type: ignore[no-untyped-call]
        return result

    def _bregman_near(self, y: Tensor, h: Tensor) -> Tensor:
        """`∫ (h − t) r''(y + t) dt`, adaptive, since `r''` may jump."""
        result: Tensor = _Divergence.apply(y, h, self)  # type: ignore[no-untyped-call]
        return result

    def _gradient(self, x: Tensor) -> Tensor:
        return self._given(x) if self._kind == "gradient" else derivative(self._given, x)

    def _solve(self, u: Tensor) -> Tensor:
        w = magnitude(u.detach().to(torch.float64))
        usable = (w > 0) & w.isfinite()
        root = solve_increasing(self._gradient, self.hessian, torch.where(usable, w, 1.0))
        return signed(torch.where(usable, root, w), u)

    def _shift(self, x: Tensor, delta: Tensor) -> Tensor:
        x, delta = x.to(torch.float64), delta.to(torch.float64)
        u = self._gradient(x)
        moved = self._solve(u - delta)
        near = (delta.abs() <= 0.5 * u.abs()) & x.isfinite()
        start = torch.where(near, x, 1.0)
        fall = torch.where(near, x - moved, 0.0)
        # A correction beyond rounding is not one: r'' jumps within the step.
        rounding = 64 * torch.finfo(x.dtype).eps * (u.abs() / self.hessian(start) + start.abs())
        for _ in range(2):
            passed = integral(self.hessian, start - fall, fall)
            change = (torch.where(near, delta, 0.0) - passed) / self.hessian(start - fall)
            fall = torch.where(change.abs() <= rounding, fall + change, fall)
        return torch.where(near, x - fall, moved)


class _Area(torch.autograd.Function):
    """`∫_0^x r'`, with the derivative `r'(x)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(x)
        ctx.mirror_map = mirror_map
        area = adaptive_integral(
            lambda t, _: mirror_map._gradient(t), torch.zeros_like(x), x.detach(), forced=20
        )
        return area.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.mirror_map.to_dual(x), None


class _Divergence(torch.autograd.Function):
    """`d(y + h, y)`, with the derivatives `r'(y+h) − r'(y) − h r''(y)` and `r'(y+h) − r'(y)`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, h: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(y, h)
        ctx.mirror_map = mirror_map
        begin, length = y.detach().double().flatten(), h.detach().double().flatten()

        def weighted(t: Tensor, owner: Tensor) -> Tensor:
            return (length[owner] - t) * mirror_map.hessian(begin[owner] + t)

        area = adaptive_integral(weighted, torch.zeros_like(length), length)
        return area.reshape(y.shape).to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        y, h = ctx.saved_tensors
        rise = ctx.mirror_map.to_dual(y + h) - ctx.mirror_map.to_dual(y)
        return grads[0] * (rise - h * ctx.mirror_map.hessian(y)), grads[0] * rise, None


class _Inverse(torch.autograd.Function):
    """`∇R*(u)`, with the derivative `1/r''` of the implicit function theorem."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(u)
        ctx.mirror_map = mirror_map
        return mirror_map._solve(u).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return grads[0] / ctx.mirror_map.hessian(ctx.mirror_map.to_primal(u)), None


class _Move(torch.autograd.Function):
    """`step`, with the derivatives `r''(x)/r''(x')` in x and `−1/r''(x')` in delta."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(x, delta)
        ctx.mirror_map = mirror_map
        return mirror_map._shift(x, delta).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, delta = ctx.saved_tensors
        mirror_map = ctx.mirror_map
        by_delta = grads[0] / mirror_map.hessian(mirror_map._moved(x, delta))
        return by_delta * mirror_map.hessian(x), -by_delta, None


def derivative(f: Scalar, x: Tensor) -> Tensor:
    """`f'(x)` entry by entry by autograd, itself differentiable if gradients are on."""
    wanted = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        leaf = x if wanted else x.detach().requires_grad_()
        value = f(leaf)
        if not value.requires_grad:
            return torch.zeros_like(x)
        (result,) = torch.autograd.grad(value.sum(), leaf, create_graph=wanted, allow_unused=True)
    return torch.zeros_like(x) if result is None else result

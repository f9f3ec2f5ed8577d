"""A map from any scalar function: the inverse by root-finding, derivatives by autograd."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.errors import MirrorFlowError
from mirrorflow.maps.adaptive import adaptive_integral
from mirrorflow.maps.arguments import require_floating
from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.custom_checks import verify_scalar
from mirrorflow.maps.estimate import HorizonEstimate, estimate_growth, estimate_horizon
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import magnitude, signed
from mirrorflow.maps.quadrature import integral
from mirrorflow.maps.roots import UnsolvedError, solve_increasing
from mirrorflow.maps.table import DualTable, Scalar, tabulate

__all__ = ["Custom"]


class Custom(SeparableMap):
    """A separable map from its scalar gradient `r'`, or from its scalar potential `r`.

    `Custom(gradient=lambda x: x + x**3)`. The rest is made from it: `r` by adaptive quadrature,
    `r''` by autograd, the inverse by a safeguarded Newton method on logarithms, in float64; index
    and horizon are those of `estimate_horizon`. Kinks of r' are allowed; a step across one keeps
    the digits of r' only. Given the potential, r' is its derivative by autograd. The first inverse
    or integral tabulates r' over all floats.

    Args:
        gradient: `r'`: tensor to tensor, entry by entry, odd, continuous and strictly increasing,
            made of differentiable torch operations.
        potential: `r`: the same, even and strictly convex; a constant in it is subtracted.
        name: what `repr` shows instead of the function.

    Two are equal if their functions are the same object, whatever they are called.

    Raises:
        TypeError: neither or both given, or not callable.
        ValueError: not odd (even), not increasing, not entry by entry, not differentiable by
            autograd, not finite near 0, or with a jump of r' (a kink of r), at 0 or elsewhere;
            the message says at which x. With a jump a whole interval of duals belongs to one x,
            so that x does not determine its dual.
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
        self._kind = "gradient" if gradient is not None else "potential"
        given = gradient if gradient is not None else potential
        if not callable(given):
            raise TypeError(
                f"{self._kind} = {shown(given)} is not callable; pass a function of a tensor"
            )
        self._given: Scalar = given
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name = {shown(name)} is a {type(name).__name__}; pass a str")
        self._name = name or getattr(given, "__qualname__", None) or shown(given)
        self._tables: dict[torch.device, DualTable] = {}
        self._undefined_at_0 = True
        self._curvature = verify_scalar(self._plain, self._both, self._given, self._kind)
        self._undefined_at_0 = bool(self._plain(torch.zeros(1, dtype=torch.float64)).isnan())

    def __repr__(self) -> str:
        return f"Custom({self._kind}={self._name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Custom):
            return NotImplemented
        return self._kind == other._kind and bool(self._given == other._given)

    def __hash__(self) -> int:
        return hash((self._given, self._kind))

    def state(self) -> dict[str, Any]:
        """The name, and r' at a few points: two functions of one name are told apart by these."""
        x = torch.tensor([1e-3, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3], dtype=torch.float64)
        return {
            "map": "Custom",
            "kind": self._kind,
            "name": self._name,
            "values": [float(v) for v in self._plain(x)],
        }

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
        """`r(x) = ∫_0^x r'`, by quadrature in float64."""
        x = require_floating(x, "x")
        result: Tensor = _Area.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`e(x) = ∫_0^x t dr'(t)`, by the same quadrature, without the difference `x r' − r`."""
        x = require_floating(x, "x")
        if not x.requires_grad:
            return integrals(self, x)[1]
        result: Tensor = _Energy.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def to_dual(self, x: Tensor) -> Tensor:
        """`r'(x)`, given or by autograd.

        Raises:
            MirrorFlowError: the function fails at x, or gives NaN.
        """
        x = require_floating(x, "x")
        value = self._gradient(x)
        if value.isnan().any():
            self._refuse_nan(x, value, "r'")
        return value

    def to_primal(self, u: Tensor) -> Tensor:
        """The inverse of `to_dual`, in float64, by Newton's method from a table of r'.

        Raises:
            MirrorFlowError: no x has `|r'(x) − u| ≤ 1e-9 |u|` (a billionth, or 8 roundings of x if
                r' is steeper): r' is bounded, jumps over u, or is not finite that far out.
        """
        u = require_floating(u, "u")
        if not u.requires_grad:
            return self._solve(u).to(u.dtype)
        result: Tensor = _Inverse.apply(u, self)  # type: ignore[no-untyped-call]
        return result

    def hessian(self, x: Tensor) -> Tensor:
        """`r''(x)` by autograd; at 0, where `|x|` has no derivative, its limit."""
        x = require_floating(x, "x")
        slope = derivative(self._gradient, x) if x.requires_grad else self._both(x)[1]
        slope = torch.where(x == 0, self._curvature, slope)
        if slope.isnan().any():
            self._refuse_nan(x, slope, "r''")
        return slope

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log r'(e^l)`; NaN where r' is."""
        return torch.log(self._gradient(torch.exp(log_x)))

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """From the dual, then two Newton steps on `∫_{x'}^x r'' = delta`, which does not cancel."""
        result: Tensor = _Move.apply(x, delta, self)  # type: ignore[no-untyped-call]
        return result

    def _bregman_near(self, y: Tensor, h: Tensor) -> Tensor:
        """`∫ (h − t) r''(y + t) dt`, adaptive, since `r''` may jump."""
        result: Tensor = _Divergence.apply(y, h, self)  # type: ignore[no-untyped-call]
        return result

    def _plain(self, x: Tensor) -> Tensor:
        """`r'(x)` as the function gives it."""
        return self._given(x) if self._kind == "gradient" else derivative(self._given, x)

    def _gradient(self, x: Tensor) -> Tensor:
        """`r'(x)`, 0 at 0, of the shape and dtype of x."""
        try:
            value = self._plain(x)
        except Exception as error:  # a user's function may raise anything
            raise MirrorFlowError(
                f"{self!r} fails on a tensor of shape {tuple(x.shape)} and dtype {x.dtype}: "
                f"{error}; its function must accept every tensor and act entry by entry"
            ) from error
        if not isinstance(value, Tensor) or value.shape != x.shape:
            raise MirrorFlowError(
                f"{self!r} maps a tensor of shape {tuple(x.shape)} to {shown(value)}; its function "
                "must act entry by entry"
            )
        value = value.to(x.dtype)
        if self._undefined_at_0:
            # r' is odd and continuous, so it is 0 at 0, also where a power divides 0 by 0.
            value = torch.where((x == 0) & value.isnan(), 0.0, value)
        return value

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`r'` and `r''`, detached, from one evaluation."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            value = self._gradient(leaf)
            if not value.requires_grad:
                return value, torch.zeros_like(value)
            (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        return value.detach(), torch.zeros_like(value) if slope is None else slope

    def _refuse_nan(self, x: Tensor, value: Tensor, what: str) -> None:
        """Raise where a finite x gave NaN."""
        bad = value.isnan() & x.isfinite()
        if bool(bad.any()):
            raise MirrorFlowError(
                f"{self!r} gives {what} = nan at x = {float(x.detach()[bad][0]):.6g}; write its "
                "function so that nothing overflows on the way (for instance log(x) for log1p(x) "
                "at large x), or keep x nearer 1"
            )

    def _table(self, device: torch.device) -> DualTable:
        """The table of r' on a device; made once. Two threads at most make it twice."""
        table = self._tables.get(device)
        if table is None:
            with torch.inference_mode(False), torch.no_grad():
                cpu = torch.device("cpu")
                table = self._tables.get(cpu) or tabulate(self._gradient, self._both)
                self._tables.setdefault(cpu, table)
                table = table.to(device)
                self._tables[device] = table
        return table

    def _solve(self, u: Tensor) -> Tensor:
        w = magnitude(u.detach().to(torch.float64)).flatten()
        table = self._table(w.device)
        usable = (w > 0) & w.isfinite()
        # Below r' of the smallest float the nearest float is 0.
        below = usable & (w < table.dual[0]) & (table.x[0] <= 1e-323)
        # Above r' of the largest float there is none.
        above = usable & (w > table.dual[-1]) & (table.x[-1] > 0.99 * torch.finfo(w.dtype).max)
        usable = usable & ~below & ~above
        target = torch.where(usable, w, table.dual[len(table.x) // 2])
        try:
            root = solve_increasing(self._gradient, self._both, target, *table.bracket(target))
        except UnsolvedError as error:
            raise MirrorFlowError(self._no_inverse(error.target, table)) from None
        root = torch.where(usable, root, torch.where(below, 0.0, torch.where(above, math.inf, w)))
        return signed(root.reshape(u.shape), u)

    def _no_inverse(self, w: float, table: DualTable) -> str:
        x, top = float(table.x[-1]), float(table.dual[-1])
        if w > top:
            why = {
                "bounded": f"r' is bounded: it has reached {top:.6g} at x = {x:.6g} and rises no "
                "more. Keep the dual inside, or choose a potential that grows faster than linearly",
                "not finite": f"r' is not finite beyond x = {x:.6g}, where it is {top:.6g}. Write "
                "it so that nothing overflows on the way",
                "overflows": f"r' overflows beyond x = {x:.6g}, where it is {top:.6g}",
            }[table.reason]
        elif w < float(table.dual[0]):
            why = (
                f"r' is not finite, or not increasing, below x = {float(table.x[0]):.6g}, where it "
                f"is {float(table.dual[0]):.6g}. Write it so that nothing underflows on the way"
            )
        else:
            k = int((table.dual <= w).sum())
            why = (
                f"r' jumps over it near x = {float(table.x[max(k - 1, 0)]):.6g}, or its derivative "
                "by autograd is wrong there. Make r' continuous, of differentiable torch operations"
            )
        return f"{self!r} has no x with r'(x) = u for |u| = {w:.6g}: {why}"

    def _shift(self, x: Tensor, delta: Tensor) -> Tensor:
        x, delta = x.detach().to(torch.float64), delta.detach().to(torch.float64)
        u = self.to_dual(x)
        moved = self._solve(u - delta)
        near = (delta.abs() <= 0.5 * u.abs()) & x.isfinite()
        start = torch.where(near, x, 1.0).flatten()
        wanted = torch.where(near, delta, 0.0).flatten()
        fall = torch.where(near, x - moved, 0.0).flatten()
        # A correction beyond rounding is not one: r'' jumps within the step.
        slope = self._both(start)[1]
        size = torch.where(near, u, 0.0).abs().flatten()
        rounding = 64 * torch.finfo(x.dtype).eps * (size / slope + start.abs())
        for _ in range(2):
            begin = start - fall
            passed = integral(self._slopes, begin, fall)
            change = (wanted - passed) / self._slopes(begin)
            fall = torch.where(change.abs() <= rounding, fall + change, fall)
        return torch.where(near, x - fall.reshape(x.shape), moved)

    def _slopes(self, x: Tensor) -> Tensor:
        return self._both(x)[1]


class _Area(torch.autograd.Function):
    """`∫_0^x r'`, with the derivative `r'(x)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(x)
        ctx.mirror_map = mirror_map
        return integrals(mirror_map, x)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.mirror_map.to_dual(x), None


class _Energy(torch.autograd.Function):
    """`∫_0^x t dr'(t)`, with the derivative `x r''(x)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(x)
        ctx.mirror_map = mirror_map
        return integrals(mirror_map, x)[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.where(x == 0, 0.0, x * ctx.mirror_map.hessian(x)), None


def integrals(mirror_map: Custom, x: Tensor) -> tuple[Tensor, Tensor]:
    """`r(x)` and `e(x)` of the shape and dtype of x; ∞ where r' is."""
    m = x.detach().abs().to(torch.float64).flatten()
    far = mirror_map.to_dual(m).isinf()  # refuses NaN
    table = mirror_map._table(m.device)
    sums = table.integrals(mirror_map._gradient, torch.where(far, 0.0, m))
    # Both are finite or overflow: inf - inf is an overflow, too.
    area, energy = (
        torch.where(far | each.isnan(), math.inf, each).reshape(x.shape).to(x.dtype)
        for each in sums
    )
    return area, energy


class _Divergence(torch.autograd.Function):
    """`d(y + h, y)`, with the derivatives `r'(y+h) − r'(y) − h r''(y)` and `r'(y+h) − r'(y)`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, h: Tensor, mirror_map: Custom) -> Tensor:
        ctx.save_for_backward(y, h)
        ctx.mirror_map = mirror_map
        begin, length = y.detach().double().flatten(), h.detach().double().flatten()

        def weighted(t: Tensor, owner: Tensor) -> Tensor:
            return (length[owner] - t) * mirror_map._slopes(begin[owner] + t)

        area = adaptive_integral(weighted, torch.zeros_like(length), length, crowd=8)
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
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x if wanted else x.detach().clone().requires_grad_()
        value = f(leaf)
        if not value.requires_grad:
            return torch.zeros_like(x)
        (result,) = torch.autograd.grad(value.sum(), leaf, create_graph=wanted, allow_unused=True)
    return torch.zeros_like(x) if result is None else result

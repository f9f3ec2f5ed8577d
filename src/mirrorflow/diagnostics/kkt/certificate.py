"""The record that `certify` returns, and how it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Certificate", "CertificateFit", "Rung"]

_POINT = 1e-3  # largest residual of what is called a KKT point, here as in the flow
_USUAL = 10.0  # times the expected residual, whose constant depends on the data


class Rung(NamedTuple):
    """One point of the trade-off: multipliers only on margins `q <= (1 + band) min q`, entries
    up to a relative `tolerance` counted as zero (as maximal)."""

    band: float
    tolerance: float
    rows: int
    epsilon: float
    delta: float
    slack: float


@dataclass(frozen=True)
class CertificateFit:
    """How the multipliers of a certificate were fitted.

    Attributes:
        considered: number of margins (i, k) that entered.
        left_out: number of points left out because of `max_margins`; 0 if the widest band fitted.
        cut: the first `q_i/min q` that was left out, inf if none was. Multipliers beyond it are
            forced to 0, so epsilon is an upper bound of the unrestricted fit.
        band: the narrowest band tried that holds the multipliers, `q <= (1 + band) min q`.
        tradeoff: every (band, tolerance) that was fitted, with what came out.
        free: entries of the subdifferential that are free (zeros at ℓ1, maximal ones at ℓ∞).
        zero_tolerance: relative size below which an entry counts as zero (as equal to the largest).
        kinks: ReLU kinks (unit, point) in the fit.
        more_kinks: True if there were more kinks than `max_kinks`.
        kink_tolerance: size of a ReLU input, relative to the layer's largest at that point, below
            which it is at its kink.
        at_best: True if `max(ε, δ, κ)` (with a given band `max(ε, κ)`) is the smallest over all
            multipliers and subgradients, up to 0.2 %; False if it is the best of `tradeoff`.
        gap_at_best: True if `duality_gap` is the smallest over all multipliers; False if it is an
            upper bound (maps differ, a horizon that is neither ℓp nor Schatten, many margins).
    """

    considered: int = 0
    left_out: int = 0
    cut: float = math.inf
    band: float = math.nan
    tradeoff: tuple[Rung, ...] = ()
    free: int = 0
    zero_tolerance: float = math.nan
    kinks: int = 0
    more_kinks: bool = False
    kink_tolerance: float = math.nan
    at_best: bool = False
    gap_at_best: bool = False


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How well θ solves `minimise Q(θ) subject to q_i(θ) >= 1` to first order.

    Attributes:
        epsilon: `‖s − Σ λ_i ∇q_i‖₂/‖s‖₂` of the fitted λ >= 0, `s ∈ ∂Q(θ)` and kink coefficients:
            0 at a KKT point, NaN if the net does not separate the points.
        delta: `max_i λ_i (q_i − 1)/Σλ` at min q = 1: 0 if only support points carry weight.
        slack: `κ = 1 − ⟨s, θ⟩/Q(θ)` of the fitted s: 0 if it is a subgradient at θ itself, small
            if it is one of a nearby point. Always 0 where Q is smooth.
        expected: the size of the largest of the three that training is expected to have reached
            at this margin (see `residual_scale`); NaN where maps differ or no law is known.
        problem: the problem in words, with the horizon function.
        margin: the Q-margin `min q/Q(θ)^L`.
        separated: False if a point has `q_i <= 0`: then there is no KKT point to speak of.
        misclassified: number of points with `q_i <= 0`.
        points: n.
        degree: `L`, declared and verified, or measured.
        joint: True if one horizon function measures all parameters; else `Q = Π_g Q_g^{k_g/L}`
            over the maps.
        product_margin: `min q/Π_l Q_l(W_l)^{k_l}`; None if a parameter has no degree of its own.
        log_gauge: `log Q(θ)`.
        multipliers: the fitted λ at the scale min q = 1; (n,), or (n, C) with 0 at the own class.
            (Where maps differ the objective is `log Π_g Q_g^{k_g}`, and `Σ λ = 1`.)
        support: the points with `λ_i > 1e-6 Σλ`, largest first.
        natural_multipliers: `softmax(−q)` at θ as it is, the same shape, `Σ = 1`.
        natural_epsilon: epsilon with λ proportional to them.
        gap: Hölder gap `1 − ⟨g, θ⟩/(Q°(g) Q(θ))` of `g = Σ λ_i ∇q_i`, fitted
            multipliers; where maps differ `1 − Π_g (⟨g, θ⟩_g/(Q_g° Q_g))^{k_g/L}`.
        natural_gap: the same with the natural multipliers.
        duality_gap: `1 − L min q/Q°(Σ μ_i ∇q_i)` at `Q(θ) = 1`, the smallest over `μ >= 0,
            Σ μ = 1`: the share of the margin that a first-order change of θ could still win; 0
            exactly at KKT points, and measured in the norm of the problem. For a linear net it is
            `1 − margin/(largest margin)`.
        fixed: names of the parameters that were held fixed (`requires_grad=False`).
        fit: how the multipliers were fitted.
    """

    epsilon: float = math.nan
    delta: float = math.nan
    slack: float = math.nan
    expected: float = math.nan
    problem: str
    margin: float
    separated: bool
    misclassified: int
    points: int
    degree: float
    joint: bool
    product_margin: float | None
    log_gauge: float
    multipliers: Tensor
    support: Tensor
    natural_multipliers: Tensor
    natural_epsilon: float = math.nan
    gap: float = math.nan
    natural_gap: float = math.nan
    duality_gap: float = math.nan
    fixed: tuple[str, ...] = ()
    fit: CertificateFit = CertificateFit()

    @property
    def residual(self) -> float:
        """`max(epsilon, delta, slack)`."""
        return max(self.epsilon, self.delta, self.slack)

    @property
    def verdict(self) -> str:
        """In words, how far θ is from a KKT point, beside what was to be expected by now."""
        if not self.separated:
            return f"not separated: {self.misclassified} of {self.points} points have q <= 0"
        size = f"{self.residual:.2g}"
        if self.residual <= _POINT:
            return f"a KKT point, to {size}"
        if math.isnan(self.expected):
            return f"not a KKT point: the largest residual is {size}"
        beside = f"about {self.expected:.1g} is usual at this margin"
        if self.residual <= _USUAL * self.expected:
            return f"on its way to a KKT point: the largest residual is {size}, and {beside}"
        return f"not near a KKT point: the largest residual is {size}, where {beside}"

    def plot(self, show: str = "multipliers", *, count: int = 20, ax: Axes | None = None) -> Axes:
        """Draw the multipliers as areas, or the trade-off of ε and δ.

        The same as `mirrorflow.plot.certificate(certificate)`.

        Args:
            show: "multipliers" or "tradeoff".
            count: at most so many points.
            ax: where to draw; None makes a figure.

        Returns:
            The matplotlib Axes.

        Raises:
            TypeError, ValueError: an unknown picture, or a net that does not separate its points.
            MissingExtraError: matplotlib is not installed.
        """
        from mirrorflow.plot.certificates import certificate

        return certificate(self, show, count=count, ax=ax)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; tensors become lists."""
        out: dict[str, Any] = {"verdict": self.verdict}
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                value = value.tolist()
            elif name == "fit":
                value = {**value.__dict__, "tradeoff": [r._asdict() for r in value.tradeoff]}
            out[name] = value
        return out

    def __str__(self) -> str:
        lines = [f"verdict        {self.verdict}", f"problem        {self.problem}"]
        if not self.separated:
            lines += [f"degree L       {self.degree:g}", f"Q-margin       {self.margin:.6g}"]
            return "\n".join(lines)
        share, fit = self._shares(), self.fit
        lines += [
            f"Q-margin       {self.margin:.8g}   (log Q = {self.log_gauge:.6g}, L = "
            f"{self.degree:g})",
            f"epsilon        {self.epsilon:.3g}   with natural multipliers "
            f"{self.natural_epsilon:.3g}",
            f"delta          {self.delta:.3g}   (band {fit.band:g})",
            f"slack          {self.slack:.3g}   (tolerance {fit.zero_tolerance:g})",
            f"Hölder gap     {self.gap:.3g}   with natural multipliers {self.natural_gap:.3g}",
            f"duality gap    {self.duality_gap:.3g}"
            + ("" if fit.gap_at_best else "   (an upper bound)"),
            f"support        {len(self.support)} of {self.points} points; "
            f"{fit.considered} margins in the fit, {fit.left_out} points left out"
            + (f" (from q = {fit.cut:.4g} min q on)" if fit.left_out else ""),
            f"set-valued     {fit.free} free entries of the subdifferential, {fit.kinks} ReLU "
            f"kinks" + (" (the strongest; there are more)" if fit.more_kinks else ""),
            "at best        "
            + (
                "no other multipliers lower the largest of epsilon, delta and slack"
                if fit.at_best
                else "the best of those tried; others may be better"
            ),
            "largest shares "
            + ", ".join(f"#{int(i)}: {float(share[i]):.3f}" for i in self.support[:8]),
        ]
        return "\n".join(lines)

    def _shares(self) -> Tensor:
        per_point = self.multipliers if self.multipliers.ndim == 1 else self.multipliers.sum(1)
        return per_point / per_point.sum().clamp(min=torch.finfo(per_point.dtype).tiny)

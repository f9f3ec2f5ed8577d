"""The record that `certify` returns, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Certificate", "Rung"]


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
class Certificate:
    """How well θ solves `minimise Q(θ) subject to q_i(θ) >= 1` to first order.

    Attributes:
        degree: `L`, declared and verified, or measured.
        separated: False if a point has `q_i <= 0`: then there is no KKT point to speak of, and
            epsilon, delta and the gaps are NaN.
        misclassified: number of points with `q_i <= 0`.
        joint: True if one horizon function measures all parameters; else `Q = Π_g Q_g^{k_g/L}`
            over the maps.
        problem: the problem in words, with the horizon function.
        margin: the Q-margin `min q/Q(θ)^L`.
        product_margin: `min q/Π_l Q_l(W_l)^{k_l}`; None if a parameter has no degree of its own.
        log_gauge: `log Q(θ)`.
        epsilon: `‖s − Σ λ_i ∇q_i‖₂/‖s‖₂` of the fitted λ >= 0, `s ∈ ∂Q(θ)` and kink coefficients:
            0 at a KKT point.
        delta: `max_i λ_i (q_i − 1)/Σλ` at min q = 1: 0 if only support points carry weight.
        slack: `κ = 1 − ⟨s, θ⟩/Q(θ)` of the fitted s: 0 if it is a subgradient at θ itself, small
            if it is one of a nearby point. Always 0 where Q is smooth.
        multipliers: the fitted λ at the scale min q = 1; (n,), or (n, C) with 0 at the own class.
            (Where maps differ the objective is `log Π_g Q_g^{k_g}`, and `Σ λ = 1`.)
        support: the points with `λ_i > 1e-6 Σλ`, largest first.
        natural_multipliers: `softmax(−q)` at θ as it is, the same shape, `Σ = 1`.
        natural_epsilon: epsilon with λ proportional to them.
        gap: Hölder gap `1 − ⟨g, θ⟩/(Q°(g) Q(θ))` of `g = Σ λ_i ∇q_i`, fitted
            multipliers; where maps differ `1 − Π_g (⟨g, θ⟩_g/(Q_g° Q_g))^{k_g/L}`.
        natural_gap: the same with the natural multipliers.
        points: n.
        considered: number of margins (i, k) that entered the fit.
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
    """

    degree: float
    separated: bool
    misclassified: int
    joint: bool
    problem: str
    margin: float
    product_margin: float | None
    log_gauge: float
    epsilon: float
    delta: float
    slack: float
    multipliers: Tensor
    support: Tensor
    natural_multipliers: Tensor
    natural_epsilon: float
    gap: float
    natural_gap: float
    points: int
    considered: int
    left_out: int
    cut: float
    band: float
    tradeoff: tuple[Rung, ...]
    free: int
    zero_tolerance: float
    kinks: int
    more_kinks: bool
    kink_tolerance: float
    at_best: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; tensors become lists."""
        out: dict[str, Any] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                value = value.tolist()
            elif name == "tradeoff":
                value = [rung._asdict() for rung in value]
            out[name] = value
        return out

    def __str__(self) -> str:
        lines = [f"problem        {self.problem}", f"degree L       {self.degree:g}"]
        if not self.separated:
            lines += [
                f"not separated  {self.misclassified} of {self.points} points have q <= 0",
                f"Q-margin       {self.margin:.6g}",
            ]
            return "\n".join(lines)
        share = self._shares()
        lines += [
            f"Q-margin       {self.margin:.8g}   (log Q = {self.log_gauge:.6g})",
            f"epsilon        {self.epsilon:.3g}   with natural multipliers "
            f"{self.natural_epsilon:.3g}",
            f"delta          {self.delta:.3g}   (band {self.band:g})",
            f"slack          {self.slack:.3g}   (tolerance {self.zero_tolerance:g})",
            f"Hölder gap     {self.gap:.3g}   with natural multipliers {self.natural_gap:.3g}",
            f"support        {len(self.support)} of {self.points} points; "
            f"{self.considered} margins in the fit, {self.left_out} points left out"
            + (f" (from q = {self.cut:.4g} min q on)" if self.left_out else ""),
            f"set-valued     {self.free} free entries of the subdifferential, {self.kinks} ReLU "
            f"kinks" + (" (the strongest; there are more)" if self.more_kinks else ""),
            "at best        "
            + (
                "no other multipliers lower the largest of epsilon, delta and slack"
                if self.at_best
                else "the best of those tried; others may be better"
            ),
            "largest shares "
            + ", ".join(f"#{int(i)}: {float(share[i]):.3f}" for i in self.support[:8]),
        ]
        return "\n".join(lines)

    def _shares(self) -> Tensor:
        per_point = self.multipliers if self.multipliers.ndim == 1 else self.multipliers.sum(1)
        return per_point / per_point.sum().clamp(min=torch.finfo(per_point.dtype).tiny)

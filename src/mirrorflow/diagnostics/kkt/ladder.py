"""The trade-off between residual, complementarity and slack: which band, which tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.best import TIE, fits, minimise_largest
from mirrorflow.diagnostics.kkt.certificate import Rung
from mirrorflow.diagnostics.kkt.cone import KinkCone, fit_cone
from mirrorflow.diagnostics.kkt.multipliers import Fit, Gram
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential

__all__ = ["BANDS", "TOLERANCES", "FitStep", "Ladder"]

BANDS = (1e-7, 1e-5, 1e-3, 1e-2, 5e-2, 0.2, 1.0, 5.0, 30.0)
TOLERANCES = (1e-6, 1e-4, 1e-2, 0.1, 0.3)
# A tolerance to look at each band with, before all tolerances are tried at the best band.
_PAIRED = (1e-6, 1e-6, 1e-4, 1e-2, 1e-2, 0.1, 0.3, 0.3, 0.3)

_EXACT = 1e-7  # below it the fits are as good as doubles tell


class FitStep(NamedTuple):
    """One fit: its rung, the fit and the multipliers of all candidate margins."""

    rung: Rung
    fit: Fit
    multipliers: Array

    @property
    def score(self) -> float:
        """`max(ε, δ, κ)`, inf if no multiplier is positive."""
        worst = max(self.rung.epsilon, self.rung.delta, self.rung.slack)
        return worst if math.isfinite(worst) else math.inf

    @property
    def total(self) -> float:
        """`ε + δ + κ`."""
        return self.rung.epsilon + self.rung.delta + self.rung.slack


def _goal(step: FitStep, band: float | None) -> float:
    """What `minimise_largest` minimises."""
    rung = step.rung
    largest = max(rung.epsilon, rung.slack, rung.delta if band is None else 0.0)
    return largest + TIE * step.total


@dataclass
class Ladder:
    """Fits of one cone to subdifferentials of several tolerances.

    Args:
        cone: generators, by increasing margin.
        targets: the subdifferential per tolerance; one is enough if none is set-valued.
        ratio: (m,) `q/min q` of the generators.
        theta: (d,) the parameters, `degree` what `⟨s, θ⟩` is at slack 0.
    """

    cone: KinkCone
    targets: dict[float, Subdifferential]
    ratio: Array
    theta: Array
    degree: float
    steps: dict[tuple[int, float], FitStep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gram = Gram(self.cone.base)

    def climb(self, bands: tuple[float, ...]) -> FitStep:
        """The step with the smallest `max(ε, δ, κ)` (of nearly equal ones, sum) that is found.

        Bands first, each with one tolerance; then all tolerances at the best band; then all
        narrower bands at the best tolerance.
        """
        tolerances = tuple(self.targets)
        paired = dict(zip(BANDS, _PAIRED, strict=True))
        best: FitStep | None = None
        for band in bands:
            wanted = paired.get(band, tolerances[-1])
            step = self.at(band, min(tolerances, key=lambda t: abs(math.log(t / wanted))))
            best = step if best is None or step.score < best.score else best
            if step.rung.epsilon <= min(best.rung.delta, best.score):
                break  # a wider band can only raise δ further
        if best is None:
            raise ValueError("bands is empty; pass at least one band")
        if len(tolerances) > 1:
            for tolerance in tolerances:
                best = min(best, self.at(best.rung.band, tolerance), key=lambda s: s.score)
            chosen = best.rung
            for band in bands:
                if band < chosen.band:
                    best = min(best, self.at(band, chosen.tolerance), key=lambda s: s.score)
        # Of nearly equal ones the cleanest: a little ε is no reason for much δ.
        rivals = [s for s in self.steps.values() if s.score <= 1.1 * best.score]
        return min([best, *rivals], key=lambda s: s.total)

    def at(self, band: float, tolerance: float) -> FitStep:
        """The fit for margins up to `(1 + band) min q` at one tolerance."""
        count = max(1, int(np.searchsorted(self.ratio, 1 + band, side="right")))
        key = (count, tolerance)
        if key not in self.steps:
            found = fit_cone(self.cone.head(count), self.targets[tolerance], gram=self.gram)
            lam = np.zeros(len(self.ratio))
            lam[:count] = found.multipliers
            total = float(lam.sum())
            delta = float((lam * (self.ratio - 1)).max()) / total if total > 0 else math.nan
            slack = max(0.0, 1 - float(found.element @ self.theta) / self.degree)
            rung = Rung(band, tolerance, count, found.epsilon, delta, slack)
            self.steps[key] = FitStep(rung, found, lam)
        return self.steps[key]

    def improve(self, best: FitStep, band: float | None) -> tuple[FitStep, bool]:
        """The step with the smallest `max(ε, δ, κ)` of all λ and s, and whether it is that.

        The program runs over the loosest tolerance, of whose subdifferential those of the others
        are parts, and over all margins (up to `band`, if one is given; then δ is left out of the
        maximum). False: the problem is too large for it, and `best` is what it was.
        """
        smooth = len(self.targets) == 1 and next(iter(self.targets.values())).is_point
        if best.score <= _EXACT or (smooth and band is not None):
            return best, True
        widest = math.inf if band is None else band
        count = max(1, int(np.searchsorted(self.ratio, 1 + widest, side="right")))
        loosest = max(self.targets)
        cone, target = self.cone.head(count), self.targets[loosest]
        if not math.isfinite(best.score) or not fits(cone, target):
            return best, False
        # A fit with much weight is a better start than one with little.
        start = min(self.steps.values(), key=lambda step: step.rung.epsilon)
        whole = Fit(start.multipliers[:count], start.fit.element, start.fit.residual)
        found = minimise_largest(
            cone, target, self.ratio[:count], self.theta, self.degree, whole,
            free_delta=band is not None,
        )  # fmt: skip
        if found is None:
            return best, False
        step = self._step(found, band, loosest, count)
        better = _goal(step, band) < _goal(best, band) * (1 - 1e-6)
        return (step if better else best), True

    def _step(self, found: Fit, band: float | None, tolerance: float, count: int) -> FitStep:
        """The step of a fit, under the narrowest band and tolerance of the list that hold it."""
        lam = np.zeros(len(self.ratio))
        lam[:count] = found.multipliers
        total = float(lam.sum())
        delta = float((lam * (self.ratio - 1)).max()) / total if total > 0 else math.nan
        slack = max(0.0, 1 - float(found.element @ self.theta) / self.degree)
        if band is None:
            reach = float(self.ratio[lam > 1e-6 * total].max(initial=1.0)) - 1
            band = next((b for b in BANDS if b >= reach), BANDS[-1])
        peak = float(np.abs(found.element).max())
        for narrower in sorted(self.targets):
            moved = self.targets[narrower].project(found.element) - found.element
            if np.abs(moved).max() <= 1e-4 * peak:
                tolerance = narrower
                break
        return FitStep(Rung(band, tolerance, count, found.epsilon, delta, slack), found, lam)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All that was tried, in order."""
        return tuple(step.rung for step in self.steps.values())

"""The trade-off between residual, complementarity and slack: which band, which tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mirrorflow.diagnostics.certificate import Rung
from mirrorflow.diagnostics.cone import KinkCone, fit_cone
from mirrorflow.diagnostics.fit import Fit, Gram
from mirrorflow.diagnostics.subdifferential import Array, Subdifferential

__all__ = ["BANDS", "TOLERANCES", "Ladder", "Step"]

BANDS = (1e-7, 1e-5, 1e-3, 1e-2, 5e-2, 0.2, 1.0, 5.0, 30.0)
TOLERANCES = (1e-6, 1e-4, 1e-2, 0.1, 0.3)
# A tolerance to look at each band with, before all tolerances are tried at the best band.
_PAIRED = (1e-6, 1e-6, 1e-4, 1e-2, 1e-2, 0.1, 0.3, 0.3, 0.3)


class Step(NamedTuple):
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
    steps: dict[tuple[int, float], Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gram = Gram(self.cone.base)

    def climb(self, bands: tuple[float, ...]) -> Step:
        """The step with the smallest `max(ε, δ, κ)` (of nearly equal ones, sum) that is found.

        Bands first, each with one tolerance; then all tolerances at the best band; then all
        narrower bands at the best tolerance.
        """
        tolerances = tuple(self.targets)
        paired = dict(zip(BANDS, _PAIRED, strict=True))
        best: Step | None = None
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

    def at(self, band: float, tolerance: float) -> Step:
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
            self.steps[key] = Step(rung, found, lam)
        return self.steps[key]

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All that was tried, in order."""
        return tuple(step.rung for step in self.steps.values())

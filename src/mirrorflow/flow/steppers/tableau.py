"""Stiffly accurate, L-stable, singly diagonally implicit Runge-Kutta tableaux."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirrorflow.arrays import Array


@dataclass(frozen=True)
class Tableau:
    """Coefficients `a` (s, s), whose last row is the weights, and the error weights `b - b^`."""

    order: int
    a: Array
    error: Array
    error_order: int

    @property
    def gamma(self) -> float:
        return float(self.a[0, 0])

    @property
    def nodes(self) -> Array:
        return np.asarray(self.a.sum(1))


def _euler() -> Tableau:
    return Tableau(1, np.array([[1.0]]), np.array([0.0]), 1)


def _alexander2() -> Tableau:
    g = 1.0 - 0.5**0.5
    return Tableau(2, np.array([[g, 0.0], [1 - g, g]]), np.array([0.5 - g, g - 0.5]) * 0.5, 2)


def _alexander3() -> Tableau:
    # the root of x^3 - 3x^2 + 3x/2 - 1/6 in (1/6, 1/2); Alexander, SIAM J. Numer. Anal. 14, 1977
    g = 0.43586652150845899942
    b1, b2 = -(6 * g * g - 16 * g + 1) / 4, (6 * g * g - 20 * g + 5) / 4
    low = (1 - 2 * g) / (1 - g)
    a = np.array([[g, 0, 0], [(1 - g) / 2, g, 0], [b1, b2, g]])
    return Tableau(3, a, np.array([b1 - (1 - low), b2 - low, g]), 3)


def _hairer_wanner4() -> Tableau:
    # Hairer & Wanner, Solving ODEs II, table IV.6.5
    a = np.array(
        [
            [1 / 4, 0, 0, 0, 0],
            [1 / 2, 1 / 4, 0, 0, 0],
            [17 / 50, -1 / 25, 1 / 4, 0, 0],
            [371 / 1360, -137 / 2720, 15 / 544, 1 / 4, 0],
            [25 / 24, -49 / 48, 125 / 16, -85 / 12, 1 / 4],
        ]
    )
    low = np.array([59 / 48, -17 / 96, 225 / 32, -85 / 12, 0])
    return Tableau(4, a, a[-1] - low, 4)


TABLEAUX = {t.order: t for t in (_euler(), _alexander2(), _alexander3(), _hairer_wanner4())}

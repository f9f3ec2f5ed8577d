"""What Newton's iteration asks of linear algebra; `dense` and `matrix_free` answer.

With `D = du/dx`, `H` the curvature of `mu . q` and `M = mu / T`, a direction solves

    (D - H) dx - J' dmu = -r1,      B J dx + M^-1 dmu - dkappa = -r2,      clock(du, dmu) = aim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.frame import Frame


@dataclass(frozen=True)
class Iterate:
    """Where an iteration stands: weights x and dual u (d,), margins q and multipliers mu (n,)."""

    x: Array
    u: Array
    slope: Array  # du/dx (d,), in the basis if there is one
    basis: Array | None
    crossing: NDArray[np.bool_] | None  # entries near zero of a potential that is flat there
    q: Array
    mu: Array


@dataclass(frozen=True)
class Direction:
    """A Newton direction in all unknowns; `du` is the change of the dual equation's right side."""

    x: Array
    u: Array
    mu: Array
    kappa: float


class LinearSolver(Protocol):
    """The linear systems of the stages of a step, one iteration after the other."""

    exact: bool  # solutions are right to rounding, so that what is left over is the iteration's

    def begin_step(self) -> None:
        """Forget the last step, so that a step depends on its start only."""

    def begin_stage(self, frame: Frame, base: Array, temperature: float, clock: Clock) -> None:
        """Take the equations of a stage."""

    def linearise(self, x: Array) -> Array:
        """The margins (n,) at x, about which the next system is linear."""

    def response(self, at: Iterate, residual: Array) -> Array | float:
        """By how much of what its barrier asks for, `residual` (n,), the log of a weight moves:
        (n,), or one for all if x may be taken as fixed.

        Raises:
            numpy.linalg.LinAlgError: the system is singular.
        """

    def pull(self, mu: Array) -> Array:
        """`J' mu` (d,)."""

    def is_rounding(self, residual: Array, at: Iterate) -> bool:
        """Whether the dual equation holds as far as its terms have digits."""

    def direction(self, at: Iterate, r1: Array, r2: Array) -> Direction | None:
        """The direction against the residuals r1 (d,), r2 (n,); None if there is none of use.

        Raises:
            numpy.linalg.LinAlgError: the system is singular.
        """

    @property
    def own(self) -> Array:
        """The size of H for each entry (d,), in the basis of the slopes."""

    def stiffness(self, entries: NDArray[np.int64]) -> Array:
        """By how much the right side of the dual equation falls per unit of one entry of x."""

    def filter(self) -> Callable[[Array], Array]:
        """The response of x to a perturbation (d,) of the dual equation at the last system."""

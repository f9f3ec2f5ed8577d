"""Newton's step where the dual of an entry is flat: power maps above order 2, near zero.

There `u = r'(x)` hardly changes with x. A step in x has no direction, one in u an infinite slope.
With the right side of the dual equation linear, one entry of x at a time, while the others give
way, the equation of the entry is

    r'(x_k) + c_k (x_k - line_k) = v_k,

where `line` and `v` are the ends of Newton's step in x and in u. Its solution lies between those
two, so any c leaves Newton of second order; a c of the right size keeps it from creeping
(`c = 0`, the step in u) and from leaping (`c = inf`, the step in x).
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.steppers.frame import Frame

FLATTEST = 1e-10  # share of the largest slope to which those of flat entries are raised
BENT = 0.1  # share of a move by which its ends in x and in u disagree, from which a bend counts
TRUST = 0.5  # largest relative move of x in one Newton step


@dataclass(frozen=True)
class Trial:
    """Newton's step `(dx, du)` from `(x, u)`; the entries `bent` have the stiffness c."""

    frame: Frame
    bent: NDArray[np.int64]
    stiffness: Array
    x: Array
    u: Array
    dx: Array
    du: Array

    def at(self, damp: float) -> Array:
        """The new x after this share of the step."""
        new = self.x + damp * self.dx
        v = (self.u + damp * self.du)[self.bent]
        new[self.bent] = self.frame.map.meet(new[self.bent], v, self.stiffness)
        return new

    def damping(self, size: float) -> float:
        """The share that x, of this size, is trusted for."""
        moved = self.frame.map.extent(self.at(1.0) - self.x) / size
        return min(1.0, TRUST / moved) if moved > 0 and np.any(self.x) else 1.0

    def moved(self, new: Array, crossing: NDArray[np.bool_], size: float) -> tuple[float, float]:
        """How far the step to `new` went, and how far off the line, relative; crossing entries
        count by their move in u."""
        extent, dual = self.frame.map.extent, self.frame.map.dual
        far = extent(np.where(crossing, 0.0, new - self.x)) / size
        across = np.where(crossing, dual(new) - self.u, 0.0)
        off = extent(np.where(crossing, 0.0, new - self.x - self.dx)) / size
        return max(far, self.frame.map.dual_ratio(across, self.u)), off


class Halving:
    """Bounds on the moves of single entries, which may go to and fro about a bend of their
    equation (a kink of the net): a move back is at most half of the last, then they double."""

    def __init__(self, d: int) -> None:
        self.limited, self.last = np.zeros(d, dtype=bool), np.zeros(d)

    def limit(self, x: Array, new: Array) -> Array:
        """The new x, or as much of the move as is allowed."""
        move, last = new - x, np.abs(self.last)
        back = move * self.last < 0.0
        self.limited |= back & (np.abs(move) > 0.5 * last)
        bound = np.where(self.limited, np.where(back, 0.5, 2.0) * last, np.inf)
        self.last = np.clip(move, -bound, bound)
        return x + self.last

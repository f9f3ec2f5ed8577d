"""Newton's linear systems, matrix-free: by GMRES on products, so that no n x d and no d x d array
is ever formed."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.products import Products
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.krylov import KrylovSystem, MarginGram
from mirrorflow.flow.steppers.linear_solver import Direction, Iterate

_FORCING = 1e-2  # relative residual of the linear systems
_USEFUL = 0.1  # the largest relative residual with which a direction is still taken
_MISSES = 1  # directions of a stage that may miss the forcing term
_SLOW = 25  # GMRES iterations from which the Gram matrix is renewed
_STEADY = 1e-3  # share of the largest slope below which an entry does not count as giving way
_FLAT = 1e-3  # slopes below this share of a Hessian row are raised to it in the scaling


class MatrixFreeSolver:
    """Solves by products; keeps the preconditioner's Gram matrix through a step."""

    exact = False

    def __init__(self) -> None:
        self.iterations = 0
        self.begin_step()

    def begin_step(self) -> None:
        self.gram: MarginGram | None = None
        # where x gives way (d,), and by how much the margins then do (n,); empty if not yet known
        self.mobility = self.compliance = np.zeros(0)
        self.probe = np.random.default_rng(0)

    def begin_stage(self, frame: Frame, base: Array, temperature: float, clock: Clock) -> None:
        self.frame, self.base, self.temperature, self.clock = frame, base, temperature, clock
        self.own = self.firm = np.zeros(0)
        self.misses = 0

    def linearise(self, x: Array) -> Array:
        self.products = self.frame.margins.linearise(x)
        return self.products.q

    def response(self, at: Iterate, residual: Array) -> Array | float:  # noqa: ARG002
        """One, where the weight is too small to move x; estimated from the diagonal alone.

        As if x did not move, weights would be raised here and taken back by Newton for ever.
        """
        stiffness = at.mu / self.temperature
        if not self.own.size:
            self.products.weigh(at.mu)
            self.own = self._row_norms(len(at.x))
            self.firm = self.own
            if at.crossing is not None:
                self.firm = self.own + _stiffness(self.products, at.slope, stiffness)
        if not self.mobility.size:
            with np.errstate(divide="ignore", over="ignore"):
                self.mobility = 1.0 / (np.maximum(at.slope, _FLAT * self.own) + 1e-290)
            self.compliance = self.products.diagonal(self.mobility)
        return np.maximum(1.0 / (1.0 + stiffness * self.compliance), 1e-300)

    def pull(self, mu: Array) -> Array:
        return self.products.pull(mu)

    def is_rounding(self, residual: Array, at: Iterate) -> bool:  # noqa: ARG002
        """Never said: the size of the terms would be a product with `|J|`."""
        return False

    def direction(self, at: Iterate, r1: Array, r2: Array) -> Direction | None:
        self.products.weigh(at.mu)
        clock, stiffness = self.clock, at.mu / self.temperature
        if self.gram is None:
            self.gram = MarginGram.build(self.products, self.mobility, stiffness * self.compliance)
        bend = self.frame.barrier_jacobian(at.q)
        self.system = KrylovSystem(
            self.products, at.slope, _FLAT * self.own, stiffness, bend, clock.direction, self.gram
        )
        if clock.direction is None:
            aim = clock.target - float(at.mu.sum())
        else:
            aim = clock.target - float(clock.direction @ (at.u - self.base - r1))
        dx, dmu, kappa, du, left = self.system.solve(-r1, -r2, aim, _FORCING)
        self.iterations += self.system.iterations
        if self.system.iterations > _SLOW:
            self.gram, self.mobility = None, np.zeros(0)
        self.misses += left > _FORCING
        if self.misses > _MISSES or not left < _USEFUL:
            return None  # the Hessian dominates: the step is too long for the linear solver
        return Direction(dx, du, dmu, kappa)

    def stiffness(self, entries: NDArray[np.int64]) -> Array:
        return self.firm[entries]

    def filter(self) -> Callable[[Array], Array]:
        system, clock = self.system, self.clock

        def response(e: Array) -> Array:
            target = 0.0 if clock.direction is None else -float(clock.direction @ e)
            return system.solve(e, np.zeros(system.n), target, _FORCING)[0]

        return response

    def _row_norms(self, d: int) -> Array:
        """The norms of the rows of H, estimated from two products with signs."""
        signs = self.probe.integers(0, 2, (2, d)) * 2.0 - 1.0
        zero = np.zeros(len(self.products.q))
        return np.sqrt(np.mean([self.products.tangent(v, zero)[1] ** 2 for v in signs], axis=0))


def _stiffness(at: Products, slope: Array, stiffness: Array) -> Array:
    """About by how much the margins let `J' mu` fall per unit of one entry of x (d,), where each
    margin gives way as the entries that are not near zero do."""
    mobility = 1.0 / np.maximum(slope, _STEADY * slope.max())
    give = at.diagonal(mobility)
    return at.squares(stiffness / (1.0 + stiffness * give))

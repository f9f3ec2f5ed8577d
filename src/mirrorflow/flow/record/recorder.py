"""Rows of a trajectory, in true units, from the states of the integrator."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.record.kkt_residual import Residual, residual
from mirrorflow.flow.record.trajectory import FlowPoint, FlowStats, Trajectory
from mirrorflow.flow.steppers.base import State
from mirrorflow.flow.steppers.frame import Frame

_NUMBERS = 20_000_000  # weights that the rows may hold together
_RESOLVED, _SHARE = 300.0, 1e-2  # log t, and its absolute error, at which t * rate is spoilt


class Recorder:
    """Collects one row a step; `latest` holds the last residual."""

    def __init__(self, frame: Frame, tol: float = 1e-4) -> None:
        self.frame = frame
        self.resolved = max(_RESOLVED, _SHARE / tol)
        self.rows: list[dict[str, Any]] = []
        self.initial: tuple[Array, float] | None = None
        self.latest = Residual(1.0, 1.0, np.inf, 0.0)
        self.thinned = 0  # how often every second row was dropped, for the sake of memory

    def add(self, state: State, log_t: float, log_log_t: float) -> None:
        frame, scaled = self.frame, self.frame.map
        size = scaled.gauge(state.x)
        q, degree = state.q, frame.margins.degree
        norm = size**degree if size > 0 else 1.0
        w = state.x / size if size > 0 else state.x
        self.latest = residual(scaled, state.x, q, state.g, state.p)
        loss = -frame.loss_level(q) * float(np.exp(min(frame.log_unit, 709.0)))
        row: dict[str, Any] = {
            "log_t": log_t,
            "log_log_t": log_log_t,
            "log_loss": loss if frame.log_unit < 700 else _times_exp(loss, frame.log_unit - 709.0),
            "log_gauge": frame.rho + np.log(size) if size > 0 else -np.inf,
            "margin": float(q.min()) / norm,
            "gap": self.latest.gap,
            "natural_epsilon": self.latest.epsilon,
            "mean_excess": self.latest.delta,
            "natural_slack": self.latest.slack,
            "balance_drift": self._drift(state),
            "direction": np.empty_like(w),
            "multipliers": state.p,
            "margins": q / norm,
        }
        row["direction"][frame.margins.order] = w
        row["rate"] = self._rate(state, w, size, norm, log_t, log_log_t)
        self.rows.append(row)
        if len(self.rows) > 2 and len(self.rows) * len(w) > _NUMBERS:
            self.rows[1:-1] = self.rows[1:-1:2]
            self.thinned += 1

    def _drift(self, state: State) -> float:
        scaled = self.frame.map
        energy = scaled.energy(state.x, state.u)
        now, unit = self.frame.margins.imbalance(energy), scaled.rho + scaled.scale
        if now.size == 0:
            return float("nan")
        if self.initial is None:
            self.initial = (now, unit)
        start, before = self.initial
        total = float(np.abs(energy).sum())
        if total == 0.0:
            return 0.0
        return float(np.abs(now - start * np.exp(min(before - unit, 700.0))).max()) / total

    def _rate(
        self, state: State, w: Array, size: float, norm: float, log_t: float, log_log_t: float
    ) -> Array:
        """Derivatives against log t, times log t: of direction, margins, log Q, log loss."""
        frame = self.frame
        blank = np.full(len(w) + len(state.q) + 2, np.nan)
        if size == 0.0:
            return blank
        with np.errstate(over="ignore"):
            v = frame.map.mobilise(state.x, state.u, state.g)
        v = np.nan_to_num(v, posinf=0.0, neginf=0.0)
        s = frame.map.subgradient(state.x, state.g * (size / float(state.g @ state.x)))
        grow = float(s @ v) / size
        factor = self._per_log_t(state, grow, log_t, log_log_t)
        if not np.isfinite(factor):
            return blank
        v, grow = v * factor, grow * factor
        moved = np.empty_like(w)
        moved[frame.margins.order] = v / size - w * grow
        dq = frame.margins.push(state.x, v)
        margins = dq / norm - frame.margins.degree * grow * state.q / norm
        unit = float(np.exp(min(frame.log_unit, 700.0)))
        # late, the weights of the step are those of the loss, without the noise of single margins
        late = self._is_late(state, log_t)
        fall = -unit * (
            state.phi_rate * factor if late else float(self._loss_weights(state.q) @ dq)
        )
        return np.concatenate([moved, margins, [grow, fall]])

    def _is_late(self, state: State, log_t: float) -> bool:
        # steeper than an exponential, dtau is most of t, and log t less sharp
        slow = self.frame.map.steepness(state.x) > 1.5 * log_t
        return log_t >= (_RESOLVED if slow else self.resolved)

    def _per_log_t(self, state: State, grow: float, log_t: float, log_log_t: float) -> float:
        """`log t dtau/dlog t`, where `grow = dlog Q/dtau`.

        Late, `e^phi/t` cancels. With y = log Q and Phi = phi + log dtau/dy, both near-linear where
        they matter, `t = e^Phi/Phi' (1 + Phi''/Phi'^2 + ...)`, and so dlog t/dy follows.
        """
        frame, degree = self.frame, self.frame.margins.degree
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if not self._is_late(state, log_t):
                phi = frame.soft_level(state.q) * float(np.exp(frame.log_unit))
                factor = np.exp(log_t - phi - frame.log_mu_unit) * max(log_t, 1.0)
                return float(factor)
            one = frame.one()
            steep = frame.map.steepness_level(state.x, frame.log_unit)
            pace = state.phi_rate + grow * (steep - one * degree)
            second = degree * state.phi_rate + (grow * steep if frame.map.rapid else 0.0)
            bend = (one * grow / pace) * (second / pace)
            return float(np.exp(log_log_t - frame.log_unit) / pace * (1.0 + bend))

    def _loss_weights(self, q: Array) -> Array:
        """`-d log loss / dq` in units of q."""
        frame = self.frame
        b = frame.barrier(q)
        one = max(frame.one(), 1e-300)
        weights = np.exp(-np.minimum((b - b.min()) / one, 745.0))
        if frame.loss.name == "exponential":
            return np.asarray(weights / weights.sum())
        # logistic: w_i / loss, with the weights and the loss taken relative to the largest weight
        scale = np.exp(np.clip(-float(b.min()) / one + frame.loss_level(q) / one, -700.0, 700.0))
        return np.asarray(weights * scale)

    def point(self) -> FlowPoint:
        """The latest row."""
        row = self.rows[-1]
        return FlowPoint(**{f.name: row[f.name] for f in fields(FlowPoint)})

    def finish(self, stats: FlowStats) -> Trajectory:
        """The record so far; its outcome is still to be judged."""
        columns: dict[str, Any] = {k: np.array([row[k] for row in self.rows]) for k in self.rows[0]}
        return Trajectory(
            **columns, degree=self.frame.margins.degree, outcome="stalled", stats=stats
        )


def _times_exp(value: float, power: float) -> float:
    with np.errstate(over="ignore"):
        return float(value * np.exp(power))

"""The flow of the square loss: ordinary time, to the point where it comes to rest.

With real targets the loss reaches zero at finite weights and stays there. So the clock is that of a
plain stiff problem, and SciPy's solvers follow it: the unknown is the dual, in which the flow is
`du/dt = −∇ℓ(∇R*(u))`. For a linear model u moves in the span of the rows, `u = u₀ + Xᵀν` with
`dν/dt = y − Xθ`, and ν is what is integrated: whatever the errors of the steps, the point of rest
is then the interpolant of `exact.min_bregman`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.integrate import DOP853, Radau
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.diagnostics import Balance, balance, drift
from mirrorflow.errors import MirrorFlowError
from mirrorflow.flow.follow import Settings
from mirrorflow.flow.record.problem import FlowProblem
from mirrorflow.flow.record.trajectory import FlowPoint, FlowStats, Outcome, Trajectory
from mirrorflow.labels import as_targets
from mirrorflow.maps import MirrorMap, assign
from mirrorflow.nets import Linear

__all__ = ["follow_square"]

_REST = 1e-12  # the largest residual, relative to the targets and outputs, that is one of rest
_FITTED = 1e-9  # and that still counts as an interpolant where rounding allows no less
_STATIONARY = 1e-9  # of what the gradients of single points add up to without signs
_DENSE = 500  # unknowns up to which a Jacobian is formed
_PATIENCE = 8  # steps in which residuals of a fit become no smaller: they are rounding
_ABSOLUTE = 1e-3  # of the tolerance, for unknowns that are small beside the others
_TANGENT = 1e-6  # relative length of the difference that tells the velocity of the weights


def follow_square(
    problem: FlowProblem[Settings], callback: Callable[[FlowPoint], None] | None = None
) -> Trajectory:
    """Follow the flow of `½ Σ (f − y)²` to rest, or to the time of the settings.

    Raises:
        TypeError, ValueError: targets that do not fit the outputs.
        MirrorFlowError: the outputs are not finite at the start.
    """
    # Gradients are needed inside, whatever mode the caller is in.
    with torch.inference_mode(False):
        return _follow(problem, _Model(problem), callback)


@dataclass(frozen=True)
class _Place:
    """Where the flow is: weights, residuals and the gradient of the loss, flat."""

    theta: Array
    residuals: Array
    gradient: Array
    fitted: Array

    @property
    def open(self) -> float:
        """The largest residual, relative to the largest target or output."""
        size = float(np.abs(self.residuals).max())
        scale = float(np.maximum(np.abs(self.fitted), np.abs(self.fitted - self.residuals)).max())
        return size / scale if scale > 0 else size


class _Model:
    """The net and its map on flat float64 arrays; the unknown is ν or u − u₀."""

    def __init__(self, problem: FlowProblem[Settings]) -> None:
        start = torch.cat([p.detach().double().flatten() for p in problem.net.parameters()])
        self.net: nn.Module = problem.followed(start).to("cpu", torch.float64)
        self.net.eval()
        self.parameters = list(self.net.parameters())
        self.names = [name for name, _ in problem.net.named_parameters()]
        self.map = problem.settings.mirror_map
        chosen = assign(self.map, self.names, problem.net)
        self.maps: list[MirrorMap] = [chosen[name] for name in self.names]
        self.x = problem.x.to("cpu", torch.float64)
        self.load(start.numpy())
        with torch.no_grad():
            outputs = self.net(self.x)
        if not isinstance(outputs, Tensor) or not bool(torch.isfinite(outputs).all()):
            raise MirrorFlowError("the net returns no finite outputs at its start; scale it down")
        self.column = outputs.ndim == 2 and outputs.shape[1] == 1
        if self.column:
            outputs = outputs[:, 0]
        self.y = as_targets(problem.y, tuple(outputs.shape)).to("cpu", torch.float64)
        self.origin = self.dual(start.numpy())
        linear = isinstance(problem.net, Linear)
        self.rows: Array | None = self.jacobian() if linear else None
        self.size = len(self.rows) if self.rows is not None else len(self.origin)

    def scale(self, start: _Place) -> float:
        """The size that the unknowns will have, which is 1e-5 as well as 1 for a power of 10."""
        if self.rows is None:
            return max(1.0, float(np.abs(self.origin).max()))
        nearest = start.theta - np.linalg.lstsq(self.rows, start.residuals, rcond=None)[0]
        try:
            moved = self.dual(nearest) - self.origin
        except ValueError:  # outside the domain
            return 1.0
        size = float(np.abs(np.linalg.lstsq(self.rows.T, moved, rcond=None)[0]).max())
        return size if 0.0 < size < math.inf else 1.0

    def load(self, theta: Array) -> None:
        begin = 0
        with torch.no_grad():
            for p in self.parameters:
                part = torch.from_numpy(theta[begin : begin + p.numel()])
                p.copy_(part.reshape(p.shape))
                begin += p.numel()

    def _by_tensor(self, flat: Array, what: str) -> Array:
        parts, begin = [], 0
        for p, mirror in zip(self.parameters, self.maps, strict=True):
            part = torch.from_numpy(flat[begin : begin + p.numel()]).reshape(p.shape)
            with torch.no_grad():
                parts.append(getattr(mirror, what)(part).reshape(-1).numpy())
            begin += p.numel()
        return np.concatenate(parts)

    def dual(self, theta: Array) -> Array:
        return self._by_tensor(theta, "to_dual")

    def theta(self, z: Array) -> Array:
        moved = z if self.rows is None else z @ self.rows
        return self._by_tensor(self.origin + moved, "to_primal")

    def outputs(self) -> Tensor:
        out: Tensor = self.net(self.x)
        return out[:, 0] if self.column else out

    def place(self, z: Array) -> _Place:
        theta = self.theta(z)
        if self.rows is not None:
            fitted = self.rows @ theta
            residuals = fitted - self.y.reshape(-1).numpy()
            return _Place(theta, residuals, residuals @ self.rows, fitted)
        self.load(theta)
        with torch.enable_grad():
            outputs = self.outputs()
            residuals = (outputs - self.y).reshape(-1)
            grads = torch.autograd.grad(
                0.5 * residuals.square().sum(), self.parameters, allow_unused=True
            )
        flat = self._flat(grads)
        return _Place(theta, residuals.detach().numpy(), flat, outputs.detach().reshape(-1).numpy())

    def _flat(self, grads: Any) -> Array:
        pairs = zip(grads, self.parameters, strict=True)
        flat = [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in pairs]
        return torch.cat(flat).detach().numpy()

    def velocity(self, _t: float, z: Array) -> Array:
        """`dz/dt`: minus the residuals, or minus the gradient."""
        with np.errstate(all="ignore"):
            place = self.place(z)
        return -(place.gradient if self.rows is None else place.residuals)

    def jacobian(self) -> Array:
        """`∂f_i/∂θ` at the weights in the net, (n, d)."""
        rows = []
        with torch.enable_grad():
            outputs = self.outputs().reshape(-1)
            for k in range(len(outputs)):
                last = k == len(outputs) - 1
                grads = torch.autograd.grad(
                    outputs[k], self.parameters, retain_graph=not last, allow_unused=True
                )
                rows.append(self._flat(grads))
        return np.stack(rows)

    def balance(self) -> Balance | None:
        try:
            return balance(self.net, self.map)
        except (MirrorFlowError, TypeError, ValueError):
            return None  # a net without degrees, or a map that couples its parameters


def _follow(
    problem: FlowProblem[Settings], model: _Model, callback: Callable[[FlowPoint], None] | None
) -> Trajectory:
    s = problem.settings
    begin = time.perf_counter()
    end = math.exp(math.inf if s.log_t_end is None else s.log_t_end)
    z = np.zeros(model.size)
    recorder = _Recorder(model)
    place = model.place(z)
    recorder.add(0.0, z, place)
    implicit = s.method == "implicit" or (s.method == "auto" and model.size <= _DENSE)
    solver_of = Radau if implicit else DOP853
    absolute = _ABSOLUTE * s.tol * model.scale(place)
    solver = solver_of(model.velocity, 0.0, z, end, rtol=s.tol, atol=absolute)
    outcome, reason = _judge(model, place)
    best, since = place.open, 0
    while not reason:
        if recorder.steps >= s.max_steps:
            outcome, reason = "stalled", f"max_steps = {s.max_steps} was used up"
            break
        message = solver.step()
        if solver.status == "failed":
            outcome, reason = "stalled", f"the step size fell to nothing ({message})"
            break
        place = model.place(solver.y)
        point = recorder.add(solver.t, solver.y, place)
        if callback is not None:
            callback(point)
        outcome, reason = _judge(model, place)
        best, since = (place.open, 0) if place.open < 0.5 * best else (best, since + 1)
        if not reason and place.open <= _FITTED and since >= _PATIENCE:
            outcome, reason = "interpolates", "every target is fitted, to the solver's last digit"
        if not reason and solver.status == "finished":
            outcome, reason = _at_the_end(place), "log_t_end was reached"
    stats = FlowStats(
        steps=recorder.steps,
        rejected=0,
        failed=0,
        newton=int(getattr(solver, "nlu", 0)),
        seconds=time.perf_counter() - begin,
        reason=reason,
        method="implicit" if implicit else "explicit",
        order=5 if implicit else 8,
        tol=s.tol,
        map=repr(s.mirror_map),
        thinned=0,
    )
    return recorder.finish(outcome, stats, problem)


def _judge(model: _Model, place: _Place) -> tuple[Outcome, str]:
    """The outcome and why, or "reached" and nothing while the flow goes on."""
    if not bool(np.isfinite(place.residuals).all()):
        return "stalled", "the outputs are no finite numbers any more"
    if place.open <= _REST:
        return "interpolates", "every target is fitted: the flow is at rest"
    slope = float(np.abs(place.gradient).max())
    if slope <= _STATIONARY * float(np.abs(place.residuals).max()):
        alone = np.abs(model.jacobian() if model.rows is None else model.rows)
        pulls = float((np.abs(place.residuals) @ alone).max())
        if slope <= _STATIONARY * pulls or pulls == 0.0:
            return _at_the_end(place, rest=True), "the loss is at rest above zero"
    return "reached", ""


def _at_the_end(place: _Place, *, rest: bool = False) -> Outcome:
    if place.open <= _FITTED:
        return "interpolates"
    return "plateau" if rest else "reached"


class _Recorder:
    """One row a step."""

    def __init__(self, model: _Model) -> None:
        self.model = model
        self.rows: list[dict[str, Any]] = []
        self.initial = model.balance()

    @property
    def steps(self) -> int:
        return len(self.rows) - 1

    def add(self, t: float, z: Array, place: _Place) -> FlowPoint:
        log_t = math.log(t) if t > 0 else -math.inf
        size = float(np.linalg.norm(place.theta))
        half_square = 0.5 * float(place.residuals @ place.residuals)
        nu, apart = self._multipliers(z)
        row: dict[str, Any] = {
            "log_t": log_t,
            "log_log_t": math.log(log_t) if log_t > 0 else -math.inf,
            "log_loss": math.log(half_square) if half_square > 0 else -math.inf,
            "log_gauge": math.log(size) if size > 0 else -math.inf,
            "margin": -float(np.abs(place.residuals).max()),
            "gap": math.nan,
            "natural_epsilon": apart,
            "mean_excess": place.open,
            "natural_slack": 0.0,
            "balance_drift": self._drift(place),
            "direction": place.theta / size if size > 0 else place.theta.copy(),
            "multipliers": nu,
            "margins": -np.abs(place.residuals),
        }
        row["rate"] = self._rate(t, z, place, size)
        self.rows.append(row)
        return FlowPoint(**{f.name: row[f.name] for f in fields(FlowPoint)})

    def _multipliers(self, z: Array) -> tuple[Array, float]:
        """ν with `∇R(θ) − ∇R(θ₀) ≈ Jᵀν`, and what is left of it, relative."""
        model = self.model
        if model.rows is not None:
            return z.copy(), 0.0
        rows = model.jacobian()
        nu = np.asarray(np.linalg.lstsq(rows.T, z, rcond=None)[0], np.float64)
        size = float(np.linalg.norm(z))
        return nu, float(np.linalg.norm(z - nu @ rows)) / size if size > 0 else 0.0

    def _drift(self, place: _Place) -> float:
        if self.initial is None or len(self.initial.layers) < 2:
            return math.nan
        self.model.load(place.theta)
        now = self.model.balance()
        return math.nan if now is None else drift(self.initial, now).worst

    def _rate(self, t: float, z: Array, place: _Place, size: float) -> Array:
        """Derivatives against log t, times the larger of log t and 1."""
        model = self.model
        count = len(place.theta) + len(place.residuals) + 2
        moving = model.velocity(t, z)
        length = float(np.abs(moving).max())
        if t == 0.0 or size == 0.0 or length == 0.0:
            return np.full(count, np.nan)
        step = _TANGENT * max(1.0, float(np.abs(z).max())) / length
        ahead, behind = model.place(z + step * moving), model.place(z - step * moving)
        factor = t * max(math.log(t), 1.0) / (2 * step)
        theta = (ahead.theta - behind.theta) * factor
        grow = float(place.theta @ theta) / size**2
        residuals = (ahead.residuals - behind.residuals) * factor
        loss = float(place.residuals @ place.residuals) / 2
        return np.concatenate(
            [
                theta / size - place.theta / size * grow,
                -np.sign(place.residuals) * residuals,
                [grow, float(place.gradient @ theta) / loss if loss > 0 else np.nan],
            ]
        )

    def finish(
        self, outcome: Outcome, stats: FlowStats, problem: FlowProblem[Settings]
    ) -> Trajectory:
        columns: dict[str, Any] = {k: np.array([row[k] for row in self.rows]) for k in self.rows[0]}
        return Trajectory(**columns, degree=0.0, outcome=outcome, stats=stats, problem=problem)

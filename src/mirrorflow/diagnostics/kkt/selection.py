"""A network at normalised parameters, and the margins of it that enter a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.geometry import Geometry
from mirrorflow.diagnostics.kkt.gradients import Rows, weighted_gradient

__all__ = ["Chosen", "Problem", "select"]


@dataclass(frozen=True)
class Problem:
    """A net at normalised parameters, with its margins on the data."""

    net: nn.Module
    parameters: dict[str, Tensor]
    shape: Geometry
    x: Tensor
    y: Tensor
    q: Tensor
    classes: int | None

    @property
    def binary(self) -> bool:
        """True for labels ±1; two outputs have one margin a point too."""
        return self.classes is None

    def weights(self, point: Tensor, column: Tensor) -> Tensor:
        """The combination of outputs that is `q_{ik}`: (m,) or (m, C)."""
        y = self.y[point]
        if self.binary:
            return y.to(torch.float64)
        out = torch.zeros(len(point), self.q.shape[1] + 1, dtype=torch.float64, device=y.device)
        index = torch.arange(len(point), device=y.device)
        out[index, y] = 1.0
        out[index, column + (column >= y).to(column.dtype)] = -1.0
        return out

    def rows(self, point: Tensor, column: Tensor) -> Rows:
        """The margins `q_{ik}` to differentiate."""
        return Rows(self.x[point], self.weights(point, column))

    def place(self, values: Tensor) -> Tensor:
        """(n, C−1) over wrong classes to (n, C), or (n, 1) to (n,)."""
        if self.binary:
            return values[:, 0].cpu()
        return self._spread(values, self.y).cpu()

    def _spread(self, values: Tensor, y: Tensor) -> Tensor:
        n, wrong = values.shape
        out = values.new_zeros(n, wrong + 1)
        mask = torch.ones(n, wrong + 1, dtype=torch.bool, device=values.device)
        mask[torch.arange(n, device=values.device), y] = False
        out[mask] = values.reshape(-1)
        return out

    def gradient(self, weights: Tensor) -> Array:
        """`Σ weights_{ik} ∇q_{ik}`, (d,), over the points that are not negligible."""
        point = torch.nonzero(weights.amax(1) > 1e-14 * weights.max())[:, 0]
        total = np.zeros(sum(p.numel() for p in self.parameters.values()))
        for part in torch.split(point, 2048):
            mine, y = weights[part], self.y[part]
            if self.binary:
                outputs = mine[:, 0] * y
            else:  # Σ_k w_k (f_y − f_k) is one combination of the outputs of a point
                outputs = self._spread(-mine, y)
                outputs[torch.arange(len(part), device=y.device), y] = mine.sum(1)
            total += weighted_gradient(self.net, self.parameters, Rows(self.x[part], outputs))
        return total

    def holder_gap(self, g: Array) -> float:
        """`1 − ⟨g, θ⟩/(Q°(g) Q(θ))`; for a product `1 − Π_g (⟨g, θ⟩_g/(Q_g° Q_g))^{k_g/L}`."""
        parts = self.parts(g)
        log_ratio = 0.0
        for group in self.shape.groups:
            inner = math.fsum(float((parts[k] * self.parameters[k]).sum()) for k in group.names)
            bound = group.dual_gauge(parts)
            if inner <= 0 or bound <= 0:
                return 1.0
            share = 1.0 if self.shape.joint else group.degree / self.shape.degree
            log_ratio += share * math.log(inner / bound)
        return max(0.0, -math.expm1(log_ratio))

    def duality_gap(self, g: Array, total: float) -> float:
        """`1 − L Σλ/Q°(g)` of `g = Σ λ_i ∇q_i/min q`; for a product of `Σ_g k_g Q_g/L`."""
        parts, degree = self.parts(g), self.shape.degree
        bound = max(
            group.dual_gauge(parts) * (1.0 if self.shape.joint else degree / group.degree)
            for group in self.shape.groups
        )
        return min(max(0.0, 1 - degree * total / bound), 1.0) if bound > 0 else 1.0

    def parts(self, g: Array) -> dict[str, Tensor]:
        """A flat vector (d,) as tensors by name."""
        parts: dict[str, Tensor] = {}
        start = 0
        for name, p in self.parameters.items():
            parts[name] = torch.from_numpy(g[start : start + p.numel()]).reshape(p.shape).to(p)
            start += p.numel()
        return parts


@dataclass(frozen=True)
class Chosen:
    """The margins that enter the fit, smallest first: `point`, wrong-class `column`, `ratio`
    `q/min q`; and what was left out."""

    point: Tensor
    column: Tensor
    ratio: Array
    left_out: int
    cut: float
    dtype: type[np.floating[Any]]


def select(problem: Problem, width: float, max_margins: int, memory: float) -> Chosen:
    """The smallest margins, up to `(1 + width) min q`, as many as points and memory (GiB) allow."""
    size = sum(p.numel() for p in problem.parameters.values())
    ratio = (problem.q / problem.q.min()).reshape(-1)
    near = torch.nonzero(ratio <= 1 + width)[:, 0]
    order = near[torch.argsort(ratio[near], stable=True)]
    room = int(memory * 2**30 / (8 * size))
    dtype: type[np.floating[Any]] = np.float64
    if min(len(order), max_margins) > room:
        dtype, room = np.float32, 2 * room
    kept = order[: max(1, min(max_margins, room))]
    wrong = problem.q.shape[1]
    rest = order[len(kept) :]
    points = torch.unique(kept // wrong)
    left_out = torch.unique(rest // wrong)
    left_out = left_out[~torch.isin(left_out, points)]
    return Chosen(
        kept // wrong,
        kept % wrong,
        ratio[kept].cpu().numpy(),
        len(left_out),
        float(ratio[rest[0]]) if len(rest) else math.inf,
        dtype,
    )

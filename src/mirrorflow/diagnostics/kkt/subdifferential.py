"""The whole subdifferential `∂Q(θ)` of a horizon function, with its projection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirrorflow.arrays import Array, project_simplex
from mirrorflow.diagnostics.geometry import Geometry, Group
from mirrorflow.maps import LpHorizon

__all__ = ["Piece", "Subdifferential", "subdifferential"]

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Piece:
    """The affine piece of `v ↦ v − P(v)` around v: `v[rows] − target` and, for every sum,
    `(⟨weights, v[index]⟩ − total)/√len(index)`; all other entries are 0."""

    rows: Index
    target: Array
    sums: list[tuple[Index, Array, float]]


@dataclass
class Subdifferential:
    """A convex set in R^d: a point, boxes, scaled simplices and general convex blocks.

    Attributes:
        value: (d,) the entries that are fixed (anything elsewhere).
        fixed: indices of the fixed entries.
        box, width: indices of entries that are free in [−width, width].
        simplices: `(indices, signs, total)`: entries `signs·c`, `c >= 0`, `Σ c = total`.
        general: `(offset, size, projection)` of blocks given by their projection only.
    """

    value: Array
    fixed: Index
    box: Index
    width: Array
    simplices: list[tuple[Index, Array, float]] = field(default_factory=list)
    general: list[tuple[int, int, Callable[[Array], Array]]] = field(default_factory=list)

    @property
    def is_point(self) -> bool:
        """True if there is nothing to choose."""
        return not (len(self.box) or self.simplices or self.general)

    @property
    def free(self) -> int:
        """Number of entries that are not fixed."""
        return (
            len(self.box)
            + sum(len(i) for i, _, _ in self.simplices)
            + sum(size for _, size, _ in self.general)
        )

    def project(self, v: Array) -> Array:
        """The nearest element of the set, (d,)."""
        out = self.value.copy()
        out[self.box] = np.clip(v[self.box], -self.width, self.width)
        for index, signs, total in self.simplices:
            out[index] = signs * project_simplex(signs * v[index], total)
        for offset, size, projection in self.general:
            out[offset : offset + size] = projection(v[offset : offset + size])
        return out

    def piece(self, v: Array) -> Piece:
        """The affine piece around v; only for sets without general blocks."""
        outside = np.abs(v[self.box]) > self.width
        rows, targets = [self.fixed, self.box[outside]], [self.value[self.fixed]]
        targets.append((np.sign(v[self.box]) * self.width)[outside])
        sums = []
        for index, signs, total in self.simplices:
            on = project_simplex(signs * v[index], total) > 0
            rows.append(index[~on])
            targets.append(np.zeros(int((~on).sum())))
            sums.append((index[on], signs[on], total))
        return Piece(np.concatenate(rows), np.concatenate(targets), sums)


def subdifferential(
    shape: Geometry, parameters: dict[str, Tensor], tolerance: float
) -> Subdifferential:
    """`∂Q(θ)` at normalised parameters (`Q_g = 1` for every map).

    For a product it is that of `log Π_g Q_g^{k_g}`, `k_g ∂Q_g` for every group.

    Args:
        shape: the geometry of the net.
        parameters: with `Q_g = 1` for every map, in the order of the flat vector.
        tolerance: relative to the largest entry of a block: an entry (a singular value) at most
            this large counts as zero at ℓ1, one at least 1 − tolerance as maximal at ℓ∞.
    """
    offsets, total = {}, 0
    for name, p in parameters.items():
        offsets[name] = total
        total += p.numel()
    out = Subdifferential(np.zeros(total), _no_rows(), _no_rows(), np.zeros(0))
    fixed: list[Index] = []
    boxes: list[Index] = []
    widths: list[Array] = []
    scaled = [
        (block, factor * (1.0 if shape.joint else group.degree))
        for group in shape.groups
        for block, factor in zip(group.blocks, _factors(group, parameters, tolerance), strict=True)
    ]
    for block, factor in scaled:
        index = np.concatenate(
            [np.arange(offsets[k], offsets[k] + parameters[k].numel()) for k in block.names]
        )
        tensor = block.gather(parameters)
        x = tensor.reshape(-1).cpu().numpy()
        peak = float(np.abs(x).max(initial=0.0))
        order = block.horizon.order if isinstance(block.horizon, LpHorizon) else None
        project = getattr(block.horizon, "project_subgradient", None)
        if order == 1 and factor > 0:
            zero = np.abs(x) <= tolerance * peak
            boxes.append(index[zero])
            widths.append(np.full(int(zero.sum()), factor))
            fixed.append(index[~zero])
            out.value[index[~zero]] = factor * np.sign(x[~zero])
        elif order is not None and math.isinf(order) and factor > 0 and peak > 0:
            top = np.abs(x) >= (1 - tolerance) * peak
            fixed.append(index[~top])
            out.simplices.append((index[top], np.sign(x[top]), factor))
        elif order is None and project is not None and factor > 0 and _set_valued(block.horizon):
            out.general.append(
                (int(index[0]), len(index), _projection(project, tensor, factor, tolerance))
            )
        else:
            fixed.append(index)
            if factor > 0:
                s = block.horizon.subgradient(tensor).reshape(-1).cpu().numpy()
                out.value[index] = factor * s
    out.fixed = np.concatenate([_no_rows(), *fixed])
    out.box = np.concatenate([_no_rows(), *boxes])
    out.width = np.concatenate([np.zeros(0), *widths])
    return out


def _no_rows() -> Index:
    return np.zeros(0, dtype=np.intp)


def _set_valued(horizon: object) -> bool:
    order = getattr(horizon, "order", None)
    return order is None or order == 1 or math.isinf(order)


def _projection(
    project: Callable[..., Tensor], at: Tensor, factor: float, tolerance: float
) -> Callable[[Array], Array]:
    def call(v: Array) -> Array:
        target = torch.from_numpy(v / factor).reshape(at.shape).to(at)
        nearest = project(at, target, tolerance)
        out: Array = factor * nearest.reshape(-1).cpu().numpy()
        return out

    return call


def _factors(group: Group, parameters: dict[str, Tensor], tolerance: float) -> list[float]:
    """`∂Q_g/∂Q_b` of every block, at `Q_g = 1`."""
    if len(group.blocks) == 1:
        return [1.0]
    gauges = [block.gauge(parameters) for block in group.blocks]
    if not math.isinf(group.alpha):
        return [g ** (group.alpha - 1) if g > 0 or group.alpha > 1 else 1.0 for g in gauges]
    # Q_g = max_b Q_b: the convex weights of the maximal blocks follow from Euler, k_b/Σk each.
    degrees = [
        block.degree if gauge >= (1 - tolerance) * max(gauges) and block.degree > 0 else 0.0
        for block, gauge in zip(group.blocks, gauges, strict=True)
    ]
    total = math.fsum(degrees) or 1.0
    return [k / total for k in degrees]

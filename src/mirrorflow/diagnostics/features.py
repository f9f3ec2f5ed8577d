"""Sparse or dense: what the hidden layers of a network look like on data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.diagnostics.geometry import check_parameters
from mirrorflow.diagnostics.structure import Structure, Units, structure, weight_modules
from mirrorflow.nets import HomogeneousNet

__all__ = ["Features", "HiddenFeatures", "WeightFeatures", "features"]

_SMALL = 1e-3


@dataclass(frozen=True)
class WeightFeatures:
    """One weight tensor: share of entries above 1e-3 of the largest, and Hoyer's sparsity
    `(√d − ‖W‖₁/‖W‖₂)/(√d − 1)`, 0 for equal magnitudes, 1 for a single entry."""

    above: float
    hoyer: float


@dataclass(frozen=True)
class HiddenFeatures:
    """One hidden layer of m units (channels, for a convolution).

    Attributes:
        units: m.
        alive: share of units that are ever active on the data and whose strength
            `s_j = ‖in_j‖₂ ‖out_j‖₂` is above 1e-3 of the largest.
        zero_activations: share of exact zeros among all activations.
        participation: `(Σ s_j)²/(m Σ s_j²)` of the strengths, between 1/m and 1.
        effective_rank: `exp(H)`, H the entropy of the normalised singular values of the feature
            matrix (for a convolution every position is a row).
        cka_movement: `1 − CKA` (linear kernel of the features, centred; for a convolution of
            their mean over positions) against the initial net; None without one.
        strengths: `s_j`, (m,).
    """

    units: int
    alive: float
    zero_activations: float
    participation: float
    effective_rank: float
    cka_movement: float | None
    strengths: Tensor


@dataclass(frozen=True)
class Features:
    """All measures, per hidden layer by the name of its incoming weight, and per weight tensor."""

    hidden: dict[str, HiddenFeatures]
    weights: dict[str, WeightFeatures]


@torch.no_grad()
def features(
    net: nn.Module, x: Tensor, *, initial: nn.Module | None = None, batch_size: int = 1024
) -> Features:
    """Measure sparsity and rank of the hidden layers on the points x, batch by batch.

    Only sums over points are kept: memory is `O(batch·units + units²)`.

    Args:
        net: a `HomogeneousNet`, or a plain `Sequential` of the kinds that `structure` reads.
        x: (n, …) points.
        initial: the net at initialisation, for the movement of the feature kernel.
        batch_size: points at a time.

    Returns:
        A `Features`.

    Raises:
        TypeError: a module whose hidden layers cannot be found.
        ValueError: no points, or parameters that are NaN or infinite.

    Source: effective rank: Roy & Vetterli, EUSIPCO 2007; CKA: Kornblith et al., ICML 2019.
    """
    if not isinstance(net, HomogeneousNet | nn.Sequential):
        raise TypeError(
            f"net is a {type(net).__name__}; features() reads a mirrorflow.nets.HomogeneousNet or "
            "a Sequential of Linear, Conv, ReLU, pooling and Flatten. Derive the net from "
            "HomogeneousNet with `junctions` and `activations`"
        )
    check_parameters(net)
    if len(x) == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}: there are no points to measure on")
    found = structure(net, x[:8])
    nets: list[HomogeneousNet | nn.Sequential] = [net]
    if initial is not None:
        if not isinstance(initial, HomogeneousNet | nn.Sequential):
            raise TypeError(f"initial is a {type(initial).__name__}; pass a net like `net`")
        nets.append(initial)
    modes = [(n, n.training) for n in nets]
    sums: list[_Sums] | None = None
    try:
        for each in nets:
            each.eval()
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size]
            layers = [_activations(each, batch, found) for each in nets]
            if sums is None:
                sums = [_Sums(hidden) for hidden in found.units]
            for i, total in enumerate(sums):
                total.add(layers[0][i], layers[1][i] if initial is not None else None)
    finally:
        for each, mode in modes:
            each.train(mode)
    parameters = {k: p.detach().to(torch.float64) for k, p in net.named_parameters()}
    hidden = {t.hidden.incoming[0]: t.result(parameters) for t in sums or []}
    return Features(hidden, {k: _weight(p) for k, p in parameters.items()})


def _weight(p: Tensor) -> WeightFeatures:
    magnitude = p.abs().reshape(-1)
    largest = magnitude.max()
    if largest == 0:
        return WeightFeatures(0.0, 0.0)
    magnitude = magnitude / largest
    root = len(magnitude) ** 0.5
    ratio = float(magnitude.sum() / magnitude.norm())
    hoyer = (root - ratio) / (root - 1) if root > 1 else 0.0
    return WeightFeatures(float((magnitude > _SMALL).double().mean()), hoyer)


def _activations(
    net: HomogeneousNet | nn.Sequential, x: Tensor, found: Structure
) -> tuple[Tensor, ...]:
    if isinstance(net, HomogeneousNet):
        return net.activations(x)
    # After the last activation before the next weights; pooling afterwards is not counted.
    names = {hidden.incoming[0].rsplit(".", 1)[0] for hidden in found.units}
    out: list[Tensor] = []
    h, inside = x, False
    for name, module in weight_modules(net):
        h = module(h.clone() if getattr(module, "inplace", False) else h)
        if name in names:
            out.append(h)
            inside = True
        elif isinstance(module, nn.ReLU | nn.LeakyReLU) and inside:
            out[-1] = h
        elif hasattr(module, "weight"):
            inside = False
    return tuple(out)


class _Sums:
    """Sums over points of one hidden layer."""

    def __init__(self, hidden: Units) -> None:
        self.hidden = hidden
        self.points = self.entries = self.zeros = 0
        self.active = torch.zeros(hidden.units, dtype=torch.bool)
        self.gram = torch.zeros(hidden.units, hidden.units, dtype=torch.float64)
        self.cross: list[Tensor] = []
        self.means: list[Tensor] = []

    def add(self, h: Tensor, other: Tensor | None) -> None:
        rows = h.to(torch.float64)
        rows = rows.movedim(1, -1).reshape(-1, self.hidden.units)
        self.active |= (rows != 0).any(0).cpu()
        self.zeros += int((rows == 0).sum())
        self.entries += rows.numel()
        self.gram = self.gram.to(rows.device) + rows.T @ rows
        if other is None:
            return
        self.points += len(h)
        a, b = (
            v.to(torch.float64).flatten(2).mean(2) if v.ndim > 2 else v.to(torch.float64)
            for v in (h, other)
        )
        cross, means = [a.T @ a, b.T @ b, a.T @ b], [a.sum(0), b.sum(0)]
        if not self.cross:
            self.cross, self.means = cross, means
        else:
            self.cross = [u + v for u, v in zip(self.cross, cross, strict=True)]
            self.means = [u + v for u, v in zip(self.means, means, strict=True)]

    def result(self, parameters: dict[str, Tensor]) -> HiddenFeatures:
        peak = max(float(p.abs().max()) for p in parameters.values()) or 1.0
        squares = {k: (p / peak).square() for k, p in parameters.items()}
        s = (self.hidden.fan_in(squares) * self.hidden.fan_out(squares)).sqrt().cpu()
        alive = self.active & (s > _SMALL * s.max())
        total = float(s.square().sum())
        values = torch.linalg.eigvalsh(self.gram).clamp(min=0).sqrt()
        weights = values / values.sum() if float(values.sum()) > 0 else values
        entropy = float(-(torch.special.xlogy(weights, weights)).sum())
        return HiddenFeatures(
            units=self.hidden.units,
            alive=float(alive.double().mean()),
            zero_activations=self.zeros / self.entries,
            participation=float(s.sum()) ** 2 / (len(s) * total) if total > 0 else 0.0,
            effective_rank=math.exp(entropy) if float(values.sum()) > 0 else 0.0,
            cka_movement=self._movement(),
            strengths=s,
        )

    def _movement(self) -> float | None:
        if not self.cross:
            return None
        n, (u, v) = self.points, self.means
        centred = [
            c - torch.outer(p, q) / n
            for c, (p, q) in zip(self.cross, [(u, u), (v, v), (u, v)], strict=True)
        ]
        own = float(centred[0].norm() * centred[1].norm())
        return 1.0 - float(centred[2].norm()) ** 2 / own if own > 0 else float("nan")

"""The balance equation: what mirror flow conserves between layers and at hidden units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from mirrorflow.diagnostics.geometry import check_parameters
from mirrorflow.diagnostics.structure import structure
from mirrorflow.maps import MapLike, SeparableMap, assign

__all__ = ["Balance", "Drift", "balance", "drift"]


@dataclass(frozen=True)
class Balance:
    """The terms of the balance equation at one point.

    Attributes:
        layers: `E_l(W_l)/k_l` by the layer's first parameter; every difference is conserved.
        units: per hidden layer, by the name of its incoming parameter, the conserved
            `Σ e(W_in[j])/s − Σ e(W_out[j])` of every unit or channel j, shape (units,).
        unit_energies: per hidden layer the sum (not the difference) of the two terms.
    """

    layers: dict[str, float]
    units: dict[str, Tensor]
    unit_energies: dict[str, Tensor]

    @property
    def differences(self) -> dict[tuple[str, str], float]:
        """The conserved `E_l/k_l − E_m/k_m` for every pair of layers."""
        return {(a, b): self.layers[a] - self.layers[b] for a, b in combinations(self.layers, 2)}


@dataclass(frozen=True)
class Drift:
    """How far the invariants moved, relative to the energies after (the larger of both ends).

    Attributes:
        layers: the largest change of a layer difference over the largest layer energy.
        units: the largest change of a unit invariant over the largest unit energy of its layer.
        absolute_layers, absolute_units: the same changes before the division.
    """

    layers: float
    units: float
    absolute_layers: float
    absolute_units: float

    @property
    def worst(self) -> float:
        """The larger of `layers` and `units`."""
        return max(self.layers, self.units)


@torch.no_grad()
def balance(net: nn.Module, mirror_map: MapLike, *, x: Tensor | None = None) -> Balance:
    """The invariants of mirror flow: `E_l(W_l)/k_l` per layer, and their split per hidden unit.

    With the dual energy `E = R*(∇R(θ))`, `dE_l/dt = k_l ν(t)` along the flow, so every difference
    `E_l/k_l − E_m/k_m` is conserved; for a map that is separable over entries also, per unit with
    an activation of degree s, `Σ_k e(W_in[j,k])/s − Σ_k e(W_out[k,j])`. For the quadratic map it
    is `(‖W_l‖² − ‖W_m‖²)/2`. A channel of a convolution is a unit, a first-layer bias an
    incoming weight. With "smooth_relu" the units of the last hidden layer balance exactly, those
    of earlier ones only up to `O(eps²)`, because the next layer's smoothing sees `‖h‖`.

    Args:
        net: a `HomogeneousNet`, a plain `Sequential`, or any homogeneous module together with x.
        mirror_map: one map, or a mapping from parameter names to maps.
        x: points (n, …) to measure the degrees on, needed only for a net that declares none.

    Returns:
        A `Balance`; hidden layers whose maps are not separable have no entry in `units`.

    Raises:
        NotHomogeneousError: the net is not homogeneous.
        ValueError, TypeError: NaN parameters, a map that fits no parameter, or no degrees and no x.

    Source: arXiv 2605.19458; for p = 2 Du, Hu & Lee, NeurIPS 2018.
    """
    check_parameters(net)
    found = structure(net, x)
    parameters = {k: p.detach().to(torch.float64) for k, p in net.named_parameters()}
    maps = assign(mirror_map, parameters)
    layers = {
        layer.name: sum(float(maps[k].dual_energy(parameters[k])) for k in layer.names)
        / layer.degree
        for layer in found.layers
        if layer.degree > 0
    }
    entries = {
        k: m.dual_energy_entries(parameters[k])
        for k, m in maps.items()
        if isinstance(m, SeparableMap)
    }
    units, energies = {}, {}
    for hidden in found.units:
        if not all(name in entries for name in (*hidden.incoming, hidden.outgoing)):
            continue
        fan_in, fan_out = hidden.fan_in(entries) / hidden.degree, hidden.fan_out(entries)
        units[hidden.incoming[0]] = (fan_in - fan_out).cpu()
        energies[hidden.incoming[0]] = (fan_in + fan_out).cpu()
    return Balance(layers, units, energies)


def drift(before: Balance, after: Balance) -> Drift:
    """How far the invariants moved between two points of one run.

    Args:
        before, after: balances of the same net under the same maps.

    Returns:
        A `Drift`; NaN where an energy has left the finite numbers.

    Raises:
        ValueError: the two do not have the same layers and units.
    """
    if list(before.layers) != list(after.layers) or list(before.units) != list(after.units):
        raise ValueError(
            f"before has layers {list(before.layers)}, after has {list(after.layers)}; "
            "compare two points of the same net and map"
        )
    first, second = before.differences, after.differences
    moved = max((abs(second[k] - first[k]) for k in first), default=0.0)
    energy = max((abs(v) for b in (before, after) for v in b.layers.values()), default=0.0)
    absolute = relative = 0.0
    for name, value in after.units.items():
        change = float((value - before.units[name]).abs().max())
        scale = max(float(b.unit_energies[name].max()) for b in (before, after))
        absolute, relative = _max(absolute, change), _max(relative, _ratio(change, scale))
    return Drift(_ratio(moved, energy), relative, moved, absolute)


def _max(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


def _ratio(change: float, scale: float) -> float:
    if not (math.isfinite(change) and math.isfinite(scale)):
        return math.nan
    return change / scale if scale > 0 else 0.0

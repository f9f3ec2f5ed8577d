"""The balance equation: what mirror flow conserves between layers and at hidden units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import torch
from torch import Tensor, nn

from mirrorflow.checks import shown
from mirrorflow.diagnostics.geometry import check_parameters, trained_maps
from mirrorflow.diagnostics.structure import Units, structure
from mirrorflow.maps import MapLike, SeparableMap
from mirrorflow.nets.evaluate import trained_parameters, undisturbed

__all__ = ["Balance", "Drift", "balance", "drift"]


@dataclass(frozen=True)
class Balance:
    """The terms of the balance equation at one point.

    Attributes:
        layers: `E_l(W_l)/k_l` by the layer's first parameter; every difference is conserved.
        units: per hidden layer, by the name of its incoming parameter, the conserved
            `Σ e(W_in[j])/s − Σ e(W_out[j])` of every unit or channel j, shape (units,). Hidden
            layers that share a weight have one entry, with the sums over all their weights.
        unit_energies: per hidden layer the sum (not the difference) of the two terms.
        fixed: the frozen parameters, which have no part in it.
    """

    layers: dict[str, float]
    units: dict[str, Tensor]
    unit_energies: dict[str, Tensor]
    fixed: tuple[str, ...] = ()

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


@undisturbed
def balance(net: nn.Module, mirror_map: MapLike, *, x: Tensor | None = None) -> Balance:
    """The invariants of mirror flow: `E_l(W_l)/k_l` per layer, and their split per hidden unit.

    With the dual energy `E = R*(∇R(θ))`, `dE_l/dt = k_l ν(t)` along the flow, so every difference
    `E_l/k_l − E_m/k_m` is conserved; for a map that is separable over entries also, per unit with
    an activation of degree s, `Σ_k e(W_in[j,k])/s − Σ_k e(W_out[k,j])`. For the quadratic map it
    is `(‖W_l‖² − ‖W_m‖²)/2`. A channel of a convolution is a unit, a first-layer bias an
    incoming weight. With "smooth_relu" the units of the last hidden layer balance exactly, those
    of earlier ones only up to `O(eps²)`, because the next layer's smoothing sees `‖h‖`.

    A weight that is used k times has degree k, and its energy counts once. Hidden layers that
    share it are balanced together: with `h₁ = σ(A x)`, `h₂ = σ(H h₁)`, `h₃ = σ(H h₂)`, `f = B h₃`
    the energies of row j of A and of H, less those of column j of H and of B, are conserved.
    Frozen parameters are held fixed and left out, with the hidden layers that they bound.

    Args:
        net: a `HomogeneousNet`, a plain `Sequential`, or any homogeneous module together with x.
        mirror_map: one map, or a mapping from parameter names to maps.
        x: points (n, …) to measure the degrees on, needed only for a net that declares none.

    Returns:
        A `Balance`; hidden layers whose maps are not separable, whose weights are frozen, or that
        share weights with the input or the output, have no entry in `units`.

    Raises:
        NotHomogeneousError: the net is not homogeneous.
        ValueError, TypeError: NaN parameters, a map that fits no parameter, or no degrees and no x;
            all parameters frozen; weights that are computed (pruning masks, weight norm).

    Source: arXiv 2605.19458; for p = 2 Du, Hu & Lee, NeurIPS 2018.
    """
    check_parameters(net)
    found = structure(net, x)
    maps = trained_maps(mirror_map, net)
    parameters = {k: p.to(torch.float64) for k, p in trained_parameters(net).items()}
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
    # A frozen bias that is zero is no bias.
    zero = {k for k, p in net.named_parameters() if k in found.fixed and not bool(p.any())}
    bounded = [
        replace(
            hidden,
            incoming=(hidden.incoming[0], *(k for k in hidden.incoming[1:] if k not in zero)),
        )
        for hidden in found.units
    ]
    units, energies = {}, {}
    for linked in _linked(bounded):
        # Once for a weight, however often it is used.
        into = {hidden.incoming: hidden for hidden in linked}.values()
        out = {hidden.outgoing: hidden for hidden in linked}.values()
        names = {k for hidden in linked for k in (*hidden.incoming, hidden.outgoing)}
        if names <= set(entries):
            fan_in = _sum([hidden.fan_in(entries) / hidden.degree for hidden in into])
            fan_out = _sum([hidden.fan_out(entries) for hidden in out])
            units[linked[0].incoming[0]] = (fan_in - fan_out).cpu()
            energies[linked[0].incoming[0]] = (fan_in + fan_out).cpu()
    return Balance(layers, units, energies, found.fixed)


def _linked(units: list[Units]) -> list[list[Units]]:
    """Hidden layers that have an incoming or an outgoing weight in common, if they balance.

    Along the flow the energy of row j of W grows by the flux through unit j of every layer that W
    leads into, that of column j by the flux of every layer that it leads out of. All fluxes cancel
    in the sum over linked layers of incoming less outgoing energies, each weight once, unless a
    weight leads out of the input or into the output as well.
    """
    groups: list[list[Units]] = []
    for hidden in units:
        group = [hidden]
        for other in [g for g in groups if any(_share(hidden, h) for h in g)]:
            groups.remove(other)
            group = other + group
        groups.append(group)
    chain = all(a.outgoing == b.incoming[0] for a, b in pairwise(units))
    names = [units[0].incoming[0], *(hidden.outgoing for hidden in units)] if units else []
    repeated = {name for name in names if names.count(name) > 1}

    def balanced(group: list[Units]) -> bool:
        ends = any(
            hidden.outgoing == units[0].incoming[0] or hidden.incoming[0] == units[-1].outgoing
            for hidden in group
        )
        alike = len({(hidden.units, hidden.degree) for hidden in group}) == 1
        shares = any({hidden.incoming[0], hidden.outgoing} & repeated for hidden in group)
        return (len(group) == 1 or alike) and not (shares and (ends or not chain))

    return [group for group in groups if balanced(group)]


def _share(one: Units, other: Units) -> bool:
    return one.incoming[0] == other.incoming[0] or one.outgoing == other.outgoing


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def drift(before: Balance, after: Balance) -> Drift:
    """How far the invariants moved between two points of one run.

    Args:
        before, after: balances of the same net under the same maps.

    Returns:
        A `Drift`; NaN where an energy has left the finite numbers.

    Raises:
        ValueError: the two do not have the same layers and units.
        TypeError: something else than a `Balance`.
    """
    for which, given in (("before", before), ("after", after)):
        if not isinstance(given, Balance):
            raise TypeError(f"{which} = {shown(given)} is not a Balance; pass what balance() gave")
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

"""The horizon of a whole net: blocks of parameters, each with its map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.checks import as_number, shown
from mirrorflow.maps.arguments import require_floating
from mirrorflow.maps.assignment import MapLike, assign
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.horizon import Horizon, LpHorizon, as_matrix, lp_norm

__all__ = ["BlockHorizon"]


@dataclass(frozen=True)
class Group:
    """The blocks that share one map: jointly they have the ℓα combination of their gauges."""

    horizon: Horizon
    index: float
    names: tuple[str, ...]
    degree: float

    @property
    def dual_index(self) -> float:
        if self.index == 1:
            return math.inf
        return 1.0 if math.isinf(self.index) else self.index / (self.index - 1)


class BlockHorizon:
    """`Q(θ)` of named blocks: joint over blocks of one map, a product over different maps.

    Blocks with equal maps of index α have one potential, whose horizon is the ℓα combination of
    the block gauges (the maximum for α = ∞): for separable maps the ℓα norm of all entries.
    Between different maps `g` the norms diverge at different rates, and the margin is normalised by
    `Π_g Q_g^{k_g}` (theory.md §3). To keep one notation, here `Q = Π_g Q_g^{k_g/L}`, `L = Σ k_g`:
    1-homogeneous, equal to the joint gauge if there is only one map, and `min q / Q^L` is the
    Q-margin in every case.

    Args:
        mirror_map: one map, or a mapping as for `assign`.
        names: the parameter names, as in `net.named_parameters()`.
        degrees: degree of the net in each parameter, by name; by default 1 each. A bias that shares
            its layer's degree counts 0. Only products need them.

    Raises:
        NoHorizonError: a map without a horizon function.
        ValueError: a name without a degree, or a group of maps whose degrees add up to 0.
    """

    def __init__(
        self,
        mirror_map: MapLike,
        names: Iterable[str],
        degrees: Mapping[str, float] | None = None,
    ) -> None:
        maps = assign(mirror_map, names)
        if not maps:
            raise ValueError("names is empty; pass the name of at least one parameter")
        if degrees is None:
            degrees = dict.fromkeys(maps, 1.0)
        elif not isinstance(degrees, Mapping):
            raise TypeError(
                f"degrees = {shown(degrees)} is a {type(degrees).__name__}; pass a mapping from "
                "names to degrees"
            )
        degrees = {
            name: as_number(degree, f"degrees[{name!r}]", least=0)
            for name, degree in degrees.items()
        }
        missing = [name for name in maps if name not in degrees]
        if missing:
            raise ValueError(f"degrees lacks {missing}; it has {sorted(degrees)}")
        members: dict[MirrorMap, list[str]] = {}
        for name, each in maps.items():
            members.setdefault(each, []).append(name)
        self.groups = tuple(
            Group(each.horizon(), each.index, tuple(own), sum(degrees[name] for name in own))
            for each, own in members.items()
        )
        self.joint = len(self.groups) == 1
        for group in self.groups:
            if not self.joint and not group.degree > 0:
                raise ValueError(
                    f"degrees of {list(group.names)} add up to {group.degree}; a product of gauges "
                    "needs a positive degree for every map"
                )
        self.degree = sum(group.degree for group in self.groups)

    @property
    def order(self) -> float | None:
        """The order of the one horizon if the blocks are joint and it combines to a norm."""
        group = self.groups[0]
        return group.horizon.order if self.joint and group.horizon.order == group.index else None

    def _named(self, tensors: Mapping[str, Tensor], what: str) -> Mapping[str, Tensor]:
        """The mapping, with a tensor of real floats for every name."""
        if not isinstance(tensors, Mapping):
            raise TypeError(
                f"{what} = {shown(tensors)} is a {type(tensors).__name__}; pass a mapping from "
                "parameter names to tensors"
            )
        names = [name for group in self.groups for name in group.names]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"{what} lacks {missing}; it has {sorted(map(str, tensors))}")
        own = {name: require_floating(tensors[name], f"{what}[{name!r}]") for name in names}
        return {name: own.get(name, value) for name, value in tensors.items()}

    def log_gauge(self, params: Mapping[str, Tensor]) -> Tensor:
        """`log Q(θ)`: joint, or `Σ_g (k_g/L) log Q_g`."""
        params = self._named(params, "params")
        logs = [torch.log(self._gauge(group, params)) for group in self.groups]
        return self._mean(logs)

    def gauge(self, params: Mapping[str, Tensor]) -> Tensor:
        """`Q(θ)`, a scalar tensor."""
        params = self._named(params, "params")
        if self.joint:
            return self._gauge(self.groups[0], params)
        return torch.exp(self.log_gauge(params))

    def log_normalizer(self, params: Mapping[str, Tensor]) -> Tensor:
        """`L log Q = Σ_g k_g log Q_g`: the Q-margin is `min q / exp` of it."""
        return self.degree * self.log_gauge(params)

    def dual_gauge(self, grads: Mapping[str, Tensor]) -> Tensor:
        """`Q°(g)`; for a product `Π_g (L Q_g°/k_g)^{k_g/L}`.

        The product form bounds `⟨g, θ⟩ ≤ Q°(g) Q(θ)` for every g with `⟨g_g, θ_g⟩ = (k_g/L)⟨g,
        θ⟩`, as Euler's identity gives for gradients of a homogeneous net, with equality exactly
        when every group is aligned: so `1 − ⟨g, θ⟩/(Q°(g) Q(θ))` is a Hölder gap in both cases.
        """
        grads = self._named(grads, "grads")
        if self.joint:
            return self._dual(self.groups[0], grads)
        logs = [
            torch.log(self._dual(group, grads) * (self.degree / group.degree))
            for group in self.groups
        ]
        return torch.exp(self._mean(logs))

    def subgradient(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One `s` in `∂Q(θ)` by name, `⟨s, θ⟩ = Q(θ)`; of a product, its gradient."""
        params = self._named(params, "params")
        whole = self.gauge(params)
        result: dict[str, Tensor] = {}
        for group in self.groups:
            gauge = self._gauge(group, params)
            factor = whole.new_ones(()) if self.joint else whole / gauge * self._share(group)
            weights = block_weights(group, params)
            for name, weight in zip(group.names, weights, strict=True):
                result[name] = factor * weight * group.horizon.subgradient(params[name])
        return {name: result[name] for name in params if name in result}

    def project_subgradient(
        self, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], rtol: float = 1e-9
    ) -> dict[str, Tensor]:
        """The element of `∂Q(θ)` nearest to the grads, by name; group by group for a product."""
        params, grads = self._named(params, "params"), self._named(grads, "grads")
        for group in self.groups:
            for name in group.names:
                if grads[name].shape != params[name].shape:
                    raise ValueError(
                        f"grads[{name!r}] has shape {tuple(grads[name].shape)}, params[{name!r}] "
                        f"has {tuple(params[name].shape)}; make them equal"
                    )
        rtol = as_number(rtol, "rtol", least=0, below=1)
        whole = self.gauge(params)
        result: dict[str, Tensor] = {}
        for group in self.groups:
            gauge = self._gauge(group, params)
            factor = whole.new_ones(()) if self.joint else whole / gauge * self._share(group)
            scaled = {name: grads[name] / factor for name in group.names}
            for name, nearest in project_group(group, params, scaled, rtol).items():
                result[name] = factor * nearest
        return {name: result[name] for name in params if name in result}

    def _mean(self, logs: list[Tensor]) -> Tensor:
        if self.joint:
            return logs[0]
        total = logs[0] * self._share(self.groups[0])
        for group, each in zip(self.groups[1:], logs[1:], strict=True):
            total = total + self._share(group) * each
        return total

    def _share(self, group: Group) -> float:
        return group.degree / self.degree

    def _gauge(self, group: Group, params: Mapping[str, Tensor]) -> Tensor:
        blocks = [group.horizon.gauge(params[name]) for name in group.names]
        return lp_norm(torch.stack(blocks), group.index)

    def _dual(self, group: Group, grads: Mapping[str, Tensor]) -> Tensor:
        blocks = [group.horizon.dual_gauge(grads[name]) for name in group.names]
        return lp_norm(torch.stack(blocks), group.dual_index)


def block_weights(group: Group, params: Mapping[str, Tensor]) -> list[Tensor]:
    """A subgradient of the ℓα combination with respect to the block gauges."""
    blocks = torch.stack([group.horizon.gauge(params[name]) for name in group.names])
    return list(LpHorizon(group.index).subgradient(blocks))


def project_group(
    group: Group, params: Mapping[str, Tensor], grads: Mapping[str, Tensor], rtol: float
) -> dict[str, Tensor]:
    """The nearest subgradient of the joint gauge of one group.

    A separable map sees one long vector, and a spectral map with `α = ∞` one block-diagonal
    matrix. Otherwise the weights of the blocks are unique, and each is projected by itself.
    """
    names, horizon = group.names, group.horizon
    if isinstance(horizon, LpHorizon) and horizon.p == group.index:
        point, target = (torch.cat([t[name].flatten() for name in names]) for t in (params, grads))
        nearest = horizon.project_subgradient(point, target, rtol)
        sizes = [params[name].numel() for name in names]
        parts = nearest.split(sizes)  # type: ignore[no-untyped-call]
        return {n: part.reshape(params[n].shape) for n, part in zip(names, parts, strict=True)}
    if math.isinf(group.index):
        matrices, targets = ([as_matrix(t[name]) for name in names] for t in (params, grads))
        point = torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
        target = torch.block_diag(*targets)  # type: ignore[no-untyped-call]
        found = horizon.project_subgradient(point, target, rtol)
        result, row, column = {}, 0, 0
        for name, matrix in zip(names, matrices, strict=True):
            rows, columns = matrix.shape
            part = found[row : row + rows, column : column + columns]
            result[name] = part.reshape(params[name].shape)
            row, column = row + rows, column + columns
        return result
    weights = block_weights(group, params)
    if group.index == 1:
        # A block at 0 has weight 1 too: its subgradients are a whole dual ball.
        weights = [torch.ones_like(weight) for weight in weights]
    return {
        name: weight * horizon.project_subgradient(params[name], grads[name] / weight, rtol)
        if weight > 0
        else torch.zeros_like(params[name])
        for name, weight in zip(names, weights, strict=True)
    }

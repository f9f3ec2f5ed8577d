"""Parameter groups by kind: the map for the weights of layers, another for all the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_net, as_number, shown
from mirrorflow.maps import (
    MapLike,
    MirrorMap,
    Quadratic,
    Scaled,
    SeparableMap,
    as_map,
    assign,
)
from mirrorflow.maps.assignment import key_for
from mirrorflow.optim.match_lr import match_lr
from mirrorflow.optim.step_size import RelativeStep
from mirrorflow.roles import Role, roles
from mirrorflow.tabular import aligned

__all__ = ["ParamGroups", "param_groups"]

_Rate = float | Tensor | Literal["auto"] | RelativeStep


class ParamGroups(list[dict[str, Any]]):
    """Groups for `MirrorDescent`, `MirrorAdamW` or an optimizer of torch; printed, who got what.

    A list of dicts as torch takes them, each with its named parameters, its `mirror_map` and its
    `lr`. Change any entry, or add one (`groups[1]["weight_decay"] = 0`), before or after.

    Args:
        groups: the dicts.
        members: for each group what its parameters are.
        frozen: parameters without `requires_grad`, which are in no group.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        members: Sequence[Sequence[Role]],
        frozen: Sequence[Role] = (),
    ) -> None:
        super().__init__(groups)
        self._members = [tuple(each) for each in members]
        self._frozen = tuple(frozen)

    def match_lr(self, lr: float, *, like: Literal["sgd", "adamw"] = "sgd") -> ParamGroups:
        """Give every group the rate that moves it as far as a known rate of SGD or AdamW would.

        Call it after the first `backward()`. Each group is matched by itself (`optim.match_lr`),
        since one rate for different maps moves some of them much too far.

        Args:
            lr: the rate that is known to work, > 0.
            like: whose rate it is.

        Returns:
            Itself.

        Raises:
            ValueError, TypeError: see `optim.match_lr`; in particular no gradients.
        """
        rates = []
        for group in self:
            # A copy: an optimizer writes its options into the dicts that it is given.
            alone = {"params": list(group["params"]), "mirror_map": group["mirror_map"]}
            rates.append(match_lr([alone], lr, like=like))
        for group, rate in zip(self, rates, strict=True):
            group["lr"] = rate
        return self

    def __str__(self) -> str:
        header = ("group", "map", "lr", "kind", "in", "tensors", "entries", "which")
        rows: list[tuple[str, ...]] = []
        for k, (group, members) in enumerate(zip(self, self._members, strict=False)):
            lr = f"{float(group['lr']):.4g}" if "lr" in group else "as given"
            head: tuple[str, ...] = (str(k), repr(group["mirror_map"]), lr)
            for line in _by_kind(members):
                rows.append((*head, *line))
                head = ("", "", "")
        rows += [("-", "not trained", "", *line) for line in _by_kind(self._frozen)]
        return aligned(header, rows, left=5)


def param_groups(
    net: nn.Module,
    mirror_map: MapLike,
    lr: _Rate,
    *,
    other: MirrorMap | str | None = None,
    other_lr: float | Tensor | None = None,
) -> ParamGroups:
    """The map for the weights of layers; normalisation, biases, embeddings and scalars the other.

    A weight is an array of a linear, convolution, attention or recurrent layer, or a matrix (or
    larger array) in a module of another type (see `roles.Role`). A mapping
    decides by name, layer, type of module (`nn.Linear`) or pattern about the weights, and about
    anything that it names itself (`"bn1.weight"`, `nn.LayerNorm`); weights that it does not cover
    get the other map. Tied weights stand in one group once. Frozen parameters are left out.

    The step acts in the dual, where `Δθ ≈ lr·d/R''(θ)`, so one rate for two maps moves one of them
    too far. Without `other_lr` the rest gets the rate at which a typical entry of each moves alike:

        other_lr = lr · mean 1/R''(σ) / mean 1/R''_other(σ),    σ = √(mean θ²) of a tensor

    over its entries other than 0, the outer means over the tensors of each.

    Args:
        net: any module.
        mirror_map: R or its text, or a mapping from names and types to maps (see `maps.assign`).
        lr: the rate of the weights; or "auto" or a `RelativeStep`, of which there is one for the
            whole net, so that the groups name no rate and the other map is weighted instead
            (`maps.Scaled`): pass the same lr to the optimizer.
        other: the map of the rest; None is `Quadratic()`, which is SGD or AdamW.
        other_lr: its rate.

    Returns:
        One group for each map; print it.

    Raises:
        ValueError: a net without weights, a rate out of range, or no rule for `other_lr` (a map
            that does not act entry by entry, or parameters that are all zero).
        TypeError: not a net, not a map, not a rate.

    Source: the rule: docs/groups.md; its measurement: docs/decisions/groups-and-rates.md.
    """
    as_net(net)
    whole = isinstance(lr, RelativeStep) or (isinstance(lr, str) and lr == "auto")
    lr = lr if whole else _as_rate(lr, "lr")
    other = Quadratic() if other is None else as_map(other, "other")
    if other_lr is not None:
        if whole:
            raise ValueError(
                f"other_lr = {shown(other_lr)} beside lr = {shown(lr)}: that step is one for the "
                "whole net; weight the other map, other=maps.Scaled(maps.Quadratic(), weight)"
            )
        other_lr = _as_rate(other_lr, "other_lr")
    every = roles(net)
    trained = [role for role in every if role.parameter.requires_grad]
    chosen = _chosen(mirror_map, trained, net)
    main: dict[MirrorMap, list[Role]] = {}
    rest: list[Role] = []
    for role in trained:
        if role.name in chosen:
            main.setdefault(chosen[role.name], []).append(role)
        else:
            rest.append(role)
    if not main:
        raise ValueError(
            f"mirror_map = {shown(mirror_map)} would get nothing: net has no trained weights of "
            "layers that it covers; pass net.parameters() to the optimizer, or name parameters in "
            "a mapping of maps"
        )
    groups = [_group(m, members, None if whole else lr) for m, members in main.items()]
    if rest:
        if whole:
            ratio = _ratio(main, other, rest)
            groups.append(_group(_weighted(other, 1 / ratio), rest, None))
        else:
            rate = lr * _ratio(main, other, rest) if other_lr is None else other_lr  # type: ignore[operator]
            groups.append(_group(other, rest, rate))
    frozen = [role for role in every if not role.parameter.requires_grad]
    return ParamGroups(groups, [*main.values(), rest] if rest else list(main.values()), frozen)


def _as_rate(lr: Any, name: str) -> Any:
    if isinstance(lr, Tensor) and lr.numel() == 1:
        as_number(float(lr.detach()), name, least=0)
        return lr
    if isinstance(lr, str):
        raise ValueError(f"{name} = {lr!r}; pass a number >= 0, or lr='auto' or a RelativeStep")
    return as_number(lr, name, least=0)


def _chosen(mirror_map: MapLike, trained: list[Role], net: nn.Module) -> dict[str, MirrorMap]:
    """The map of every parameter that gets one; the others are not in the answer."""
    if not isinstance(mirror_map, Mapping):
        weights = [role.name for role in trained if role.kind == "weight"]
        return assign(mirror_map, weights)
    # The other map is not among the keys: what no key covers has to be told from what one does.
    keyed: dict[Any, MirrorMap] = as_map(dict(mirror_map))
    named: dict[str, MirrorMap] = {}
    for role in trained:
        found = ((place, key_for(keyed, place, role)) for place in role.plain)
        place, key = next(((p, k) for p, k in found if k is not None), ("", None))
        if key is not None and (role.kind == "weight" or _means(key, place, role)):
            named[role.name] = keyed[key]
    names = [name for role in trained for name in role.plain]
    assign({"*": Quadratic(), **keyed}, names, net)  # it refuses keys that name nothing
    return named


def _means(key: Any, place: str, role: Role) -> bool:
    """True if a key names this very parameter, or its kind of normalisation or embedding."""
    if isinstance(key, str):
        return key == place
    return role.kind in ("normalisation", "embedding") and any(
        isinstance(chain[-1], key) for chain in role.modules if key is not nn.Module
    )


def _group(mirror_map: MirrorMap, members: list[Role], lr: Any) -> dict[str, Any]:
    # Plain names, so that a state that was saved before pruning fits after it.
    named = [(role.plain[0], role.parameter) for role in members]
    group: dict[str, Any] = {"params": named, "mirror_map": mirror_map}
    return group if lr is None else {**group, "lr": lr}


def _weighted(other: MirrorMap, weight: float) -> MirrorMap:
    if not isinstance(other, SeparableMap):
        raise ValueError(
            f"other = {other!r} does not act entry by entry, so that it cannot be weighted for one "
            "relative step; choose one that does, such as maps.Quadratic()"
        )
    return Scaled(other, weight)


def _ratio(main: Mapping[MirrorMap, list[Role]], other: MirrorMap, rest: list[Role]) -> float:
    """How much farther a rate moves the weights than the rest."""
    mobility = [_mobility(m, role.parameter) for m, members in main.items() for role in members]
    rest_mobility = [_mobility(other, role.parameter) for role in rest]
    ratio = sum(mobility) / len(mobility) / (sum(rest_mobility) / len(rest_mobility))
    if not 0 < ratio < math.inf:
        raise ValueError(
            f"other_lr is missing, and no rate of {other!r} moves a typical entry as far as "
            f"{list(main)} do (the ratio of the two is {ratio}); pass other_lr"
        )
    return ratio


@torch.no_grad()
def _mobility(mirror_map: MirrorMap, p: Tensor) -> float:
    """`1/R''(σ)`: how far a step of 1 moves an entry of typical size (zeros may be pruned)."""
    if mirror_map == Quadratic():
        return 1.0
    if not isinstance(mirror_map, SeparableMap):
        raise ValueError(
            f"other_lr is missing, and {mirror_map!r} does not act entry by entry, so that there "
            "is no rule for it; pass other_lr, a rate that SGD (for MirrorDescent) or AdamW "
            "(MirrorAdamW) would have"
        )
    length, count = float(torch.linalg.vector_norm(p.double())), int(torch.count_nonzero(p))
    size = torch.tensor(length / math.sqrt(max(count, 1)), dtype=torch.float64)
    curvature = float(mirror_map.hessian(size))
    return 1 / curvature if curvature > 0 else math.inf


def _by_kind(members: Sequence[Role]) -> list[tuple[str, ...]]:
    """One line for each kind and class of module: kind, class, tensors, entries, names."""
    kinds: dict[tuple[str, str], list[Role]] = {}
    for role in members:
        kinds.setdefault((role.kind, role.holder), []).append(role)
    lines: list[tuple[str, ...]] = []
    for (kind, holder), found in kinds.items():
        first, last = found[0].plain[0], found[-1].plain[0]
        names = first if len(found) == 1 else f"{first} ... {last}"
        entries = sum(role.parameter.numel() for role in found)
        lines.append((kind, holder, str(len(found)), f"{entries:,}", names))
    return lines

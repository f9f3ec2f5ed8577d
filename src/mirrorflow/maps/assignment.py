"""Which map acts on which parameter: one map for all, or a mapping from names and types to maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from mirrorflow.checks import shown
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.parse import as_map
from mirrorflow.roles import Role, covers, roles

__all__ = ["MapLike", "assign", "key_for"]

MapLike = (
    MirrorMap
    | str
    | Mapping[str, MirrorMap | str]
    | Mapping[type[nn.Module], MirrorMap | str]
    | Mapping[str | type[nn.Module], MirrorMap | str]
)
"""A map, its text, or a mapping to either from names of parameters or layers and types."""


def assign(
    mirror_map: MapLike, names: Iterable[str] | nn.Module, net: nn.Module | None = None
) -> dict[str, MirrorMap]:
    """Give each parameter name its map.

    Args:
        mirror_map: one map (or its text) for all, or a mapping whose keys are parameter names,
            layer names (`"layers.0"` covers `"layers.0.weight"`), types of module (`nn.Linear`,
            with everything inside such a module) or shell patterns (`"*"`). An exact name wins over
            a layer, a layer over a type, a type over a pattern; of two types the one of the inner
            module, then the more special one, wins; of two patterns the earlier.
        names: the parameter names, as in `net.named_parameters()`, or the net itself.
        net: the net that the names are of; only types as keys need it.

    Returns:
        A dict in the order of `names`.

    Raises:
        TypeError: not a map, or a mapping with values that are no maps; types without a net.
        ValueError: a name that no key covers, or a key that covers no name.
    """
    if isinstance(names, nn.Module):
        net, names = names, [name for name, _ in names.named_parameters()]
    if isinstance(names, (str, Tensor)) or not isinstance(names, Iterable):
        raise TypeError(f"names = {shown(names)} is a {type(names).__name__}; pass a list of str")
    names = list(names)
    if any(not isinstance(name, str) for name in names):
        raise TypeError(f"names = {shown(names)} holds what is not a str; pass parameter names")
    if isinstance(mirror_map, MirrorMap | str):
        return dict.fromkeys(names, as_map(mirror_map))
    if not isinstance(mirror_map, Mapping):
        raise TypeError(
            f"mirror_map is a {type(mirror_map).__name__}; pass a MirrorMap such as "
            "maps.Quadratic(), or a mapping from parameter names to maps"
        )
    for key in mirror_map:
        _check_key(key, net)
    by_key: dict[Any, MirrorMap] = as_map(dict(mirror_map))
    every = () if net is None else roles(net)
    known = {place: role for role in every for place in (*role.places, *role.plain)}
    result = {}
    for name in names:
        key = key_for(by_key, name, known.get(name))
        if key is None:
            raise ValueError(
                f"mirror_map names no map for the parameter {name!r} (it has "
                f"{[shown(k) for k in by_key]}, the net has {names}); add it, or a default under "
                'the key "*"'
            )
        result[name] = by_key[key]
    for key in by_key:
        if not any(_covers(key, name, known.get(name)) for name in names):
            raise ValueError(f"mirror_map[{shown(key)}] covers no parameter; there are {names}")
    return result


def key_for(keys: Iterable[Any], name: str, role: Role | None = None) -> Any:
    """The key that decides about a parameter, or None; see `assign` for the order.

    Args:
        keys: names, layers, types of module, patterns.
        name: of the parameter.
        role: of the parameter, for types.
    """
    keys = list(keys)
    texts = [key for key in keys if isinstance(key, str)]
    if name in texts:
        return name
    layers = [key for key in texts if name.startswith(key + ".")]
    if layers:
        return max(layers, key=len)
    depths = {key: covers(key, role) for key in keys if role is not None and covers(key, role)}
    if depths:
        inner = [key for key, depth in depths.items() if depth == max(depths.values())]
        return max(inner, key=lambda key: len(key.__mro__))
    return next((key for key in texts if fnmatchcase(name, key)), None)


def _check_key(key: object, net: nn.Module | None) -> None:
    if isinstance(key, type) and issubclass(key, nn.Module):
        if net is None:
            raise TypeError(
                f"mirror_map has the type {key.__name__} as a key, which takes the net to resolve; "
                "pass optim.param_groups(net, mirror_map, lr) or maps.assign(mirror_map, net)"
            )
    elif not isinstance(key, str):
        raise TypeError(
            f"mirror_map has the key {shown(key)}, a {type(key).__name__}; its keys are names or "
            "types of module"
        )


def _covers(key: Any, name: str, role: Role | None) -> bool:
    if isinstance(key, type):
        return role is not None and covers(key, role) > 0
    return bool(key == name or name.startswith(key + ".") or fnmatchcase(name, key))

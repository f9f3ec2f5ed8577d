"""Which map acts on which parameter: one map for all, or a mapping from names to maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from mirrorflow.checks import shown
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.parse import as_map

__all__ = ["MapLike", "assign"]

MapLike = MirrorMap | str | Mapping[str, MirrorMap | str]
"""A map, its text, or a mapping from names of parameters or layers to either."""


def assign(mirror_map: MapLike, names: Iterable[str]) -> dict[str, MirrorMap]:
    """Give each parameter name its map.

    Args:
        mirror_map: one map (or its text) for all, or a mapping whose keys are parameter names,
            layer names (`"layers.0"` covers `"layers.0.weight"`) or shell patterns (`"*"`). An
            exact name wins over a layer, a layer over a pattern, an earlier pattern over a later.
        names: the parameter names, as in `net.named_parameters()`.

    Returns:
        A dict in the order of `names`.

    Raises:
        TypeError: not a map, or a mapping with values that are no maps.
        ValueError: a name that no key covers, or a key that covers no name.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
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
        if not isinstance(key, str):
            raise TypeError(
                f"mirror_map has the key {shown(key)}, a {type(key).__name__}; its keys are names"
            )
    by_name = as_map(dict(mirror_map))
    result = {name: _lookup(by_name, name, names) for name in names}
    for key in mirror_map:
        if not any(_covers(key, name) for name in names):
            raise ValueError(f"mirror_map[{key!r}] covers no parameter; there are {names}")
    return result


def _covers(key: str, name: str) -> bool:
    return key == name or name.startswith(key + ".") or fnmatchcase(name, key)


def _lookup(mapping: Mapping[str, MirrorMap], name: str, names: list[str]) -> MirrorMap:
    if name in mapping:
        return mapping[name]
    layers = [key for key in mapping if name.startswith(key + ".")]
    if layers:
        return mapping[max(layers, key=len)]
    for key, value in mapping.items():
        if fnmatchcase(name, key):
            return value
    raise ValueError(
        f"mirror_map names no map for the parameter {name!r} (it has {sorted(mapping)}, the net "
        f'has {names}); add it, or a default under the key "*"'
    )

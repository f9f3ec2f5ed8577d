"""The table of all maps: what each is, in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mirrorflow.checks import shown
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.parse import KINDS, parse_map
from mirrorflow.maps.schatten import SchattenHorizon

__all__ = ["Entry", "catalog", "describe"]


@dataclass(frozen=True)
class Entry(Facts):
    """One row of the table: the facts of a kind of map, or those of one map.

    Attributes:
        example: a map of the kind, or that map.
    """

    example: MirrorMap


def describe(mirror_map: MirrorMap) -> Entry:
    """The row of one map: that of its kind, with its own index and horizon.

    Raises:
        ValueError: the map is of no kind in the catalog, such as a `Custom` one.
    """
    if type(mirror_map) not in KINDS:
        raise ValueError(f"mirror_map = {shown(mirror_map)} is of no kind in the catalog")
    try:
        index = f"{mirror_map.index:g}".replace("inf", "∞")
    except NoHorizonError:
        index = "none"
    facts = replace(
        type(mirror_map).facts,
        text=repr(mirror_map),
        index=index,
        horizon=_horizon(mirror_map),
    )
    return _entry(facts, mirror_map)


def _entry(facts: Facts, example: MirrorMap) -> Entry:
    return Entry(**vars(facts), example=example)


def _horizon(mirror_map: MirrorMap) -> str:
    try:
        found = mirror_map.horizon()
    except NoHorizonError:
        return "none on R^d"
    kind = "Schatten-" if isinstance(found, SchattenHorizon) else "ℓ"
    return f"{kind}{found.order:g}".replace("inf", "∞")


def catalog() -> tuple[Entry, ...]:
    """All maps that can be written as text, in the order of the theory."""
    return tuple(_entry(kind.facts, parse_map(kind.facts.sample)) for kind in KINDS)

"""What a sweep runs: from one TOML file to the list of its members."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_path, shown
from mirrorflow.runs.config import RunConfig, read_toml, unknown_keys
from mirrorflow.runs.names import as_name, slug

__all__ = ["Member", "key", "plan", "read_plan"]

_TABLES = {"base", "grid", "members"}


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        name: of its folder; follows from its settings alone.
        label: what the sweep file calls it, or "".
        settings: the fields of its `RunConfig` that the sweep file sets; they may be wrong, which
            is found when the member runs.
    """

    name: str
    label: str
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if self.name != "":  # settings alone have a key
            as_name(self.name, "name")
        if not isinstance(self.label, str):
            raise TypeError(f"label = {shown(self.label)} is no text")
        if not isinstance(self.settings, dict):
            raise TypeError(
                f"settings = {shown(self.settings)} is a {type(self.settings).__name__}; pass a "
                "dictionary of fields of RunConfig"
            )

    @property
    def key(self) -> str:
        """Equal for two members with equal settings, in this sweep or in another."""
        return key(self.settings)


def key(settings: dict[str, Any]) -> str:
    """Ten hexadecimal digits of the settings that differ from their defaults."""
    defaults = {f.name: _default(f) for f in dataclasses.fields(RunConfig)}
    told = {k: v for k, v in settings.items() if k not in defaults or v != defaults[k]}
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _default(field: dataclasses.Field[Any]) -> Any:
    value = field.default_factory() if callable(field.default_factory) else field.default
    return list(value) if isinstance(value, tuple) else value


def read_plan(path: Path) -> list[Member]:
    """The members that a sweep file describes; see `plan`.

    Raises:
        RunError: the file cannot be read or is no TOML.
        ValueError: a table or a value that a sweep file does not take.
    """
    return plan(
        read_toml(as_path(path, "path"), "sweep", "a TOML file, such as one of examples/results")
    )


def plan(tables: dict[str, Any]) -> list[Member]:
    """The members of a sweep: every entry of `members` (one empty entry if there are none) laid
    over `base`, times every combination of the lists in `grid`.

    Args:
        tables: `base`, fields of `RunConfig`; `grid`, lists of values by field, the field of a
            table by a dotted name (`net_options.hidden`); `members`, a list of tables of fields,
            each of which may have a `label`, and a `grid` of its own beside the common one.

    Returns:
        The members, without repetition, in the order of the file; the last field of the grid
        varies fastest.

    Raises:
        ValueError: an unknown table, a grid value that is no list, or no member at all.
    """
    if not isinstance(tables, dict):
        raise TypeError(
            f"tables = {shown(tables)} is a {type(tables).__name__}; pass a dictionary with the "
            "tables base, grid and members"
        )
    wrong = unknown_keys(tables, sorted(_TABLES))
    if wrong:
        raise ValueError(
            f"tables: the sweep has {wrong.replace('no key', 'no table', 1)}: [base] is one run, "
            "[grid] lists to vary, [[members]] runs in their own words"
        )
    base = tables.get("base", {})
    if not isinstance(base, dict):
        raise ValueError(f"base = {shown(base)} is no table; write [base] and its fields below")
    listed = tables.get("members", [{}])
    if not isinstance(listed, list) or not all(isinstance(m, dict) for m in listed):
        raise ValueError("members is no list of tables; write [[members]] before each")
    common = _grid(tables.get("grid", {}), "grid")
    found: dict[str, Member] = {}
    for entry in listed:
        label = str(entry.get("label", ""))
        own = {k: v for k, v in entry.items() if k not in ("label", "grid")}
        lists = {**common, **_grid(entry.get("grid", {}), "members.grid")}
        start = merge(base, own)
        for values in itertools.product(*lists.values()):
            settings = start
            for name, value in zip(lists, values, strict=True):
                settings = merge(settings, _nested(name, value))
            member = Member(_name(label, settings), label, settings)
            found.setdefault(member.name, member)
    if not found:
        raise ValueError("the sweep has no member: a list in its grid is empty")
    return list(found.values())


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `over`; the options (`net_options`, …) are merged key by key."""
    out = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = {**out[name], **value} if both and name.endswith("_options") else value
    return out


def _grid(table: Any, name: str) -> dict[str, list[Any]]:
    """Lists by dotted name; a nested table is another way to write the dots."""
    if not isinstance(table, dict):
        raise ValueError(f"{name} = {shown(table)} is no table of lists")
    out: dict[str, list[Any]] = {}
    for field, values in table.items():
        if isinstance(values, dict):
            out |= {f"{field}.{k}": v for k, v in _grid(values, f"{name}.{field}").items()}
        elif isinstance(values, list):
            out[field] = values
        else:
            raise ValueError(f"{name}.{field} = {shown(values)}; pass a list of values to vary")
    return out


def _nested(name: str, value: Any) -> dict[str, Any]:
    field, dot, inner = name.partition(".")
    return {field: {inner: value}} if dot else {field: value}


def _name(label: str, settings: dict[str, Any]) -> str:
    mirror_map = settings.get("mirror_map", RunConfig.mirror_map)
    shown = label or (slug(mirror_map) if isinstance(mirror_map, str) else "maps")
    shown = re.sub(r"[^\w.+-]+", "-", shown).strip("-.")[:60]
    return f"{shown}-s{settings.get('seed', 0)}-{key(settings)}"

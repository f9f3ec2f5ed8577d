"""Options of the form name=value, as several commands take them."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

__all__ = ["data_options", "layer_maps", "set_field", "widths"]


def data_options(texts: list[str]) -> dict[str, Any]:
    """`["n=100", "name=text"]` as arguments of a data source: JSON values, else text.

    Raises:
        ValueError: a text without "=".
    """
    out: dict[str, Any] = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found:
            raise ValueError(f"--data-option {text!r} is no name=value, such as n=100")
        try:
            out[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            out[name.strip()] = value
    return out


def set_field(values: dict[str, Any], text: str) -> None:
    """Put `field=value` or `field.key=value` into a configuration; a value that is no TOML is text.

    Raises:
        ValueError: a text of another form, or a field that is no table.
    """
    key, sign, value = text.partition("=")
    field, dot, inner = (part.strip() for part in key.partition("."))
    if not sign or not field or (dot and not inner):
        raise ValueError(f"--set {text!r} is not of the form field=value or field.key=value")
    try:
        tables = tomllib.loads(f"value = {value}")
        parsed = tables["value"] if set(tables) == {"value"} else value.strip()
    except (ValueError, RecursionError):
        parsed = value.strip()
    if dot:
        table = values.get(field, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {text!r}: {field} is no table")
        values[field] = {**table, inner: parsed}
    else:
        values[field] = parsed


def layer_maps(texts: list[str]) -> str | dict[str, str]:
    """One map for all, or `["weights.0=quadratic", "power(3)"]` as maps by layer, `*` the others.

    Raises:
        ValueError: a layer, or all others, named twice.
    """
    # "power(p=3)" has a sign too, but behind a bracket.
    named = [re.fullmatch(r"\s*([^=()]+?)\s*=(.*)", text, re.DOTALL) for text in texts]
    if len(texts) == 1 and named[0] is None:
        return texts[0]
    maps: dict[str, str] = {}
    for text, found in zip(texts, named, strict=True):
        layer, chosen = (found[1], found[2].strip()) if found else ("*", text)
        if layer in maps:
            raise ValueError(
                f"--map gives {layer!r} two maps, {maps[layer]!r} and {chosen!r}; name each layer "
                "once, as in --map weights.0=quadratic --map power(3)"
            )
        maps[layer] = chosen
    return maps


def widths(texts: list[str]) -> list[int]:
    """`["8,8"]`, or `["8", "8"]`, as the widths of the hidden layers.

    Raises:
        ValueError: what is no int >= 1.
    """
    try:
        numbers = [int(part) for text in texts for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers, default=1) < 1:
        given = ",".join(texts)
        raise ValueError(f"--hidden {given!r} is no list of widths >= 1, such as 8,8")
    return numbers

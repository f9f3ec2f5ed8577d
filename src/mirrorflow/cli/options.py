"""Options of the form name=value, as several commands take them."""

from __future__ import annotations

import json
import tomllib
from typing import Any

__all__ = ["data_options", "set_field"]


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
    field, dot, inner = key.strip().partition(".")
    if not sign or not field or (dot and not inner):
        raise ValueError(f"--set {text!r} is not of the form field=value or field.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if dot:
        table = values.get(field, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {text!r}: {field} is no table")
        values[field] = {**table, inner: parsed}
    else:
        values[field] = parsed

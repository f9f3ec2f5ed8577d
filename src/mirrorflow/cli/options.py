"""Options of the form name=value, as several commands take them."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["data_options"]


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

"""Names of files in a folder."""

from __future__ import annotations

from typing import Any

from mirrorflow.checks import shown

__all__ = ["as_name", "slug"]


def as_name(value: Any, name: str) -> str:
    """Text that can name a file in a folder, and nothing outside of it.

    Raises:
        TypeError: not text.
        ValueError: empty, too long, or with a separator of paths.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass text")
    if (
        not value
        or len(value.encode(errors="replace")) > 200
        or set("/\\\0") & set(value)
        or value[0] == "."
    ):
        raise ValueError(
            f"{name} = {shown(value)} cannot name a file; pass up to 200 letters, digits, - or _"
        )
    return value


def slug(mirror_map: str) -> str:
    """`power(p=1.5)` as a part of a file name: "power-p1.5"."""
    text = mirror_map.replace("(", "-").replace(")", "")
    return text.replace("=", "").replace(", ", "-").replace(",", "-")

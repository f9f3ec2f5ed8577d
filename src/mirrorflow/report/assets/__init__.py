"""Templates, style and scripts of the pages, put into one file by jinja2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["templates"]

_FOLDER = Path(__file__).parent


def templates() -> Environment:
    """The templates of this folder, with the filters `asset` and `json`.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError(
            f'the page needs {error.name}; pip install "mirrorflow[report]"'
        ) from error
    made = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    made.filters |= {"asset": _asset, "json": _json}
    return made


def _asset(name: str) -> Any:
    from markupsafe import Markup

    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _json(value: Any) -> Any:
    """For a script element, which ends at the first `</`."""
    from markupsafe import Markup

    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))

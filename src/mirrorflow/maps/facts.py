"""What a kind of map says of itself, in one line; the parser, the table and the tests read it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Facts"]


@dataclass(frozen=True)
class Facts:
    """The row of a kind of map in the table of all maps.

    Attributes:
        text: how it is written as text, with the symbols of its parameters: `"power(p)"`.
        sample: such a text with numbers: `"power(3)"`.
        dual: its dual map `u = ∇R(x)`.
        inverse: `x = ∇R*(u)`.
        index: the index of variation, in the symbols of `text`.
        horizon: the horizon, in the symbols of `text`.
        purpose: what it is for.
    """

    text: str
    sample: str
    dual: str
    inverse: str
    index: str
    horizon: str
    purpose: str

    @property
    def name(self) -> str:
        """The name alone: `"power"`."""
        return self.text.partition("(")[0]

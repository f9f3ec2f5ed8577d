"""Numbers as a page writes them."""

from __future__ import annotations

import math

__all__ = ["number"]

_UP = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Two digits; small and large ones as 8·10⁻⁸."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    digits, _, power = f"{value:.0e}".partition("e")
    return f"{digits}·10{str(int(power)).translate(_UP)}"

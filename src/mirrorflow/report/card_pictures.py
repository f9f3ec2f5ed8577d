"""The small pictures of the cards, as inline SVG in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mirrorflow.arrays import Array

__all__ = ["bars", "curves", "planes", "table"]

_WIDE, _HIGH = 320, 150
_LOOKS = ("var(--accent)", "var(--plus)")


def curves(
    lines: Sequence[tuple[str, Array, Array]],
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    marks: Sequence[tuple[float, str]],
    what: str = "",
    rule: tuple[float, str] | None = None,
    names_at: Literal["top", "bottom"] = "bottom",
) -> str:
    """Two curves, named in the picture; the second is dashed.

    Args:
        lines: name, x and y of each.
        x: what the width spans.
        y: what the height spans, bottom first.
        marks: positions along x and their texts.
        what: the quantity that the height is, written at the top left.
        rule: a height with a line and a text.
        names_at: where the curves leave room for their names.
    """
    left, right, top, bottom = 8, _WIDE - 8, 10, _HIGH - 22

    def at(u: float, v: float) -> tuple[float, float]:
        across = left + (right - left) * (u - x[0]) / (x[1] - x[0])
        return across, bottom - (bottom - top) * (v - y[0]) / (y[1] - y[0])

    parts = [_line((left, bottom), (right, bottom), "stroke-soft")]
    for place, text in marks:
        across = at(place, y[0])[0]
        parts.append(_line((across, bottom), (across, bottom + 4), "stroke-soft"))
        end = "start" if across < 30 else "end" if across > _WIDE - 30 else "middle"
        parts.append(_text(across, _HIGH - 5, text, end))
    if what:
        parts.append(_text(left, top + 10, what, "start"))
    if rule is not None:
        height = at(x[0], rule[0])[1]
        parts.append(_line((left, height), (right, height), "stroke-soft", 'stroke-width="1"'))
        parts.append(_text(left, height - 4, rule[1], "start"))
    for k, (name, us, vs) in enumerate(lines):
        inside = np.isfinite(us) & np.isfinite(vs) & (us >= x[0]) & (us <= x[1])
        points = [at(float(u), min(max(float(v), y[0]), y[1])) for u, v in zip(us, vs, strict=True)]
        kept = [point for point, seen in zip(points, inside, strict=True) if seen]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in kept)
        dash = ' stroke-dasharray="6 5"' if k else ""
        parts.append(
            f'<path d="{path}" fill="none" stroke="{_LOOKS[k]}" stroke-width="2.4"{dash}/>'
        )
        first = top + 10 if names_at == "top" else bottom - 10 - 15 * (len(lines) - 1)
        row = first + 15 * k
        key = 'stroke-width="2.4"' + dash
        parts.append(
            f'<path d="M{right - 24} {row - 4}H{right}" stroke="{_LOOKS[k]}" {key}/>'
            + _text(right - 30, row, name, "end")
        )
    return _svg(parts)


def bars(rows: Sequence[tuple[str, float]], unit: str) -> str:
    """A bar for each name, its value beside it, the longest as wide as there is room."""
    top = max((value for _, value in rows), default=0.0) or 1.0
    step = (_HIGH - 8) / max(len(rows), 1)
    parts = []
    for k, (name, value) in enumerate(rows):
        height = 4 + step * k
        length = 96 * max(value, 0.0) / top
        parts.append(_text(154, height + step / 2 + 4, name, "end"))
        parts.append(
            f'<rect x="160" y="{height + 2:.1f}" width="{max(length, 1):.1f}" '
            f'height="{step - 5:.1f}" fill="var(--accent)"/>'
        )
        parts.append(_text(166 + length, height + step / 2 + 4, f"{value:.3g}{unit}", "start"))
    return _svg(parts)


def table(values: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """A table of squares, darkest at the largest of each column; rows and columns share names."""
    side, left, top = 27, 120, 26
    parts = [_text(left + 2 * side, 10, "margin in", "middle")]
    best = [max((row[k] for row in values if not math.isnan(row[k])), default=1.0)
            for k in range(len(names))]  # fmt: skip
    for r, name in enumerate(names):
        parts.append(_text(left - 8, top + side * r + 17, f"trained {name}", "end"))
        parts.append(_text(left + side * (r + 0.5), 22, name, "middle"))
        for k, value in enumerate(values[r]):
            share = 0.0 if math.isnan(value) else max(value / best[k], 0.0) ** 4
            depth = f"{0.08 + 0.9 * share:.2f}"
            parts.append(
                f'<rect x="{left + side * k + 1}" y="{top + side * r + 1}" width="{side - 2}" '
                f'height="{side - 2}" fill="var(--accent)" fill-opacity="{depth}"/>'
            )
    return _svg(parts)


def planes(pictures: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Two nets in the plane side by side: points, boundary, and the lines where neurons switch.

    Args:
        pictures: a name, and the summary of the record of a two-layer net.
    """
    side = 112
    parts = []
    for k, (text, net) in enumerate(pictures):
        left = 24 + k * (side + 48)
        inner = _net(net, side)
        parts.append(
            f'<svg x="{left}" y="2" width="{side}" height="{side}" viewBox="0 0 {side} {side}">'
            f'<rect width="{side}" height="{side}" fill="none" class="stroke-line" '
            f'stroke-width="2"/>{"".join(inner)}</svg>'
        )
        parts.append(_text(left + side / 2, side + 17, text, "middle"))
        used = f"{net['neurons']:.1f} neurons"
        parts.append(_text(left + side / 2, side + 31, used, "middle"))
    return _svg(parts)


def _net(net: dict[str, Any], side: int) -> list[str]:
    import contourpy  # comes with matplotlib

    reach = float(net["reach"])

    def at(u: float, v: float) -> tuple[float, float]:
        return side / 2 * (1 + u / reach), side / 2 * (1 - v / reach)

    hidden, output = np.array(net["hidden"]), np.array(net["output"])
    strength = np.linalg.norm(hidden, axis=1) * np.abs(output)
    parts = []
    for w, a, s in zip(hidden, output, strength / strength.max(), strict=True):
        length = math.hypot(w[0], w[1])
        if s < 1e-3 or length == 0:
            continue
        foot, along = -w[2] * w[:2] / length**2, np.array([-w[1], w[0]]) * 4 * reach / length
        look = f'stroke-width="{0.5 + 2.5 * s:.2f}" stroke-opacity="{0.25 + 0.65 * s:.2f}"'
        ink = "var(--plus)" if a > 0 else "var(--minus)"
        ends = (at(*(foot - along)), at(*(foot + along)))
        parts.append(_line(*ends, "", f'stroke="{ink}" {look}'))
    field = np.array(net["field"])
    line = np.linspace(-reach, reach, len(field))
    for curve in contourpy.contour_generator(line, line, field).lines(0.0):
        path = "M" + "L".join("{:.1f} {:.1f}".format(*at(u, v)) for u, v in np.asarray(curve))
        parts.append(f'<path d="{path}" fill="none" stroke="var(--ink)" stroke-width="1.6"/>')
    for point, label in zip(net["x"], net["y"], strict=True):
        across, down = at(*point)
        ink = "var(--plus)" if label > 0 else "var(--minus)"
        parts.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="{ink}" stroke="var(--raised)"/>'
        )
    return parts


def _svg(parts: list[str]) -> str:
    """Its finding stands in the card's text, so that readers of the screen need no other."""
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" aria-hidden="true">{"".join(parts)}</svg>'


def _line(a: tuple[float, float], b: tuple[float, float], kind: str, look: str = "") -> str:
    ends = f'x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"'
    return f'<line {ends} class="{kind}" {look}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'

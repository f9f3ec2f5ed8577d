"""Words of the page that a reader may not know, and their marks in its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["GLOSSARY", "marker"]

GLOSSARY = {
    "mirror map": (
        "The potential R that gives training its geometry. Mirror flow moves ∇R(θ) down the "
        "gradient of the loss; with R = ½‖θ‖² it is gradient flow."
    ),
    "horizon": (
        "The norm Q that the level sets of R look like from far away. Training ends up maximising "
        "the margin in this norm."
    ),
    "max margin": "The largest Q-margin that the net can have on these points.",
    "margin": (
        "How clearly the worst point is classified: the smallest y f(x), divided by Q(θ) to the "
        "degree of the net."
    ),
    "KKT point": (
        "Weights at which no small change makes the margin larger, to first order: where a flow "
        "can end."
    ),
    "multiplier": (
        "The weight of a point in the condition of a KKT point. Points without one do not matter "
        "for the limit."
    ),
    "gap": (
        "A number that is 0 exactly where the flow can end: how far the gradient is from a "
        "subgradient of Q."
    ),
    "participation ratio": (
        "How many weights carry the net: (Σ|w|)²/(N Σw²), 1 if all are equal, near 0 if few count."
    ),
    "conic solver": ("An independent program that computes the exact max margin of a linear net."),
    "log log t": (
        "The time axis of this page: log₁₀ log₁₀ t = 1 is t = 10^10, 2 is 10^100, 3 is 10^1000."
    ),
    "noise": "The runs do not agree well enough to say yes or no.",
    "certificate": (
        "The residuals of the conditions of a KKT point at the end of a run: ε (stationarity) and "
        "δ (complementarity)."
    ),
}

_FORMS = {f"{word}s": word for word in GLOSSARY} | {word: word for word in GLOSSARY}
_PATTERN = re.compile(
    r"(?<![-\w])(" + "|".join(sorted(map(re.escape, _FORMS), key=len, reverse=True)) + r")\b"
)


def marker() -> Callable[[Any], Any]:
    """A filter that escapes a text and marks each word of the glossary where it first stands.

    One marker serves one page; a mark shows its definition on hover and on focus.
    """
    from markupsafe import Markup, escape

    seen: set[str] = set()

    def mark(text: Any) -> Any:
        def one(match: re.Match[str]) -> str:
            word = _FORMS[match[1]]
            if word in seen:
                return match[1]
            seen.add(word)
            tip = f"about-{word.replace(' ', '-')}"
            return (
                f'<span class="term" tabindex="0" aria-describedby="{tip}">{match[1]}'
                f'<span role="tooltip" id="{tip}">{escape(GLOSSARY[word])}</span></span>'
            )

        return Markup(_PATTERN.sub(one, str(escape(text))))

    return mark

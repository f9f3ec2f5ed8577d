"""The answer to a question of the paper."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Finding", "Verdict", "map_label", "plain"]

Verdict = Literal["yes", "no", "noise", "not yet reached"]
"""`noise`: the seeds disagree, and the interval over them includes 0."""


@dataclass(frozen=True)
class Finding:
    """A question, what the theory predicts, what was measured, and whether they agree.

    Contract: `claim` is 1, 2 or 3 as in the paper, 0 for a result of others that is repeated;
    `verdict` follows from the numbers by a rule that the experiment fixed before it ran, stated in
    `rule`. `subject` is what was asked in a few words, `reason` a sentence that says why the
    verdict is not "yes" (empty if it is).
    """

    claim: int
    question: str
    prediction: str
    measured: str
    rule: str
    verdict: Verdict
    subject: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def map_label(mirror_map: str) -> str:
    """`power(p=1.5)` as a legend says it: "power 1.5"."""
    name, _, rest = mirror_map.partition("(")
    values = dict(part.strip().split("=") for part in rest.rstrip(")").split(",") if part)
    shown = {"p": "{}", "beta": "β={}"}
    words = [shown[key].format(value) for key, value in values.items() if key in shown]
    return " ".join([name.replace("_", " "), *words])


def plain(value: float, digits: int = 3) -> str:
    """A number as a person reads it; −0 and tiny values without noise."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}g}"

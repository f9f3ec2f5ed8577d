"""Finding 2: how slow is the approach to the limit?"""

from __future__ import annotations

__all__ = ["MAPS", "TIMES", "findings", "one_point_flow", "tasks"]

MAPS = (
    "hyperbolic_entropy(beta=1)",
    "hyperbolic_entropy(beta=0.01)",
    "logarithmic(beta=1)",
    "power(p=1.5)",
    "quadratic",
    "mixed(p=3, a=1, b=1)",
    "power(p=3)",
    "cosh(scale=1)",
    "double_exponential",
)
TIMES = (1e10, 1e100, 1e1000) if False else (10, 100, 1000)
"""log10 t at which the angle is compared with the closed form."""

_KNOWN = {
    "hyperbolic_entropy(beta=1)": (79.034, 86.235, 88.803),
    "hyperbolic_entropy(beta=0.01)": (88.892, 89.627, 89.881),
    "cosh(scale=1)": (48.161, 45.342, 45.034),
}
"""Degrees from the first axis at `TIMES`: closed form of `u(t) = s(t) x`, theory §6."""

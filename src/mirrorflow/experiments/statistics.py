"""What a few seeds can say: intervals, and a test for a predicted order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

__all__ = ["interval", "trend", "welch"]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half width of Student's interval, `x̄ ± t_{(1+level)/2, n−1} s/√n`.

    Args:
        values: one a seed; a single one has an infinite half width.
        level: of confidence.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("values is empty; pass at least one")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return mean, math.inf
    spread = float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, float(stats.t.ppf((1 + level) / 2, n - 1)) * spread


def welch(
    a: Sequence[float], b: Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """`mean(a) − mean(b)` and the ends of Welch's interval for it.

    Args:
        a: at least two values.
        b: at least two values.
        level: of confidence.

    Raises:
        ValueError: fewer than two values.

    Source: Welch, Biometrika 34, 1947.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a has {len(a)} values and b {len(b)}; pass at least two of each")
    gap = float(np.mean(a) - np.mean(b))
    parts = [float(np.var(v, ddof=1)) / len(v) for v in (a, b)]
    total = sum(parts)
    if total == 0:
        return gap, gap, gap
    degrees = total**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    half = float(stats.t.ppf((1 + level) / 2, degrees)) * math.sqrt(total)
    return gap, gap - half, gap + half


def trend(blocks: Sequence[Sequence[float]], *, rising: bool) -> float:
    """p of Page's test: equal treatments against the predicted order, seeds as blocks.

    Args:
        blocks: a row for each seed, with a value for each map in the predicted order.
        rising: whether values are predicted to rise along a row, or to fall.

    Returns:
        The one-sided p, exact over all orders within the rows.

    Raises:
        ValueError: fewer than two seeds or three maps, or rows of unequal length.

    Source: Page, J. Am. Stat. Assoc. 58, 1963.
    """
    lengths = {len(row) for row in blocks}
    if len(blocks) < 2 or len(lengths) != 1 or min(lengths) < 3:
        raise ValueError(
            f"{len(blocks)} rows of lengths {sorted(lengths)}; pass two or more rows (seeds) of "
            "equal length, three or more (maps)"
        )
    table = np.asarray(blocks, dtype=np.float64)
    if not rising:
        table = -table
    return float(stats.page_trend_test(table, method="exact").pvalue)

"""What a few seeds can say: intervals, and a test for a predicted order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

from mirrorflow.arrays import Array
from mirrorflow.checks import as_flag, as_number, shown

__all__ = ["holm", "interval", "ordered", "trend", "welch", "welch_p"]


_MOST_MAPS = 14  # of the exact null of Page's test: its work grows like 2^k


def _values(values: Sequence[float], name: str, least: int) -> Array:
    """One dimension of finite numbers, `least` or more of them."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} = {shown(values)}; pass a sequence of numbers") from error
    if found.ndim != 1:
        raise ValueError(f"{name} has shape {found.shape}; pass one dimension, a value a seed")
    if len(found) < least:
        few = "is empty; pass at least one" if not len(found) else f"has {len(found)} values"
        raise ValueError(f"{name} {few}" + ("; pass at least two" if least > 1 else ""))
    if not np.isfinite(found).all():
        raise ValueError(f"{name} = {shown(values)} holds NaN or infinity; leave those runs out")
    return found


def _level(level: float) -> float:
    return as_number(level, "level", above=0, below=1)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half width of Student's interval, `x̄ ± t_{(1+level)/2, n−1} s/√n`.

    Args:
        values: one a seed, finite; a single one has an infinite half width.
        level: of confidence, in (0, 1).

    Raises:
        TypeError: not numbers.
        ValueError: no values, or one that is not finite; a level out of range.
    """
    found, level = _values(values, "values", 1), _level(level)
    n, mean = len(found), float(np.mean(found))
    if n == 1:
        return mean, math.inf
    error = float(stats.sem(found))
    return mean, float(stats.t.ppf((1 + level) / 2, n - 1)) * error


def welch(
    a: Sequence[float], b: Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """`mean(a) − mean(b)` and the ends of Welch's interval for it.

    Args:
        a: at least two values.
        b: at least two values.
        level: of confidence, in (0, 1).

    Raises:
        TypeError: not numbers.
        ValueError: fewer than two values, or one that is not finite; a level out of range.

    Source: Welch, Biometrika 34, 1947.
    """
    level = _level(level)
    found, gap = _welch(a, b)
    if found is None:
        return gap, gap, gap
    low, high = found.confidence_interval(level)
    return gap, float(low), float(high)


def welch_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of Welch's test of equal means; the interval at `1 − p` just touches 0.

    Args:
        a: at least two values.
        b: at least two values.

    Raises:
        TypeError: not numbers.
        ValueError: fewer than two values, or one that is not finite.
    """
    found, gap = _welch(a, b)
    if found is None:
        return 1.0 if gap == 0 else 0.0
    return float(found.pvalue)


def _welch(a: Sequence[float], b: Sequence[float]) -> tuple[Any, float]:
    """SciPy's result, None where no value differs from its mean; the difference of means."""
    one, other = _values(a, "a", 2), _values(b, "b", 2)
    gap = float(np.mean(one) - np.mean(other))
    if float(np.ptp(one)) == float(np.ptp(other)) == 0.0:
        return None, gap
    with warnings.catch_warnings():
        # Seeds that agree to the last digits are no fault: of an accuracy there are few values.
        warnings.simplefilter("ignore", RuntimeWarning)
        return stats.ttest_ind(one, other, equal_var=False), gap


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p: with all below a level, the chance of any false "yes" is below it too.

    The k-th smallest of m is multiplied by `m − k + 1`, and none is below a smaller one's.

    Args:
        p: of m tests, each in [0, 1], in any order.

    Returns:
        The adjusted ones, in the order of `p`.

    Raises:
        TypeError: not numbers.
        ValueError: a value outside [0, 1].

    Source: Holm, Scand. J. Stat. 6, 1979.
    """
    found = _values(p, "p", 0)
    if ((found < 0) | (found > 1)).any():
        raise ValueError(f"p = {shown(p)}; choose every p in [0, 1]")
    order = np.argsort(found, kind="stable")
    steps = found[order] * (len(found) - np.arange(len(found)))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(found) else steps
    return [float(value) for value in adjusted]


def ordered(blocks: Sequence[Sequence[float]], *, rising: bool) -> bool:
    """Whether every row is strictly in the predicted order.

    With five maps and three seeds that has p = 5.8e-7 in Page's test, the smallest that there can
    be: a number that says no more than this sentence.

    Args:
        blocks: see `trend`.
        rising: see `trend`.

    Raises:
        TypeError, ValueError: see `trend`.
    """
    steps = np.diff(_table(blocks, rising), axis=1)
    return bool((steps > 0).all())


def trend(blocks: Sequence[Sequence[float]], *, rising: bool) -> float:
    """p of Page's test: equal treatments against the predicted order, seeds as blocks.

    The statistic is `L = Σ_j j Σ_i R_ij` with mid-ranks R within the rows. Its null is that of
    all orders of each row's own mid-ranks, counted exactly: ties are no approximation.

    Args:
        blocks: a row for each seed, with a value for each map in the predicted order.
        rising: whether values are predicted to rise along a row, or to fall.

    Returns:
        The one-sided p, exact over all orders within the rows.

    Raises:
        TypeError: not numbers, or `rising` is no boolean.
        ValueError: fewer than two seeds or three maps, more than 14 maps, rows of unequal length,
            or values that are not finite.

    Source: Page, J. Am. Stat. Assoc. 58, 1963.
    """
    # Mid-ranks are multiples of a half: doubled, all sums are integers.
    ranks = np.rint(2 * stats.rankdata(_table(blocks, rising), axis=1)).astype(np.int64)
    score = int((ranks @ np.arange(1, ranks.shape[1] + 1)).sum())
    null = np.ones(1)
    for row in ranks:
        null = np.convolve(null, _row_null(tuple(sorted(row.tolist()))))
    return float(min(null[score:].sum(), 1.0))


def _table(blocks: Sequence[Sequence[float]], rising: bool) -> Array:
    rising = as_flag(rising, "rising")
    try:
        rows = [_values(row, "blocks", 0) for row in blocks]
    except TypeError as error:
        raise TypeError(f"blocks = {shown(blocks)}; pass rows of numbers") from error
    lengths = {len(row) for row in rows}
    if len(rows) < 2 or len(lengths) != 1 or min(lengths) < 3:
        raise ValueError(
            f"blocks: {len(rows)} rows of lengths {sorted(lengths)}; pass two or more rows (seeds) "
            "of equal length, three or more (maps)"
        )
    if max(lengths) > _MOST_MAPS:
        raise ValueError(
            f"blocks has {max(lengths)} maps; the exact test is for {_MOST_MAPS} or fewer"
        )
    table = np.stack(rows)
    return table if rising else -table


@lru_cache(maxsize=256)
def _row_null(ranks: tuple[int, ...]) -> Array:
    """Probabilities of `Σ_j j r_{π(j)}` = 0, 1, … over all orders π of the (doubled) ranks."""
    k = len(ranks)
    size = int(np.dot(range(1, k + 1), ranks)) + 1  # the sum is largest for sorted ranks
    layer = {0: np.ones(1)}  # by the set of ranks placed so far: how often each sum occurs
    for place in range(1, k + 1):
        grown: dict[int, Array] = {}
        for chosen, counts in layer.items():
            for at in range(k):
                if chosen >> at & 1:
                    continue
                sums = grown.setdefault(chosen | 1 << at, np.zeros(size))
                shift = place * ranks[at]
                sums[shift : shift + len(counts)] += counts[: size - shift]
        layer = grown
    counts = layer[(1 << k) - 1]
    shares: Array = counts / counts.sum()
    return shares

"""Intervals and trends against SciPy, closed forms and counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mirrorflow.experiments.statistics import interval, trend, welch


def test_interval_is_students() -> None:
    values = [0.3, 0.35, 0.42]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-12)
    assert interval([2.0]) == (2.0, math.inf)
    with pytest.raises(ValueError, match="values is empty"):
        interval([])


def test_welch_is_scipys() -> None:
    a, b = [3.0, 3.4, 3.1], [2.0, 2.9, 2.2, 2.4]
    gap, low, high = welch(a, b)
    wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=1e-10)
    assert gap == pytest.approx(np.mean(a) - np.mean(b))
    assert welch([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="a has 1 values"):
        welch([1.0], [1.0, 2.0])


@pytest.mark.parametrize("rising", [True, False])
def test_trend_is_the_share_of_orders_at_least_as_extreme(rising: bool) -> None:
    rows = [[0.1, 0.3, 0.2, 0.5], [0.2, 0.1, 0.4, 0.6]]
    ranks = [stats.rankdata(r if rising else -np.array(r)) for r in rows]
    score = sum(float(np.dot(range(1, 5), r)) for r in ranks)
    orders = [np.dot(range(1, 5), order) for order in itertools.permutations(range(1, 5))]
    sums = [a + b for a in orders for b in orders]
    assert trend(rows, rising=rising) == pytest.approx(np.mean([s >= score for s in sums]))


def test_trend_wants_seeds_and_maps() -> None:
    with pytest.raises(ValueError, match="two or more rows"):
        trend([[1.0, 2.0, 3.0]], rising=True)
    with pytest.raises(ValueError, match="three or more"):
        trend([[1.0, 2.0], [1.0, 2.0]], rising=True)

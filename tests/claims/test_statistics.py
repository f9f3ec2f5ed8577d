"""Intervals and trends against SciPy, closed forms and counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mirrorflow.claims.statistics import (
    holm,
    interval,
    ordered,
    trend,
    welch,
    welch_p,
)


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


@pytest.mark.parametrize(("maps", "seeds"), [(3, 2), (5, 3), (6, 4), (7, 3)])
def test_trend_without_ties_is_scipys(maps: int, seeds: int) -> None:
    table = np.random.default_rng(maps).normal(size=(seeds, maps)) + 0.3 * np.arange(maps)
    wanted = stats.page_trend_test(table, method="exact").pvalue
    assert 1e-6 < wanted < 0.999
    assert trend(table.tolist(), rising=True) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 1, 2, 3], [2, 2, 2, 1], [1, 2, 3, 4]],
        [[1, 1, 1, 2], [1, 1, 2, 2]],
        [[5, 5, 6], [5, 6, 6], [1, 2, 2]],
    ],
)
@pytest.mark.parametrize("rising", [True, False])
def test_trend_with_ties_counts_the_orders_of_the_mid_ranks(
    rows: list[list[float]], rising: bool
) -> None:
    ranks = [stats.rankdata(np.array(r) if rising else -np.array(r)) for r in rows]
    places = np.arange(1, len(rows[0]) + 1)
    score = sum(float(places @ r) for r in ranks)
    orders = [[float(places @ np.array(o)) for o in itertools.permutations(r)] for r in ranks]
    sums = [sum(choice) for choice in itertools.product(*orders)]
    wanted = float(np.mean([s >= score - 1e-9 for s in sums]))
    assert trend(rows, rising=rising) == pytest.approx(wanted, rel=1e-12)


def test_all_tied_says_nothing() -> None:
    assert trend([[1.0, 1.0, 1.0]] * 3, rising=True) == 1.0
    assert not ordered([[1.0, 1.0, 1.0]] * 3, rising=True)


def test_strictly_ordered_in_every_seed_is_the_smallest_p() -> None:
    rows = [[0.1, 0.2, 0.3, 0.4, 0.5]] * 3
    assert ordered(rows, rising=True)
    assert not ordered(rows, rising=False)
    assert trend(rows, rising=True) == pytest.approx(math.factorial(5) ** -3, rel=1e-12)
    assert not ordered([*rows, [0.1, 0.2, 0.3, 0.5, 0.4]], rising=True)


def test_welch_p_is_scipys() -> None:
    a, b = [3.0, 3.4, 3.1], [2.0, 2.9, 2.2, 2.4]
    wanted = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert welch_p(a, b) == pytest.approx(wanted, rel=1e-10)
    low = welch(a, b, level=1 - wanted)[1]
    assert low == pytest.approx(0, abs=1e-9)
    assert (welch_p([1, 1], [0.5, 0.5]), welch_p([1, 1], [1, 1])) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    """Holm 1979: 0.005·4, 0.01·3, then 0.03·2, and 0.04 no smaller than that."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"choose every p in \[0, 1\]"):
        holm([0.5, 1.5])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: interval([1.0, math.nan]), "values"),
        (lambda: interval("abc"), "values"),
        (lambda: interval([1.0, 2.0], level=1.0), "level"),
        (lambda: welch([1.0, math.inf], [1.0, 2.0]), "a"),
        (lambda: welch_p([1.0, 2.0], None), "b"),
        (lambda: trend(None, rising=True), "blocks"),
        (lambda: trend([[1.0, 2.0, math.nan]] * 2, rising=True), "blocks"),
        (lambda: trend([[1.0, 2.0, 3.0]] * 2, rising="no"), "rising"),
        (lambda: trend([list(range(15))] * 2, rising=True), "blocks"),
    ],
)
def test_bad_arguments_are_named(call: object, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        call()

"""The step size after acceptance, rejection and failure, worked out by hand."""

from __future__ import annotations

import math

import pytest

from mirrorflow.flow.steppers.control import Controller


def test_a_failure_bounds_the_steps_after_it() -> None:
    control = Controller(3)
    assert control.failed(1.0) == 0.25
    assert control.ceiling == 0.6
    # errors so small that each step would grow fourfold: the bound rises by 1.1, 1.1^2, 1.1^4 ...
    steps, h = [], 0.25
    for _ in range(6):
        h = control.next(h, 1e-8)
        steps.append(h)
    bounds = [0.6 * 1.1**k for k in (0, 1, 3, 7)]
    assert steps[:4] == pytest.approx(bounds, rel=1e-12)
    # 1.1^8 is the last rise below the largest growth of a step: then the bound is gone
    assert math.isinf(control.ceiling)
    assert steps[4:] == pytest.approx([4 * bounds[3], 16 * bounds[3]], rel=1e-12)


def test_without_a_failure_the_step_follows_the_error() -> None:
    control = Controller(3)
    expected = 0.9 * 0.5 ** (-0.7 / 3) * 1.0 ** (0.3 / 3)
    assert control.next(1.0, 0.5) == pytest.approx(expected, rel=1e-12)
    assert control.last == 0.5
    assert control.retry(1.0, 8.0) == pytest.approx(0.45, rel=1e-12)
    assert control.retry(1.0, math.inf) == 0.1

"""At most 0.5 % of calls with one bad argument end in anything but an answer or a clear refusal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_bad_value_at_a_time(tmp_path, monkeypatch) -> None:
    from fuzz import battery
    from fuzz_calls import all_calls

    monkeypatch.chdir(tmp_path)
    tried, wrong = battery(all_calls(), seed=1, values=2)
    assert tried > 900
    assert len(wrong) <= max(5, 0.005 * tried), wrong

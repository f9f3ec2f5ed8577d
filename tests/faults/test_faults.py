"""What happens to files and processes: no damage goes unseen, nothing that was saved is lost."""

from __future__ import annotations

import importlib.util
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("battery", Path(__file__).with_name("battery.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["battery"] = module
    spec.loader.exec_module(module)
    return module


battery = _load()
TRIES = {"kills": 2, "sweep_kills": 2, "flow_kills": 2, "two_processes": 2}


@pytest.mark.slow
@pytest.mark.parametrize("work", battery.BATTERIES, ids=lambda work: work.__name__)
@settings(max_examples=1, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_goes_wrong(work: Any, seed: int) -> None:
    tries = TRIES.get(work.__name__, 8)
    with tempfile.TemporaryDirectory() as folder:
        tally = work(Path(folder), random.Random(seed), tries)
    assert tally.tried >= tries
    assert tally.wrong == 0, tally.examples

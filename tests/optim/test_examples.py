"""The example keeps its promise: an 80 %-sparse net as good as a dense one."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


def test_drop_in_trains_a_net_that_is_80_percent_sparse():
    pytest.importorskip("sklearn")
    path = Path(__file__).parents[2] / "examples" / "drop_in.py"
    results = runpy.run_path(str(path))["main"]()
    dense, pruned = results["MirrorAdamW"][:2]
    assert dense > 0.95
    assert pruned > dense - 0.01
    assert results["AdamW"][1] < pruned - 0.03  # AdamW does not survive the same cut

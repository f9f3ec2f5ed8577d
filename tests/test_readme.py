"""What the README says runs, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    outcome, margin, gap = lines[0].split()
    assert outcome == "converged"
    assert float(margin) == pytest.approx(0.01111099, rel=1e-5)
    assert float(gap) < 1e-6
    assert lines[1].startswith("a KKT point, to ")
    (shown,) = re.findall(r"```\n(converged.*?)```", README, re.DOTALL)
    table = [line.rstrip() for line in lines[2:]]
    assert table == [line.rstrip() for line in shown.splitlines()[2:]]
    assert names["optimizer"].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_pages_include_and_link_what_is_there(page: Path) -> None:
    text = page.read_text()
    assert "--8 <" not in text
    for included in re.findall(r'--8<-- "([^"]+)"', text):
        assert (ROOT / included).exists(), included
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_the_example_of_a_map_a_layer_runs() -> None:
    from mirrorflow import maps, nets
    from mirrorflow.diagnostics import certify
    from mirrorflow.optim import MirrorDescent

    page = (ROOT / "docs" / "choosing-a-map.md").read_text()
    block = page.partition("**A map for each layer.**")[2].split("```python")[1].split("```")[0]
    names: dict[str, Any] = {
        "maps": maps, "nets": nets, "certify": certify, "MirrorDescent": MirrorDescent,
        "x": torch.randn(6, 2), "y": torch.tensor([1, -1, 1, -1, 1, -1]),
    }  # fmt: skip
    exec(block, names)
    assert not names["certificate"].joint


def test_every_link_into_the_project_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link

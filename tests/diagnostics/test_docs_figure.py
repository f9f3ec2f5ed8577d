"""The script behind the figure of docs/certificates.md, on its fastest map."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from mirrorflow.diagnostics import certify
from mirrorflow.exact import two_layer_max_margin
from mirrorflow.maps import Quadratic

SCRIPT = Path(__file__).parents[2] / "examples" / "certificates.py"


@pytest.mark.slow
def test_figure_and_the_numbers_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = runpy.run_path(str(SCRIPT), run_name="example")
    names["MAPS"].clear()
    names["MAPS"]["quadratic"] = (Quadratic(), 1e8)
    names["main"](str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "support        9 of 30 points" in printed
    assert "#14: 0.250, #28: 0.248, #2: 0.234, #18: 0.196, #15: 0.066" in printed
    x, y = names["points"]()
    net = names["flowed"](Quadratic(), 1e8)
    found = certify(net, x, y, Quadratic())
    assert found.margin == pytest.approx(0.0492, abs=5e-5)
    assert found.duality_gap == pytest.approx(found.epsilon**2 / 2, rel=0.2)
    truth = two_layer_max_margin(x, y, bias=True)
    assert (truth.kind, truth.patterns) == ("global", 871)
    assert truth.margin == pytest.approx(0.0492997, rel=1e-5)
    assert 0.99 * truth.margin < found.margin

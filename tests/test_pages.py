"""The pages for a start, on groups and on sparse nets: their code runs as printed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.exact import max_margin
from mirrorflow.optim import MirrorDescent

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def run(page: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        assert block.count("\n") <= 15, block
        exec(block, names)
    return names


@pytest.fixture
def _single(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # as a reader has it


@pytest.mark.slow
@pytest.mark.usefixtures("_single")
def test_flow(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("flow.md")
    out = capsys.readouterr().out
    assert "a KKT point, to " in out
    assert "True" in out.splitlines()
    assert names["table"]["margin"].iloc[-1] == names["flow"].margin[-1] > 0.1
    assert names["both"].to_pandas()["outcome"].tolist() == ["reached", "reached"]


@pytest.mark.slow
@pytest.mark.usefixtures("_single")
def test_plots(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    torch.manual_seed(0)
    names = run("plots.md")
    plt.close("all")
    out = capsys.readouterr().out
    assert "hyperbolic_entropy(0.1)" in out
    assert out.count("1e-2") == 2
    for name, flow in names["flows"].items():
        assert flow.margin[-1] > 0, name
    for name in ("margins.svg", "planes.svg", "gap.pdf"):
        assert (tmp_path / name).stat().st_size > 5000
    for name in ("margins", "planes"):  # the page shows what its own blocks draw
        shown = (DOCS / "images" / f"plots-{name}.svg").read_bytes()
        assert b"prefers-color-scheme" in shown
        assert len(shown) < 200_000


@pytest.mark.slow
@pytest.mark.usefixtures("_single")
def test_start(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    names = run("start.md")
    out = capsys.readouterr().out
    shares = [float(line.split()[-1]) for line in out.splitlines() if line.startswith("0.weight")]
    assert shares == pytest.approx([0.23, 0.52, 0.78], abs=0.02)  # what the page says
    net, x, y = names["net"], names["x"], names["y"]
    assert float((net(x).argmax(1) == y).double().mean()) > 0.95


@pytest.mark.usefixtures("_single")
def test_interpolation() -> None:
    names = run("interpolation.md")
    exact = names["exact"].weights
    assert names["flow"].outcome == "interpolates"
    assert torch.allclose(names["weights"], exact, rtol=0, atol=1e-8)
    assert float(exact.abs().sum()) < 0.9 * float(names["short"].abs().sum())
    assert torch.allclose(names["net"].weight.detach(), exact, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("_single")
def test_linear_nets() -> None:
    names = run("linear-nets.md")
    exact = max_margin(names["data"].x, names["data"].y, maps.LpHorizon(1)).margin
    # weights off the support fade like a small power of log t: at log t = 1e6 some are left
    assert 0.995 * exact < float(names["margin"]) < exact


def test_the_figure_of_interpolation(tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "interpolation.py"))["main"]
    norms = main(str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    assert norms["l2"][0] == pytest.approx(norms["least"][1], rel=1e-3)
    assert norms["l1"][-1] == pytest.approx(norms["least"][0], rel=0.05)


@pytest.mark.usefixtures("_single")
def test_whose_margin(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cvxpy")
    names = run("whose-margin.md")
    assert "largest margin" in capsys.readouterr().out
    profile, certificate = names["profile"], names["certificate"]
    assert profile.best["ℓ2"] == "gradient"
    assert profile.best["ℓ∞"] == "sign"
    assert profile.relative[1, 2] > 0.95
    short = 1 - certificate.margin / names["best"]["ℓ∞"]
    assert certificate.duality_gap == pytest.approx(short, abs=1e-6)
    assert certificate.duality_gap > 1e-4


@pytest.mark.usefixtures("_single")
def test_groups(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("groups.md")
    out = capsys.readouterr().out
    for word in ("HyperbolicEntropy(beta=0.001)", "normalisation", "BatchNorm2d", "Conv2d"):
        assert word in out
    assert names["optimizer"].param_groups[0]["mirror_map"] == maps.Power(1.5)


@pytest.mark.usefixtures("_single")
def test_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    names = run("sparse.md")
    out = capsys.readouterr().out
    assert "participation" in out
    plain, x, y = names["plain"].eval(), names["x"], names["y"]
    zeros = sum(int((plain[k].weight == 0).sum()) for k in (0, 4))
    assert zeros == int(0.9 * (144 + 5760))
    assert float((plain(x).argmax(1) == y).double().mean()) > 0.9


@pytest.mark.parametrize(
    ("mirror_map", "after"),
    [
        (maps.Quadratic(), -1e-3),
        (maps.HyperbolicEntropy(0.01), -1e-5),
        (maps.Logarithmic(0.01), -1e-5),
        (maps.Power(1.5), -1e-6),
        (maps.Power(3), -(1e-3**0.5)),
        (maps.NegativeEntropy(), 0.0),
    ],
    ids=repr,
)
def test_where_a_step_from_0_leads(mirror_map: maps.MirrorMap, after: float) -> None:
    p = nn.Parameter(torch.tensor([0.0, 1.0]))
    p.grad = torch.tensor([1.0, 0.0])
    MirrorDescent([p], 1e-3, mirror_map=mirror_map).step()
    assert float(p[0].detach()) == pytest.approx(after, rel=1e-2)


@pytest.mark.usefixtures("_single")
def test_a_resnet_with_batchnorm_becomes_sparse(tmp_path: Path) -> None:
    """The example, on the digits: nine tenths of the weights go, the accuracy stays."""
    pytest.importorskip("sklearn")
    main = runpy.run_path(str(ROOT / "examples" / "sparse_resnet.py"))["main"]
    found = main("digits", 0, 6, out=tmp_path / "sparse.pt")
    assert found["dense"] > 0.9
    assert found["trained on"] > 0.9
    assert found["loaded"] == found["trained on"]
    state = torch.load(tmp_path / "sparse.pt", weights_only=True)
    convolutions = [w for name, w in state.items() if w.ndim > 1]
    zeros = sum(int((w == 0).sum()) for w in convolutions)
    assert zeros == int(0.9 * sum(w.numel() for w in convolutions))

"""The explorer in a browser: what it shows is what the trajectory has."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened

from mirrorflow.errors import MirrorFlowError
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.maps import Cosh, finite_gauge
from mirrorflow.nets import MLP, Linear, TwoLayer
from mirrorflow.report.explorer import write_explorer
from mirrorflow.report.plane import plane_data
from mirrorflow.report.unit_balls import ball_radii, horizon_radii

MAPS = ("quadratic", "hyperbolic_entropy(beta=0.1)")
X = torch.tensor(
    [[1.0, 0.3], [0.6, 1.1], [-0.9, 0.2], [0.2, -1.0], [-0.4, -0.8], [1.2, -0.7]]
).double()
Y = torch.tensor([1, -1, 1, -1, 1, 1])


def net_at(point: Any = None) -> TwoLayer:
    g = torch.Generator().manual_seed(3)
    net = TwoLayer(2, 6, "smooth_relu", 1e-2, bias=True, generator=g).double()
    if point is not None:
        with torch.no_grad():
            flat = torch.from_numpy(np.asarray(point.direction))
            for p in net.parameters():
                p.copy_(flat[: p.numel()].reshape(p.shape))
                flat = flat[p.numel() :]
    return net


@pytest.fixture(scope="module")
def flows() -> dict[str, Trajectory]:
    return {text: mirror_flow(net_at(), X, Y, text, log_t_end=1e4) for text in MAPS}


@pytest.fixture(scope="module")
def page(flows: dict[str, Trajectory], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "new" / "plane.html"
    assert write_explorer(path, flows, net_at(), X, Y, title="Six <points>") == path
    return path


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', path.read_text())
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def at(flow: Trajectory, data: dict[str, Any], frame: int) -> Any:
    """The flow at a frame, by the meaning of z = log10 log10 (1 + t) alone."""
    if frame == 0:
        return flow[0]
    log_1_t = 10.0 ** data["z"][frame] * math.log(10)
    log_t = log_1_t + math.log(-math.expm1(-log_1_t))
    return flow.at(min(log_t, float(flow.log_t[-1])))


def vertices(text: str, data: dict[str, Any]) -> torch.Tensor:
    """The corners of a path in pixels, as points of the plane."""
    pixels = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", text), dtype=np.float64)
    centre, half = np.array(data["centre"]), data["half"]
    return torch.from_numpy(centre + half * (pixels / 200 - 1) * [1, -1])


def contour(net: TwoLayer, data: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Points of the decision boundary, as matplotlib finds them."""
    contourpy = pytest.importorskip("contourpy")
    line = torch.linspace(-1, 1, 200) * data["half"]
    xs, ys = line + data["centre"][0], line + data["centre"][1]
    with torch.no_grad():
        field = net(torch.cartesian_prod(xs, ys)).reshape(200, 200).T
    lines = contourpy.contour_generator(xs.numpy(), ys.numpy(), field.numpy()).lines(0.0)
    return np.concatenate(lines)


def show(page: Any, place: int, frame: int) -> None:
    page.locator(f"input[type=radio][value='{place}']").check(force=True)
    page.locator("input[type=range]").fill(str(frame))


def test_the_boundary_is_where_the_trajectory_has_it(
    page: Path, flows: dict[str, Trajectory]
) -> None:
    data = data_of(page)
    last = len(data["times"]) - 1
    ends = []
    with opened(page) as tab:
        for place, flow in enumerate(flows.values()):
            for frame in (0, 30, 60, 90, last):
                show(tab, place, frame)
                path = tab.locator("[data-part=boundary]").get_attribute("d")
                found = vertices(path, data)
                net = net_at(at(flow, data, frame))
                with torch.no_grad():
                    off = net(found).abs().max() / net(X).abs().max()
                assert float(off) < 1e-4
                # No part is missing: an independent contour has nothing that is far from it.
                other = torch.from_numpy(contour(net, data))
                assert len(other) > 20
                assert float(torch.cdist(other, found).min(1).values.max()) < data["half"] / 36
                if frame == 0:
                    start = found
            with torch.no_grad():
                net = net_at(flow[-1])
                ends.append(float(net(start).abs().max() / net(X).abs().max()))
    assert min(ends) > 0.05  # and it has moved: the first one is not the last one


def test_the_words_and_the_table_give_margin_and_multipliers(
    page: Path, flows: dict[str, Trajectory]
) -> None:
    data = data_of(page)
    with opened(page) as tab:
        tab.locator("summary").click()
        for place, (text, flow) in enumerate(flows.items()):
            show(tab, place, 75)
            point = at(flow, data, 75)
            words = tab.locator("[data-part=said]").inner_text()
            assert text.split("(")[0].replace("_", " ") in words
            assert f"t = {data['times'][75]}" in words
            said = float(re.search(r"margin ([-\d.e]+)", words)[1])  # type: ignore[index]
            assert said == pytest.approx(point.margin, rel=1e-3)
            rows = tab.locator("[data-part=values] tr").all_inner_texts()
            cells = [re.split(r"\s+", row) for row in rows]
            for number, label, margin, multiplier in cells:
                k = int(number) - 1
                assert int(label) == int(Y[k])
                assert float(margin) == pytest.approx(point.margins[k], rel=1e-3, abs=1e-9)
                assert float(multiplier) == pytest.approx(point.multipliers[k], rel=1e-2, abs=1e-6)
            assert sum(float(row[3]) for row in cells) == pytest.approx(1, abs=1e-2)


def test_the_keyboard_moves_time_and_map(page: Path) -> None:
    with opened(page) as tab:
        assert "Six &lt;points&gt;" in page.read_text()
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.type") == "radio"
        before = tab.locator("[data-part=said]").inner_text()
        tab.keyboard.press("ArrowRight")
        after = tab.locator("[data-part=said]").inner_text()
        assert before.startswith("quadratic at")
        assert after.startswith("hyperbolic entropy β=0.1 at")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Tab")
        slider = tab.locator("input[type=range]")
        assert tab.evaluate("document.activeElement.type") == "range"
        tab.keyboard.press("Home")
        assert slider.input_value() == "0"
        assert "at t = 0;" in tab.locator("[data-part=said]").inner_text()
        tab.keyboard.press("ArrowRight")
        assert slider.input_value() == "1"
        assert slider.get_attribute("aria-valuetext").startswith("t = 0.02")
        plane = tab.locator("[data-part=plane]").get_attribute("aria-label")
        assert plane.startswith("Decision boundary. hyperbolic entropy")


def test_play_runs_to_the_end(page: Path) -> None:
    with opened(page) as tab:
        slider = tab.locator("input[type=range]")
        slider.fill("115")
        tab.get_by_role("button", name="Play").click()
        tab.get_by_role("button", name="Play").wait_for()
        tab.wait_for_function("document.querySelector('input[type=range]').value === '120'")


def test_the_outline_is_that_of_the_gauge_at_the_level_of_the_weights(tmp_path: Path) -> None:
    """cosh: round at first, nearly a square where the potential is large."""
    net = Linear(2, generator=torch.Generator().manual_seed(0)).double()
    x, y = X[:2], Y[:2]
    flow = mirror_flow(net, x, y, Cosh(1.0), log_t_end=1e3)
    path = write_explorer(tmp_path / "a.html", {"cosh(scale=1)": flow}, net, x, y)
    data, angle = data_of(path), math.pi / 4
    with opened(path) as tab:
        for frame in (20, 119):
            tab.locator("input[type=range]").fill(str(frame))
            outline = tab.locator("[data-part=outline]").get_attribute("d")
            pixels = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", outline), dtype=np.float64)
            radii = np.hypot(*((pixels - 100) / 60).T)
            point = at(flow, data, frame)
            theta = torch.from_numpy(point.direction * math.exp(point.log_gauge))
            level = float((torch.cosh(theta) - 1).sum())  # the potential of scale 1, by hand
            diagonal = torch.tensor([math.cos(angle), math.sin(angle)])
            gauge = float(finite_gauge(Cosh(1.0), diagonal, level))
            assert radii[12] == pytest.approx(1 / gauge, abs=2e-3)
            assert radii[0] == pytest.approx(1, abs=1e-3)


def test_outlines_by_hand() -> None:
    """At the level c the cosh ball reaches acosh(1 + c) on the axes and acosh(1 + c/2) aside."""
    levels = [0.5, 3.0, 1e6]
    radii = ball_radii(Cosh(1.0), levels)
    for row, c in zip(radii, levels, strict=True):
        aside = math.sqrt(2) * math.acosh(1 + c / 2) / math.acosh(1 + c)
        assert row[12] == pytest.approx(aside, rel=1e-9)
        assert row[24] == pytest.approx(1, rel=1e-9)
    assert horizon_radii(Cosh(1.0))[12] == pytest.approx(math.sqrt(2), rel=1e-12)


def test_three_classes_have_borders_between_them(tmp_path: Path) -> None:
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]).double()
    y = torch.tensor([0, 1, 2])
    net = Linear(2, 3, bias=True, generator=torch.Generator().manual_seed(1)).double()
    flow = mirror_flow(net, x, y, "quadratic", log_t_end=100.0)
    path = write_explorer(tmp_path / "three.html", {"quadratic": flow}, net, x, y)
    data = data_of(path)
    with opened(path) as tab:
        text = tab.locator("[data-part=boundary]").get_attribute("d")
    weights = flow.direction[-1].reshape(3, 3)
    found = vertices(text, data).numpy()
    out = np.sort(found @ weights[:, :2].T + weights[:, 2], axis=1)
    assert len(found) > 60
    # Two outputs tie there; the third may be larger only where it decides.
    assert np.abs(out[:, 2] - out[:, 1]).max() < 1e-4 * np.abs(weights).max()


def test_wrong_things_are_named(tmp_path: Path, flows: dict[str, Trajectory]) -> None:
    net = net_at()
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        plane_data(flows, net, torch.randn(6, 3), Y)
    with pytest.raises(ValueError, match="18 weights|24 weights"):
        plane_data(flows, TwoLayer(2, 3).double(), X, Y)
    with pytest.raises(ValueError, match="points"):
        plane_data(flows, net, X[:4], Y[:4])
    with pytest.raises(TypeError, match="Linear, MLP, TwoLayer"):
        plane_data(flows, torch.nn.Linear(2, 1), X, Y)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="flows"):
        write_explorer(tmp_path / "a.html", {}, net, X, Y)
    with pytest.raises(MirrorFlowError, match="nothing to see"):
        plane_data({"quadratic": flows["quadratic"][:1]}, net, X, Y)


def test_a_deep_net_of_relus_is_drawn_as_it_was_followed(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(4)  # of seeds 0 to 3 every unit dies
    net = MLP((2, 3, 2, 1), "relu", bias=True, generator=g).double()
    flow = mirror_flow(net, X[:3], Y[:3], "quadratic", log_t_end=4.0)
    path = write_explorer(tmp_path / "deep.html", {"quadratic": flow}, net, X[:3], Y[:3])
    data = data_of(path)
    assert data["net"] == {
        "shapes": [[3, 3], [2, 3], [1, 2]], "activation": "relu", "eps": 1e-2, "bias": True,
    }  # fmt: skip
    with opened(path) as tab:
        text = tab.locator("[data-part=boundary]").get_attribute("d")
    followed = flow.net()
    with torch.no_grad():
        found = followed(vertices(text, data)).abs().max() / followed(X[:3]).abs().max()
    assert float(found) < 1e-4


def test_the_page_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "explorer.md").read_text()
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert block.count("\n") <= 15
        exec(block, names)
    assert np.load("moons.npz")["x"].shape == (24, 2)
    assert (tmp_path / "explorer.html").stat().st_size < 3 * 1024 * 1024


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    import sys

    from mirrorflow.cli import main

    monkeypatch.setattr(sys, "argv", ["mirrorflow", "explore", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_the_command_writes_a_page_for_a_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "own.npz", x=X.numpy(), y=Y.numpy())
    out = tmp_path / "deep" / "page.html"
    words = ("--hidden", "4", "--map", "quadratic", "--map", "power(1.5)", "--log-t-end", "100")
    assert run(monkeypatch, str(tmp_path / "own.npz"), *words, "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "power(1.5): " in said
    assert f"page: {out.resolve()}" in said.replace("\n", "")
    assert [each["name"] for each in data_of(out)["maps"]] == ["quadratic", "power(1.5)"]
    with opened(out) as tab:
        assert tab.locator("h1").inner_text() == "Mirror flow on own"


def test_the_command_refuses_what_it_cannot_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "own.npz", x=torch.randn(6, 3).numpy(), y=Y.numpy())
    out = tmp_path / "page.html"
    assert run(monkeypatch, str(tmp_path / "own.npz"), "--out", str(out)) == 2
    assert "3 features" in capsys.readouterr().err.replace("\n", " ")
    assert run(monkeypatch, "blobs", "--linear", "--hidden", "4", "--out", str(out)) == 2
    assert not out.exists()

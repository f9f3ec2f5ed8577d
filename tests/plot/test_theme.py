"""One style: readable on light and dark, by colour-blind readers, in print."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mirrorflow import plot
from mirrorflow.plot.output import inline, svg
from mirrorflow.plot.theme import is_dark, new_figure, paint, paint_of_order


def luminance(colour) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one, other) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def lab(colour, matrix=None):
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    if matrix is not None:
        linear = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
              [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip
    xyz = np.array(to_xyz) @ linear / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_lines_stand_out_from_their_background(name: str) -> None:
    with plot.style(name):
        ax = plt.subplots()[1]
        paper = ax.get_facecolor()
        assert is_dark(ax) == (name == "dark")
        for k in range(6):
            assert contrast(paint(ax, k), paper) >= 3.0
        for order in (1.0, 1.5, 2.0, 3.0, 4.0, np.inf):
            assert contrast(paint_of_order(ax, order), paper) >= 3.0
        assert contrast(mpl.rcParams["text.color"], paper) >= 7.0


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("matrix", BLIND.values(), ids=BLIND)
def test_colour_blind_readers_tell_them_apart(name: str, matrix) -> None:
    with plot.style(name):
        ax = plt.subplots()[1]
        seen = [lab(paint(ax, k), matrix) for k in range(6)]
        ends = [lab(paint_of_order(ax, order), matrix) for order in (1.0, 2.0, np.inf)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20
    assert min(np.linalg.norm(a - b) for a, b in combinations(ends, 2)) > 20


def test_colours_follow_the_background_that_the_user_has() -> None:
    with plt.style.context("dark_background"):
        ax = plot.potential("quadratic")
        assert is_dark(ax)
        assert ax.lines[0].get_color() == paint_of_order(ax, 2.0)
    assert not is_dark(plot.potential("quadratic"))


def test_what_the_user_has_set_stays() -> None:
    with mpl.rc_context({"lines.linewidth": 5.0}):
        assert plot.potential("quadratic").lines[0].get_linewidth() == 5.0
    assert plot.potential("quadratic").lines[0].get_linewidth() == 1.8
    assert mpl.rcParams["lines.linewidth"] == 1.5


def test_a_print_figure_is_one_column_wide() -> None:
    with plot.style("print"):
        figure = plot.potential("quadratic").figure
    assert figure.get_size_inches()[0] == 3.4
    with pytest.raises(ValueError, match="name = 'neon' is unknown"):
        plot.style("neon")


def test_an_svg_is_the_same_every_time_and_turns_dark() -> None:
    def make():
        figure, axes = new_figure(size=(3, 2))
        axes.plot([0, 1], [0, 1])
        return figure

    content = svg(make())
    assert content == svg(make())
    assert content.count(b"prefers-color-scheme: dark") == 1
    assert b'<g id="figure_1">' in content
    assert inline(make()).startswith("data:image/svg+xml;base64,")
    assert inline(make(), raster=True).startswith("data:image/png;base64,")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_the_same_every_time(tmp_path, suffix: str) -> None:
    ax = plot.potential("quadratic")
    one = plot.save(ax, tmp_path / f"one{suffix}")
    other = plot.save(ax.figure, str(tmp_path / f"other{suffix}"))
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size > 5000


def test_what_cannot_be_saved(tmp_path) -> None:
    ax = plot.potential("quadratic")
    with pytest.raises(ValueError, match="no known format; end it in"):
        plot.save(ax, tmp_path / "a.gif")
    with pytest.raises(TypeError, match="drawing = 3 is a int"):
        plot.save(3, tmp_path / "a.png")


def test_without_matplotlib_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import mirrorflow as mf\n"
        "mf.plot\n"
        "for call in (lambda: mf.plot.potential('quadratic'), mf.plot.style):\n"
        "    try:\n        call()\n"
        "    except mf.MirrorFlowError as error:\n        print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == 2 * 'plots need matplotlib; pip install "mirrorflow[report]"\n'

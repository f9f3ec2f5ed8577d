"""The page of `reproduce` in a browser: cards, values, definitions, every size and light."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CONTRASTS, opened

from mirrorflow.claims import (
    PRESETS,
    Record,
    networks,
    one_limit,
    p_descent,
    reproduce,
    slowness,
)
from mirrorflow.claims.reproduce import Preset
from mirrorflow.report import write_page
from mirrorflow.report.cards import cards
from mirrorflow.report.glossary import GLOSSARY, marker
from mirrorflow.report.wording import number

LIMIT = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A reproduction of short flows, without digits; its verdicts are not all "yes"."""
    with pytest.MonkeyPatch.context() as patch:
        preset = Preset(seeds=1, digit_seeds=0, thresholds=(), steps=0, units=4, points=4)
        patch.setitem(PRESETS, "tiny", preset)
        patch.setattr(one_limit, "PAIRS", {"ℓ2": ("quadratic", "mixed(p=1.5, a=1, b=1)")})
        patch.setattr(one_limit, "_LOG_T", 50.0)
        patch.setattr(slowness, "MAPS", ("quadratic", "hyperbolic_entropy(beta=1)"))
        patch.setattr(slowness, "_LOG_T", 1e4)
        patch.setattr(slowness, "_TOL", 1e-4)
        patch.setattr(slowness, "_FIT_FROM", 1e3)
        patch.setattr(slowness, "_CURVE", [10.0, 100.0])
        patch.setattr(networks, "LADDER", ("hyperbolic_entropy(beta=0.01)", "quadratic"))
        patch.setattr(networks, "_LOG_T", 100.0)
        out = tmp_path_factory.mktemp("page")
        found = reproduce(out, preset="tiny", workers=1)
        assert found.failed == {}
        assert {finding.verdict for finding in found.findings} > {"yes"}
        write_page(out)
        yield out


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    return folder / "report.html"


def test_it_is_one_small_file_whose_cards_come_first(page: Path) -> None:
    assert page.stat().st_size < LIMIT
    findings = json.loads((page.parent / "findings.json").read_text())["findings"]
    with opened(page, viewport={"width": 1280, "height": 900}) as tab:
        cards = tab.locator(".card")
        assert cards.count() == 3
        for k in range(3):
            box = cards.nth(k).bounding_box()
            assert box["y"] + box["height"] < 900  # on the first screen
            text = cards.nth(k).inner_text()
            own = [f for f in findings if f["claim"] == k + 1]
            agree = sum(f["verdict"] == "yes" for f in own)
            assert f"{agree} of {len(own)} checks say yes." in text
            for f in own:
                assert f["verdict"] == "yes" or f["reason"] in text
                assert (f["verdict"] == "yes") == (f["reason"] == "")
        # The details of a claim are one click away; rules and tables are folded.
        tab.locator(".card a").nth(1).click()
        assert tab.evaluate("location.hash") == "#claim-2"
        rule = tab.get_by_text(findings[0]["rule"]).first
        assert not rule.is_visible()
        tab.get_by_text("What was predicted, and by which rule").first.click()
        assert rule.is_visible()
        assert tab.evaluate("[...document.images].every(i => i.complete && i.alt.length > 40)")


def test_figures_say_their_values_to_pointer_and_keys(page: Path) -> None:
    records = json.loads((page.parent / "records" / "linear-quadratic-0.json").read_text())
    share = 1 - records["summary"]["shortfall"]
    with opened(page) as tab:
        figure = tab.locator("figure[data-values]").first
        tip = figure.locator(".tip")
        assert not tip.is_visible()
        figure.locator(".frame").focus()
        for _ in range(70):
            tab.keyboard.press("ArrowRight")
        assert tip.is_visible()
        words = tip.inner_text()
        assert words.startswith("quadratic: margin / exact max margin")
        said = float(words.split("margin / exact max margin ")[1].split(" at ")[0])
        assert said == pytest.approx(share, rel=2e-3)
        # The pointer on the dot says the same.
        dot = figure.locator(".dot").bounding_box()
        tab.keyboard.press("Escape")
        assert not tip.is_visible()
        tab.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
        assert tip.is_visible()
        assert f"margin / exact max margin {said:.4g}" in tip.inner_text()
        tab.mouse.move(5, 5)
        assert not tip.is_visible()


def test_words_are_explained_on_hover_and_focus(page: Path) -> None:
    with opened(page) as tab:
        term = tab.locator(".term", has_text="horizon").first
        tip = tab.locator("#about-horizon")
        assert not tip.is_visible()
        term.hover()
        assert tip.is_visible()
        tab.mouse.move(2, 2)
        term.focus()
        assert tip.inner_text() == GLOSSARY["horizon"]
        tab.keyboard.press("Escape")
        assert not tip.is_visible()
        assert tab.locator("dl.glossary dt").count() == len(GLOSSARY)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(page: Path, scheme: str) -> None:
    with opened(page, color_scheme=scheme) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = tab.evaluate(CONTRASTS)
        assert len(found) > 100
        assert [pair for pair in found if pair[0] < 4.5] == []
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]


def test_on_a_phone_rows_are_cards_and_nothing_sticks_out(page: Path) -> None:
    with opened(page, viewport={"width": 390, "height": 844}) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        row = tab.locator("#claims tbody tr").first
        assert row.evaluate("r => getComputedStyle(r).display") == "block"
        cell = row.locator("td").nth(1)
        assert cell.get_attribute("data-label") == "measured"
        assert cell.evaluate("c => getComputedStyle(c, '::before').content") not in ("none", "")
        verdict = row.locator(".verdict").bounding_box()
        assert verdict["x"] + verdict["width"] <= 390
        term = tab.locator(".term").first
        term.focus()
        tip = tab.locator("[role=tooltip]:visible").bounding_box()
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= 390


def test_in_print_there_are_no_controls(page: Path) -> None:
    with opened(page) as tab:
        tab.emulate_media(media="print")
        for what in (".explorer button", ".explorer input[type=range]", ".skip"):
            assert not tab.locator(what).first.is_visible()
        assert tab.locator("[data-part=boundary]").is_visible()
        # Nobody can unfold a rule on paper.
        assert tab.get_by_text("counts as yes if").first.is_visible()


def test_the_page_without_stored_flows_has_no_explorer(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "flows")
    text = write_page(copy).read_text()
    assert 'class="explorer"' not in text
    assert 'class="explorer"' in (folder / "report.html").read_text()


def test_findings_of_an_older_run_still_make_a_page(folder: Path, tmp_path: Path) -> None:
    """They have no subject and no reason."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    found: dict[str, Any] = json.loads((copy / "findings.json").read_text())
    found.pop("sha256", None)
    for finding in found["findings"]:
        del finding["subject"], finding["reason"]
    from mirrorflow.files import write_json

    write_json(copy / "findings.json", {k: v for k, v in found.items() if k != "format"})
    assert "checks say yes." in write_page(copy).read_text()


@pytest.mark.parametrize("wins", [True, False])
def test_a_card_does_not_say_yes_for_a_no(wins: bool) -> None:
    table = {1.1: [4.0, 1, 1, 1], 2.0: [3, 4.0, 1, 1], 3.0: [3, 3, 4.0, 1], 10.0: [3, 3, 3, 4.0]}
    if not wins:
        table[3.0] = [3, 5.0, 4.0, 1]
    records = {}
    for p, row in table.items():
        about = {"data": "mnist", "p": p, "seed": 0, "flow": row, "descent": row}
        records[f"power-mnist-p{p:g}-0"] = Record(f"power-mnist-p{p:g}-0", about)
    findings = [f.to_dict() for f in p_descent.findings(records, ["mnist"], 1, 0)]
    (card,) = cards(records, findings)
    # By hand: 4 in its own norm against 3 in the next row, or against 5.
    assert card.number == ("33 %" if wins else "-20 %")
    assert card.word == ("yes" if wins else "no in 2 of 8")
    assert card.answer.startswith("In the picture each" if wins else "Not every power")
    assert len(card.others) == (0 if wins else 2)
    assert all(why == "Another power has a larger ℓ2 margin." for _, _, why in card.others)


def test_words_are_marked_once_and_text_is_escaped() -> None:
    mark = marker()
    first = str(mark("the max margin <b> of horizons; the max-margin problem"))
    assert first.count('role="tooltip"') == 2
    assert 'id="about-max-margin"' in first
    assert "&lt;b&gt;" in first
    assert str(mark("the horizon again")) == "the horizon again"


def test_numbers_as_a_page_writes_them() -> None:
    cases = {0.0: "0", 7.78e-8: "8·10⁻⁸", 0.0123: "0.012", 12.34: "12", 5e12: "5·10¹²"}
    assert {value: number(value) for value in cases} == cases
    assert number(float("nan")) == "–"

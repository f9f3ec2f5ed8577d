"""Every page reads easily: short sentences, short paragraphs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MEAN, LONGEST, PARAGRAPH = 20, 35, 90
# Pages that still wait to be rewritten. One that passes must leave the list.
PAGES_TO_REWRITE = ["docs/results.md"]

FENCE = re.compile(r"^ *(`{3,}|~{3,})")
ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|cf|vs|et al|approx|resp|Fig|Eq|No)\.(?=\s)")


def prose(text: str) -> str:
    """The running text of a page, its formulas, code and links as plain words."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    lines: list[str] = []
    fence, listed = "", False
    for line in text.splitlines():
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
            continue
        if mark:
            fence = mark[1]
            lines.append("")
            continue
        listed = bool(ITEM.match(line)) or (listed and (not line.strip() or line[0] == " "))
        code = line.startswith("    ") and not listed
        other = re.match(r"\s*(\||#{1,6} |:::|!!!|\?\?\?|-{3,}\s*$|\[[^]]+\]: )", line)
        lines.append("" if code or other else line)
    text = "\n".join(lines)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)|\$[^$\n]+\$", "formula", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)(\{[^}]*\})?", "", text)
    text = re.sub(r"\[([^]]*)\](\([^)]*\)|\[[^]]*\])", r"\1", text)
    text = re.sub(r"<[^>\n]+>|https?://\S+", "", text)
    return ABBREVIATIONS.sub(lambda m: m[1].replace(".", ""), text)


def paragraphs(text: str) -> list[str]:
    """Blocks between blank lines; an item of a list is one of its own."""
    blocks: list[list[str]] = [[]]
    for line in prose(text).splitlines():
        if ITEM.match(line) or not line.strip():
            blocks.append([])
        if line.strip(" -*_>"):
            blocks[-1].append(ITEM.sub("", line).strip("> "))
    return [" ".join(block) for block in blocks if block]


def words(text: str) -> list[str]:
    return [w for w in text.split() if re.search(r"\w", w)]


def sentences(paragraph: str) -> list[str]:
    """Those of three words and more: shorter ones are leads, as in "**Limits.** It cannot …"."""
    parts = re.split(r"(?<=[.!?])[\"'”)*_]*\s+", paragraph)
    return [part for part in parts if len(words(part)) > 2]


def faults(text: str) -> list[str]:
    """What a page has against it, in words; nothing if it reads easily."""
    blocks = paragraphs(text)
    lengths = {s: len(words(s)) for block in blocks for s in sentences(block)}
    wrong = [f"{n} words in a sentence: {s}" for s, n in lengths.items() if n > LONGEST]
    for block in blocks:
        if (n := len(words(block))) > PARAGRAPH:
            wrong.append(f"{n} words in a paragraph: {block}")
    mean = sum(lengths.values()) / max(1, len(lengths))
    if mean >= MEAN:
        wrong.append(f"{mean:.1f} words in a mean sentence")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_reads_easily(page: Path) -> None:
    wrong = faults(page.read_text())
    if page.relative_to(ROOT).as_posix() in PAGES_TO_REWRITE:
        assert wrong, "this page reads easily now: take it off PAGES_TO_REWRITE"
    else:
        assert not wrong, "\n".join(wrong)


def test_the_list_names_pages() -> None:
    assert set(PAGES_TO_REWRITE) <= {p.relative_to(ROOT).as_posix() for p in PAGES}


def test_what_counts() -> None:
    text = """---
title: front matter
---
# A heading of words
One `x = 1 + 2` and [two words](a/long/target.md "title"). **Lead.** Three more here, e.g. this.

| a | table |
|---|---|

```python
a = "block"
```

    indented code

- An item of
  two lines

- another one. With a second sentence of $a + b$ words.
"""
    blocks = paragraphs(text)
    assert [len(words(b)) for b in blocks] == [5 + 1 + 5, 5, 2 + 7]
    assert [len(words(s)) for b in blocks for s in sentences(b)] == [5, 5, 5, 7]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("word " * 36, "36 words in a sentence"),
        ("One two three four. " * 23, "92 words in a paragraph"),
        ("Word " * 25 + ". " + "word " * 15 + ".", "20.0 words in a mean sentence"),
    ],
)
def test_each_rule_can_fail(text: str, fault: str) -> None:
    assert any(wrong.startswith(fault) for wrong in faults(text))


def test_a_page_at_the_bounds_passes() -> None:
    assert not faults("Word " * 34 + "end. " + "One two three. " * 18)

"""A page in Debian's chromium, with what it says on its console and what it asks of the network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[Any]:
    """The page in a browser; at the end it has to have been silent and alone.

    Args:
        path: of the HTML file.
        **options: of a page of Playwright, such as `viewport` and `color_scheme`.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium (apt install chromium, or set CHROMIUM)")
    said: list[str] = []
    asked: list[str] = []
    with api.sync_playwright() as play:
        # The sandbox needs rights that a container does not give.
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(**options)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.resolve().as_uri())
            yield page
        finally:
            browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.resolve().as_uri()]


# Every text that shows, with its contrast to what is behind it (WCAG 2.2, 1.4.3).
CONTRASTS = """
() => {
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(ink)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, walker.currentNode.textContent.trim().slice(0, 40)]);
  }
  return found;
}
"""

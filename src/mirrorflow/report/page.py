"""One self-contained HTML page from the records of `reproduce`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.experiments import PRESETS, Record, read_records
from mirrorflow.files import make_folder, write_atomic, write_text
from mirrorflow.experiments.folder import FORMAT
from mirrorflow.report.parts import Picture

__all__ = ["write_page"]


def write_page(folder: Path) -> Path:
    """Write `folder/report.html` from the records in `folder`; no network, no other file needed.

    The figures are also written one by one, to `folder/figures`.

    Args:
        folder: where `mirrorflow reproduce` worked.

    Returns:
        The path of the page.

    Raises:
        RunError: there is no finished reproduction in `folder`, or it is of another version.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined

        from mirrorflow.report.sections import sections
    except ImportError as error:
        raise MissingExtraError(
            f'the page needs {error.name}; pip install "mirrorflow[report]"'
        ) from error
    summary = _summary(folder)
    preset = PRESETS[summary["preset"]]
    seed = int(summary["surroundings"]["seed"])
    records = read_records(folder)
    names = _names(preset, seed)
    chosen: dict[str, Record] = {name: records[name] for name in names if name in records}
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made = sections(chosen, list(preset.thresholds))
    text = environment.from_string(template).render(
        **{k: summary[k] for k in ("findings", "failed", "preset", "surroundings")},
        sections=made,
    )
    make_folder(folder / "figures")
    for section in made:
        for picture in section.figures:
            _save(picture, folder / "figures")
    page = folder / "report.html"
    write_text(page, text)
    return page


def _save(picture: Picture, folder: Path) -> None:
    write_atomic(folder / picture.file, lambda file: file.write(picture.content))


def _names(preset: Any, seed: int) -> list[str]:
    from mirrorflow.experiments.reproduce import tasks

    return [task.name for task in tasks(preset, seed)]


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "findings.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder} holds no finished reproduction ({error}); run mirrorflow reproduce "
            f"--out {folder} first"
        ) from error
    if found.get("format") != FORMAT:
        raise RunError(
            f"{path} was written with layout {found.get('format')!r}; this version reads layout "
            f"{FORMAT}. Choose another folder with --out"
        )
    return found

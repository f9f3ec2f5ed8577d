"""One self-contained HTML page from the records of `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mirrorflow.checks import as_path
from mirrorflow.claims import PRESETS, Record, read_records
from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.files import make_folder, read_json, write_atomic, write_text
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
    folder = as_path(folder, "folder")
    summary = _summary(folder)
    preset = PRESETS[summary["preset"]]
    seed = int(summary["surroundings"]["seed"])
    records = read_records(folder)
    names = _names(preset, seed)
    chosen: dict[str, Record] = {name: records[name] for name in names if name in records}
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    try:
        made = sections(chosen, list(preset.thresholds))
        text = environment.from_string(template).render(
            **{k: summary[k] for k in ("findings", "failed", "preset", "surroundings")},
            sections=made,
        )
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise RunError(
            f"the records of {folder} do not hold what the page shows ({type(error).__name__}: "
            f"{error}); they are of another version: run mirrorflow reproduce --out {folder} again"
        ) from error
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
    from mirrorflow.claims.reproduce import tasks

    return [task.name for task in tasks(preset, seed)]


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "findings.json"
    cure = f"run mirrorflow reproduce --out {folder} first, or again"
    if not path.exists():
        raise RunError(f"{folder} holds no finished reproduction, it has no findings.json; {cure}")
    found = read_json(path, f"{folder} holds no finished reproduction: the summary", cure)
    preset, seed = found.get("preset"), found.get("surroundings", {}).get("seed")
    if preset not in PRESETS or not isinstance(seed, int) or "findings" not in found:
        raise RunError(f"{path} is not the summary of a reproduction; {cure}")
    return found

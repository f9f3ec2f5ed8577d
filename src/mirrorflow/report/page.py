"""One self-contained HTML page from the records of `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mirrorflow.checks import as_path
from mirrorflow.claims import PRESETS, Record, read_records
from mirrorflow.claims.networks import start
from mirrorflow.claims.reproduce import Preset, tasks
from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.files import make_folder, read_json, write_atomic, write_text
from mirrorflow.flow import Trajectory
from mirrorflow.report.assets import templates
from mirrorflow.report.parts import Picture, Section
from mirrorflow.report.plane import plane_data

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
        from mirrorflow.report.cards import cards
        from mirrorflow.report.glossary import GLOSSARY, marker
        from mirrorflow.report.sections import sections
    except ImportError as error:
        raise MissingExtraError(
            f'the page needs {error.name}; pip install "mirrorflow[report]"'
        ) from error
    environment = templates()
    environment.filters["mark"] = marker()
    folder = as_path(folder, "folder")
    summary = _summary(folder)
    preset = PRESETS[summary["preset"]]
    seed = int(summary["surroundings"]["seed"])
    records = read_records(folder)
    names = _names(preset, seed)
    chosen: dict[str, Record] = {name: records[name] for name in names if name in records}
    findings = summary["findings"]
    try:
        made = sections(chosen, list(preset.thresholds))
        text = environment.get_template("page.html").render(
            **{k: summary[k] for k in ("failed", "preset", "surroundings")},
            cards=cards(chosen, findings),
            explorer=_explorer(folder, preset, seed, chosen),
            sections=_with_findings(made, findings),
            glossary=GLOSSARY,
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


def _with_findings(made: list[Section], findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sections with the findings of their claims, each finding once."""
    shown: set[int] = set()
    out = []
    for section in made:
        new = set(section.claims) - shown
        own = [finding for finding in findings if finding["claim"] in new]
        out.append({**vars(section), "findings": own, "earlier": set(shown)})
        shown |= new
    return out


def _explorer(
    folder: Path, preset: Preset, seed: int, records: dict[str, Record]
) -> dict[str, Any] | None:
    """The two-layer nets of the first seed, from the flows that the run left; None without them."""
    flows = {}
    for name in sorted(records, key=lambda name: records[name].summary.get("order", 0.0)):
        path = folder / "flows" / f"{name}.npz"
        if name.startswith("net-") and name.endswith(f"-{seed}") and path.exists():
            flows[records[name].summary["map"]] = Trajectory.load(path)
            summary = records[name].summary
    if not flows:
        return None
    points = torch.tensor(summary["x"], dtype=torch.float64)
    labels = torch.tensor(summary["y"], dtype=torch.int64)
    return plane_data(flows, start(preset.units, seed), points, labels)


def _save(picture: Picture, folder: Path) -> None:
    write_atomic(folder / picture.file, lambda file: file.write(picture.content))


def _names(preset: Preset, seed: int) -> list[str]:
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

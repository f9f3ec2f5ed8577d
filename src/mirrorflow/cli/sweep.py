"""`mirrorflow sweep`: many runs from one file, to one table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.errors import MirrorFlowError

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.console import Console

    from mirrorflow.sweeps import Member, MemberRecord, Sweep
    from mirrorflow.sweeps.run import Engine

__all__ = ["choose_engine", "sweep"]


def sweep(
    file: Annotated[Path, typer.Argument(help="TOML with [base], [grid] and [[members]].")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; default the name of the file.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default the cores over a member's threads.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local (processes) or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of an existing Ray cluster; default a local one.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed members again.")] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="Table of an earlier sweep to take unchanged members from; repeatable."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the vision sets; default $MIRRORFLOW_DATA, else the cache."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the members and check them only.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="mlflow (SQLite beside the run), mlflow:URI or tensorboard; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Train every member of a sweep; interrupted or killed and run again, it goes on.

    A member is a run folder under OUT/members; OUT/results.parquet has one row for each member and
    threshold, and one for its end. Members that fail are reported, and the others go on. Exit code
    0 if every member ended well, 1 if one failed.
    """
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.runs.tracking import tracking
    from mirrorflow.sweeps import read_plan
    from mirrorflow.sweeps.run import most_threads

    if data_dir is not None:
        os.environ["MIRRORFLOW_DATA"] = str(data_dir)
    members = read_plan(file)
    console = Console(stderr=as_json)
    if dry_run:
        _list(members, console, as_json)
        refused = [(m.name, told) for m in members if (told := _refusal(m))]
        for name, told in refused:
            console.print(Text(f"{name}: {told}"), style="red", soft_wrap=True)
        if refused:
            raise typer.Exit(1)
        return
    chosen = choose_engine(engine, address, most_threads(members))
    folder = out or Path(file.stem)
    options = {"workers": workers, "engine": chosen, "retry": retry, "reuse": reuse or []}
    found = _run(members, folder, console, {**options, "track": tracking(track or [], folder)})
    _tell(found, console, as_json)
    if found.failed:
        raise typer.Exit(1)


def choose_engine(name: str, address: str | None, threads: int) -> Engine:
    """The engine of that name; `threads` of each of its calls.

    Raises:
        ValueError: an unknown name, or an address of another engine than Ray.
        MissingExtraError: Ray is not installed.
    """
    from mirrorflow.processes import local_processes
    from mirrorflow.sweeps.ray_engine import ray_engine

    if name not in ("local", "ray"):
        raise ValueError(f"engine = {name!r} is unknown; choose local or ray")
    if name == "ray":
        return ray_engine(address, cpus=threads)
    if address is not None:
        raise ValueError(f"address = {address!r} is of a Ray cluster; add --engine ray")
    return local_processes


def _list(members: list[Member], console: Console, as_json: bool) -> None:
    from rich.table import Column, Table

    from mirrorflow.runs.config import flatten

    flat = {m.name: flatten(m.settings) for m in members}
    if as_json:
        print(json.dumps(flat))
        return
    names = list(dict.fromkeys(k for settings in flat.values() for k in settings))
    varied = [k for k in names if len({str(s.get(k)) for s in flat.values()}) > 1]
    table = Table(Column("member", no_wrap=True), *varied)
    for name, settings in flat.items():
        table.add_row(name, *(str(settings.get(k, "")) for k in varied))
    console.print(table)
    console.print(f"{len(members)} members")


def _refusal(member: Member) -> str:
    """Why its settings are no configuration of a run; empty if they are one."""
    from mirrorflow.runs.config import RunConfig

    try:
        RunConfig.from_dict(member.settings)
    except (TypeError, ValueError, MirrorFlowError) as error:
        return str(error)
    return ""


def _run(members: list[Member], out: Path, console: Console, options: dict[str, Any]) -> Sweep:
    # A member may take an hour: the rate is that of the whole session.
    from rich.progress import Progress
    from rich.text import Text

    from mirrorflow.cli.progress import bar_columns
    from mirrorflow.sweeps import sweep as run_sweep

    with Progress(*bar_columns("members"), console=console, speed_estimate_period=1e9) as bar:
        task = bar.add_task("members", total=len(members), note="")
        failed = 0

        def show(done: int, total: int, record: MemberRecord | None) -> None:
            nonlocal failed
            if record is not None:
                failed += record.failed
                if record.failed or not console.is_terminal:  # a log shows no bar
                    console.print(Text(_line(done, total, record)), soft_wrap=True)
            bar.update(task, completed=done, total=total, note=f"{failed} failed")

        return run_sweep(members, out, progress=show, **options)


def _line(done: int, total: int, record: MemberRecord) -> str:
    error = f": {record.error}" if record.failed else ""
    return f"{done}/{total} {record.name}: {record.outcome}{error}"


def _tell(found: Sweep, console: Console, as_json: bool) -> None:
    from rich.text import Text

    outcomes = [record.outcome for record in found.records]
    if as_json:
        members = {record.name: record.outcome for record in found.records}
        told = {"table": str(found.table), "ran": found.ran, "members": members}
        print(json.dumps({**told, "failed": found.failed}))
        return
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
    console.print(f"{len(outcomes)} members ({counts}), {found.ran} of them run now")
    console.print(Text(f"table: {found.table}"), soft_wrap=True)
    if found.failed:
        console.print(Text("run again with --retry to try the failed ones", style="yellow"))

"""The command line starts without what its commands need."""

from __future__ import annotations

import subprocess
import sys

import mirrorflow
from mirrorflow.cli import data, tune
from mirrorflow.data import VISION
from mirrorflow.sweeps.tune import FAMILIES

COMMANDS = [
    "reproduce",
    "train",
    "sweep",
    "tune",
    "prune",
    "compare",
    "compare-pruning",
    "flow",
    "explore",
    "certify",
    "maps",
    "report",
    "data",
]


def test_help_imports_nothing_heavy() -> None:
    """All in one process: what any of them imports is seen after it."""
    code = (
        "import sys\n"
        "from mirrorflow.cli import main\n"
        f"for command in {['', *COMMANDS]!r}:\n"
        "    sys.argv = ['mirrorflow', *command.split(), '--help']\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        assert not end.code, (command, end.code)\n"
        "    heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "    print('heavy:', command, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ["", *COMMANDS]:
        assert f"heavy: {command} []" in done.stdout.splitlines()
    assert done.stdout.count("Usage:") == len(COMMANDS) + 1


def test_the_version_and_a_mistyped_name() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mirrorflow", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = run("--version")
    assert (shown.returncode, shown.stdout) == (0, f"mirrorflow {mirrorflow.__version__}\n")
    wrong = run("reproduce", "--preset", "powrs")
    assert wrong.returncode == 2
    assert "did you mean 'powers'?" in wrong.stderr


def test_names_in_help_are_those_of_the_library() -> None:
    assert ", ".join(VISION) == data._SETS
    assert ", ".join(FAMILIES) == tune._FAMILIES

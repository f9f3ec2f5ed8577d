"""The command line starts without what its commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mirrorflow.cli import data, tune
from mirrorflow.data import VISION
from mirrorflow.sweeps.tune import FAMILIES

COMMANDS = [
    "reproduce",
    "train",
    "sweep",
    "tune",
    "prune",
    "compare-pruning",
    "flow",
    "certify",
    "maps",
    "report",
    "results",
    "data",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['mirrorflow', *{command.split()!r}, '--help']\n"
        "from mirrorflow.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "Usage:" in done.stdout


def test_names_in_help_are_those_of_the_library() -> None:
    assert ", ".join(VISION) == data._SETS
    assert ", ".join(FAMILIES) == tune._FAMILIES

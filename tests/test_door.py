"""`import mirrorflow` is the door: every public name, and nothing imported before it is used."""

from __future__ import annotations

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import mirrorflow


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, mirrorflow; mirrorflow.__version__; dir(mirrorflow)\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'rich', 'typer'} & set(sys.modules)))"
    )
    assert run(code) == "[]\n"


@pytest.mark.parametrize("name", mirrorflow.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(mirrorflow, name) is not None
    assert name in dir(mirrorflow)


def test_type_checkers_see_the_same_names() -> None:
    """mypy and pyright read the imports under TYPE_CHECKING; Python reads the tables."""
    tree = ast.parse(Path(mirrorflow.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "an explicit re-export is written `X as X`"
            seen[alias.name] = node.module
    assert set(seen) == set(mirrorflow.__all__) - {"__version__"}
    for name, module in seen.items():
        thing = getattr(mirrorflow, name)
        home = sys.modules[module] if module != "mirrorflow" else mirrorflow
        assert getattr(home, name) is thing


def test_an_unknown_name_says_where_to_look() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Sgd'; see dir\(mirrorflow\)"):
        _ = mirrorflow.Sgd


def test_help_shows_what_there_is() -> None:
    text = pydoc.plain(pydoc.render_doc(mirrorflow))
    assert "import mirrorflow as mf" in text
    for name in ("mirror_flow", "MirrorDescent", "certify", "HyperbolicEntropy"):
        assert name in text


def test_the_optimizers_import_no_compiler() -> None:
    code = "import sys, mirrorflow.optim; print('torch._dynamo' in sys.modules)"
    assert run(code) == "False\n"

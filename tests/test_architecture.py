"""The house holds: imports point one way, and names are public on purpose."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import mirrorflow

ROOT = Path(mirrorflow.__file__).parent
# From the bottom of the house to its roof; a part imports only from those before it.
ORDER = (
    "errors",
    "arrays",
    "checks",
    "files",
    "processes",
    "progress",
    "roles",
    "tabular",
    "labels",
    "maps",
    "nets",
    "losses",
    "data",
    "diagnostics",
    "exact",
    "optim",
    "sparse",
    "flow",
    "runs",
    "sweeps",
    "claims",
    "plot",
    "report",
    "cli",
)
# The same within the flow; what stands beside the rooms is above them.
FLOW = ("options", "logscale", "margins", "steppers", "record")
FILES = sorted(ROOT.rglob("*.py"))
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages([str(ROOT)], "mirrorflow.")
    if "__main__" not in info.name
)


def handed_up(tree: ast.AST) -> set[ast.AST]:
    """The imports of `mirrorflow.plot` in methods called `plot`, which may point up.

    Such a method hands its own object to the room that draws it: the data flow upwards as
    everywhere, only the call is written from below, so that `trajectory.plot()` is found where a
    user looks for it. The import runs when the method is called; no file waits for another.
    """
    methods = [
        method
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "plot"
    ]
    return {
        node
        for method in methods
        for node in ast.walk(method)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mirrorflow.plot.")
    }


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_only_methods_called_plot_hand_their_object_up() -> None:
    good = "class A:\n    def plot(self):\n        from mirrorflow.plot.trajectories import flow\n"
    assert len(handed_up(ast.parse(good))) == 1
    for other in (
        good.replace("def plot", "def draw"),
        good.replace("mirrorflow.plot", "mirrorflow.cli"),
        good.replace("from mirrorflow.plot.trajectories import flow", "from mirrorflow import cli"),
        "from mirrorflow.plot.trajectories import flow\n",
        "def plot():\n    from mirrorflow.plot.trajectories import flow\n",
    ):
        assert not handed_up(ast.parse(other)), other


def test_every_folder_has_its_place() -> None:
    tops = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert tops - {"__init__", "__main__"} <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    allowed = ORDER if own in {"__init__", "__main__"} else ORDER[: ORDER.index(own) + 1]
    tree = ast.parse(path.read_text())
    handed = handed_up(tree)
    for node in ast.walk(tree):
        names = []
        if node in handed:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = (
                [node.module]
                if node.module != "mirrorflow"
                else [f"mirrorflow.{alias.name}" for alias in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("mirrorflow.") and name != "mirrorflow.__version__":
                assert part(name) in allowed, f"{path.name} in {own} imports {name} from above"


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in it: functions, types too.

    Only what `handed_up` names is left out.
    """
    found = set()
    tree = ast.parse(path.read_text())
    for node in set(ast.walk(tree)) - handed_up(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mirrorflow"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return found & set(MODULES)


def module_of(path: Path) -> str:
    parts = ("mirrorflow", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_imports_in_a_circle() -> None:
    ahead = {module_of(path): imported(path) for path in FILES}
    while free := {name for name, others in ahead.items() if not others & set(ahead) - {name}}:
        ahead = {name: others for name, others in ahead.items() if name not in free}
    assert not ahead, f"these import each other in a circle, or hang on one: {sorted(ahead)}"


@pytest.mark.parametrize("path", sorted((ROOT / "flow").rglob("*.py")), ids=lambda p: p.stem)
def test_the_rooms_of_the_flow_stand_in_order(path: Path) -> None:
    room = path.relative_to(ROOT / "flow").parts[0]
    if room not in FLOW:
        return
    for name in imported(path):
        if name.startswith("mirrorflow.flow."):
            other = name.split(".")[2]
            assert other in FLOW[: FLOW.index(room) + 1], f"{path.name} in {room} imports {name}"


@pytest.mark.parametrize("name", MODULES)
def test_all_is_strings_and_importable(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert all(isinstance(item, str) for item in public)
    assert len(set(public)) == len(public)
    for item in public:
        assert hasattr(module, item), f"{name}.__all__ names {item!r}, which is not there"


@pytest.mark.parametrize("name", MODULES)
def test_public_objects_state_their_contract(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for item in getattr(module, "__all__", []):
        thing = getattr(module, item)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if thing.__module__ != name:
            continue
        doc = inspect.getdoc(thing) or ""
        # A generated dataclass docstring is the signature, not a contract.
        assert len(doc) > 24 or "`" in doc, f"{name}.{item} has no docstring that states it"
        assert not doc.startswith(f"{item}("), f"{name}.{item} has only a generated docstring"


def test_core_imports_without_extras() -> None:
    """`import mirrorflow` and its core parts must not pull in an optional dependency."""
    import subprocess
    import sys

    code = (
        "import sys, mirrorflow, mirrorflow.maps, mirrorflow.nets, mirrorflow.losses\n"
        "import mirrorflow.diagnostics, mirrorflow.exact, mirrorflow.optim, mirrorflow.flow\n"
        "import mirrorflow.plot\n"
        "extra = {'pandas','pyarrow','typer','rich','sklearn','cvxpy','matplotlib','jinja2',"
        "'pooch','tomli_w'} & set(sys.modules)\n"
        "sys.exit(f'imported {extra}' if extra else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_class_name_stands_for_two_things() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert not twice

"""Puts the compiled kernels into the wheel of `make wheel`; every other wheel is pure Python."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = "src/mirrorflow/optim/kernels"


class CustomBuildHook(BuildHookInterface):
    """Compiles if `MIRRORFLOW_WHEEL_KERNELS` is set; needs g++ and binutils on x86-64 Linux."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the files are packed."""
        if version == "editable" or not os.environ.get("MIRRORFLOW_WHEEL_KERNELS"):
            return
        path = Path(self.root, KERNELS, "recipe.py")
        spec = importlib.util.spec_from_file_location("recipe", path)
        recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipe)
        self.folder = tempfile.TemporaryDirectory()
        library = recipe.make_portable(Path(self.folder.name))
        build_data["force_include"][str(library)] = f"mirrorflow/optim/kernels/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-manylinux_2_28_x86_64"

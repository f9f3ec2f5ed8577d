"""The command line: one file per command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mirrorflow.errors import MirrorFlowError, MissingExtraError

__all__ = ["main"]


def main() -> None:
    """The program `mirrorflow`.

    Contract: bad input and whatever goes wrong on the way end with one clear message on standard
    error and exit code 2, an interrupt with 130. Set MIRRORFLOW_TRACEBACK=1 to see the traceback.
    """
    try:
        _app()()
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; run the same command again to go on from there", 130))
    except (MirrorFlowError, ValueError, TypeError, OSError) as error:
        if os.environ.get("MIRRORFLOW_TRACEBACK"):
            raise
        sys.exit(_say(f"error: {error}", 2))


def _say(message: str, code: int) -> int:
    try:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text(message, style="bold red" if code == 2 else ""))
    except ImportError:
        print(message, file=sys.stderr)
    return code


def _app() -> Callable[[], object]:
    try:
        from mirrorflow.cli.app import app
    except ImportError as error:
        if error.name and error.name.split(".")[0] == "mirrorflow":
            raise
        raise MissingExtraError(
            f"the command line needs {error.name}; "
            'pip install "mirrorflow[experiments,report,exact]"'
        ) from error
    return app

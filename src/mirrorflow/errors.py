"""Errors of the library: what goes wrong on the way, with the state so far kept.

Bad arguments raise `ValueError` or `TypeError` at the door; everything that shows itself
only while the work runs is a `MirrorFlowError`.
"""

from __future__ import annotations

import pickle
from typing import Any

__all__ = [
    "DataError",
    "DivergedError",
    "MirrorFlowError",
    "MissingExtraError",
    "NoHorizonError",
    "NotHomogeneousError",
    "NotSeparableError",
    "RunError",
    "UndecidedError",
    "portable",
]


class MirrorFlowError(Exception):
    """Something went wrong on the way; `state` keeps what was reached (or is None).

    Contract: the message says what happened, with numbers, and what to do about it.
    """

    def __init__(self, message: str, *, state: Any = None) -> None:
        super().__init__(message)
        self.state = state


class NotHomogeneousError(MirrorFlowError):
    """Contract: raised when `f(cθ; x) = c^L f(θ; x)` fails for a network; `state` is the report."""


class NotSeparableError(MirrorFlowError):
    """Contract: raised when no parameters with positive margin exist or were found;
    `state` holds the proof (Farkas multipliers) or the best point reached."""


class UndecidedError(MirrorFlowError):
    """Contract: raised when doubles prove neither an answer nor its opposite; `state` holds the
    bounds reached."""


class DivergedError(MirrorFlowError):
    """Contract: raised when a loss or a parameter left the finite numbers; `state` is the last
    finite point."""


class NoHorizonError(MirrorFlowError, ValueError):
    """Contract: raised when a mirror map has no horizon function on the whole space."""


class DataError(MirrorFlowError):
    """Contract: raised when a data file is missing, corrupt or not what its hash promises."""


class RunError(MirrorFlowError):
    """Contract: raised when a run folder cannot be written, read or continued."""


class MissingExtraError(MirrorFlowError, ImportError):
    """Contract: raised when an optional dependency is missing; the message names the extra."""


def portable(error: Exception) -> Exception:
    """The error as another process can take it: without its state, in plain words if need be."""
    if isinstance(error, MirrorFlowError):
        error.state = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return MirrorFlowError(f"{type(error).__name__}: {error}")
    return error

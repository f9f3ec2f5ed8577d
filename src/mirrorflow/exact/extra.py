"""CVXPY and Clarabel come with the extra `exact` and are imported where they are used."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from mirrorflow.errors import MissingExtraError

__all__ = ["load_cvxpy", "solve"]


def load_cvxpy() -> Any:
    """The module cvxpy.

    Raises:
        MissingExtraError: cvxpy or clarabel is not installed.
    """
    try:
        importlib.import_module("clarabel")
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name or 'cvxpy'} is not installed; the exact solvers need the extra `exact`: "
            'pip install "mirrorflow[exact]"'
        ) from error


def solve(problem: Any) -> str:
    """Solve a CVXPY problem with Clarabel to tight tolerances; the solver's status.

    A status that is merely inaccurate is returned, not raised: callers measure what came out.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            problem.solve(
                solver="CLARABEL",
                tol_gap_abs=1e-12,
                tol_gap_rel=1e-12,
                tol_feas=1e-12,
                tol_ktratio=1e-8,
                reduced_tol_gap_abs=1e-8,
                reduced_tol_gap_rel=1e-8,
                reduced_tol_feas=1e-8,
            )
        except Exception as error:  # cvxpy.SolverError, and what its reductions raise
            return f"failed: {error}"
    return str(problem.status)

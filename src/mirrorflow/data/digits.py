"""The 8×8 digits that ship with scikit-learn: real data without a download."""

from __future__ import annotations

import torch

from mirrorflow.checks import as_number
from mirrorflow.data.base import Dataset
from mirrorflow.data.synthetic import as_seed
from mirrorflow.errors import MissingExtraError

__all__ = ["digits"]


def digits(*, test_share: float = 0.2, seed: int = 0) -> Dataset:
    """1797 handwritten digits, 64 grey values in [0, 1], ten classes.

    Args:
        test_share: share of the points that are kept for test, in [0, 1).
        seed: of the split.

    Raises:
        TypeError, ValueError: an argument outside what is allowed; no training points are left.
        MissingExtraError: scikit-learn is not installed.

    Source: Alpaydin & Kaynak 1998, UCI; as shipped by scikit-learn.
    """
    test_share = as_number(test_share, "test_share", least=0, below=1)
    seed = as_seed(seed)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            'the digits come with scikit-learn; pip install "mirrorflow[experiments]"'
        ) from error
    bunch = load_digits()
    x = torch.as_tensor(bunch.data, dtype=torch.float64) / 16
    y = torch.as_tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) - round(test_share * len(x))
    if not cut:
        raise ValueError(
            f"test_share = {test_share} leaves no training points; choose a smaller one"
        )
    train, test = order[:cut], order[cut:]
    return Dataset("digits", x[train], y[train], x[test], y[test], 10)

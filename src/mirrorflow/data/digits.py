"""The 8×8 digits that ship with scikit-learn: real data without a download."""

from __future__ import annotations

import torch

from mirrorflow.data.base import Dataset
from mirrorflow.errors import MissingExtraError

__all__ = ["digits"]


def digits(*, test_share: float = 0.2, seed: int = 0) -> Dataset:
    """1797 handwritten digits, 64 grey values in [0, 1], ten classes.

    Args:
        test_share: share of the points that are kept for test, in [0, 1).
        seed: of the split.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    Source: Alpaydin & Kaynak 1998, UCI; as shipped by scikit-learn.
    """
    if not 0 <= test_share < 1:
        raise ValueError(f"test_share = {test_share}; choose a share in [0, 1)")
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
    train, test = order[:cut], order[cut:]
    return Dataset("digits", x[train], y[train], x[test], y[test], 10)

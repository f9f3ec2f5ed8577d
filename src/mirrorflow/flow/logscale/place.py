"""Where a tensor is among the coordinates of a flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array


@dataclass(frozen=True)
class Place:
    """Where the entries of a tensor, in its own order, are in x; a tensor is its first dimension by
    the rest, a vector one row."""

    at: NDArray[np.int64]
    shape: tuple[int, int]

    @staticmethod
    def of(at: NDArray[np.int64], shape: tuple[int, ...]) -> Place:
        rows = shape[0] if len(shape) > 1 else 1
        return Place(at, (rows, len(at) // rows))

    def matrix(self, x: Array) -> Array:
        return x[self.at].reshape(self.shape)

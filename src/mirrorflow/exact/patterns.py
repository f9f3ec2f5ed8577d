"""Activation patterns `1[Xw > 0]` of a data set: the cells of a hyperplane arrangement."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array

__all__ = ["Patterns", "all_patterns", "count_patterns", "sampled_patterns"]

Patterns = NDArray[np.bool_]


def count_patterns(x: Array) -> int:
    """`2 Σ_{k<r} C(n−1, k)`, r the rank: the number of cells for points in general position."""
    rank = int(np.linalg.matrix_rank(x))
    return 2 * sum(comb(len(x) - 1, k) for k in range(rank))


def all_patterns(x: Array, *, seed: int = 0) -> Patterns:
    """Every pattern, (G, n), apart from the empty one.

    A cell in general position touches a ray on which r − 1 points vanish; around that ray these
    take all signs. Points in special position are moved by 1e-9 first, which splits cells but
    loses none; an extra pattern does no harm to the convex program, since its cone constraint
    still makes the linear pieces equal to ReLUs.
    """
    basis = np.linalg.svd(x, full_matrices=False)[2][: np.linalg.matrix_rank(x)]
    z = x @ basis.T
    n, r = z.shape
    z = z / np.linalg.norm(z, axis=1, keepdims=True).clip(1e-300)
    z = z + 1e-9 * np.random.default_rng(seed).standard_normal(z.shape)
    if r == 0:
        return np.zeros((0, n), dtype=bool)
    signs = np.array(list(product([False, True], repeat=r - 1)), dtype=bool)
    signs = signs.reshape(2 ** (r - 1), r - 1)
    found: set[bytes] = set()
    for on in combinations(range(n), r - 1):
        ray = np.linalg.svd(z[list(on)].reshape(r - 1, r))[2][-1]
        side = z @ ray > 0
        for base in (side, ~side):
            cells = np.repeat(base[None], len(signs), axis=0)
            cells[:, list(on)] = signs
            found.update(cell.tobytes() for cell in cells)
    return _rows(found, n)


def sampled_patterns(x: Array, count: int, *, seed: int = 0) -> Patterns:
    """Patterns of random directions and of the points themselves, at most `count`."""
    rng = np.random.default_rng(seed)
    directions = np.concatenate([x, -x, rng.standard_normal((4 * count, x.shape[1]))])
    found: set[bytes] = set()
    for w in directions:
        found.add((x @ w > 0).tobytes())
        if len(found) >= count:
            break
    return _rows(found, len(x))


def _rows(found: set[bytes], n: int) -> Patterns:
    rows = np.array([np.frombuffer(cell, dtype=bool) for cell in sorted(found)]).reshape(-1, n)
    return rows[rows.any(1)]

"""The cone of margin gradients where ReLUs sit at their kink: generated column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.multipliers import Fit, Gram, fit
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential

__all__ = ["KinkCone", "fit_cone"]


@dataclass(frozen=True)
class KinkCone:
    """`{Σ_i λ_i g_i + Σ_j κ_j d_j : λ >= 0, 0 <= κ_j <= λ_{owner(j)}}`.

    Args:
        base: (m, d) gradients `g_i` with every kink derivative at 0.
        extra: (K, d) what the derivative 1 at kink j adds.
        owner: (K,) the row i of kink j.
    """

    base: NDArray[Any]
    extra: NDArray[Any]
    owner: NDArray[np.intp]

    @staticmethod
    def plain(base: NDArray[Any]) -> KinkCone:
        """A cone without kinks."""
        return KinkCone(base, base[:0], np.zeros(0, dtype=np.intp))

    @property
    def size(self) -> int:
        """m + K, the rows that it is generated from."""
        return len(self.base) + len(self.owner)

    def head(self, count: int) -> KinkCone:
        """The cone of the first rows."""
        if count == len(self.base):
            return self
        mine = self.owner < count
        return KinkCone(self.base[:count], self.extra[mine], self.owner[mine])


def fit_cone(
    cone: KinkCone, target: Subdifferential, *, gram: Gram | None = None, max_rounds: int = 50
) -> Fit:
    """The nearest pair of cone and set; `multipliers` are the λ_i.

    For fixed i the generators are `g_i + Σ_{j∈T} d_j` for every subset T of its kinks. Only those
    that reduce the residual r are generated, `T = {j : ⟨r, d_j⟩ > 0}`, until none is left: by
    convexity that is the optimum over all of them.
    """
    if len(cone.owner) == 0:
        return fit(cone.base, target, gram=gram)
    m = len(cone.base)
    columns, owners = cone.base, np.arange(m)
    seen = {(i, b"") for i in range(m)}
    found = fit(columns, target, gram=gram)
    for _ in range(max_rounds):
        r = found.residual
        gain = _times(cone.extra, r)
        score = _times(cone.base, r) + np.bincount(
            cone.owner, weights=np.maximum(gain, 0), minlength=m
        )
        size = np.linalg.norm(r)
        if size <= 1e-14 * np.linalg.norm(found.element):
            break
        norms = np.sqrt(np.einsum("ij,ij->i", cone.base, cone.base, dtype=np.float64)) + 1e-300
        new, names = [], []
        for i in np.flatnonzero(score > 1e-12 * size * norms):
            on = np.flatnonzero((cone.owner == i) & (gain > 0))
            name = (int(i), on.tobytes())
            if name not in seen:
                seen.add(name)
                new.append(cone.base[i] + cone.extra[on].sum(0))
                names.append(i)
        if not new:
            break
        columns = np.vstack([columns, np.stack(new).astype(columns.dtype)])
        owners = np.append(owners, names)
        better = fit(columns, target)
        if better.epsilon > found.epsilon * (1 - 1e-12) and better.epsilon > 0:
            found = better if better.epsilon < found.epsilon else found
            if len(found.multipliers) < len(columns):
                columns, owners = (
                    columns[: len(found.multipliers)],
                    owners[: len(found.multipliers)],
                )
            break
        found = better
    lam = np.asarray(np.bincount(owners, found.multipliers, m), dtype=np.float64)
    return Fit(lam, found.element, found.residual)


def _times(matrix: NDArray[Any], r: Array) -> Array:
    if matrix.dtype == np.float64:
        product: Array = matrix @ r
        return product
    step = 1 << 16
    out = np.zeros(len(matrix))
    for i in range(0, matrix.shape[1], step):
        out += matrix[:, i : i + step].astype(np.float64) @ r[i : i + step]
    return out

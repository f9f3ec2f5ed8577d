"""A scalar map on singular values: sparse rank or flat spectrum instead of sparse entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.arguments import require_floating, require_pair
from mirrorflow.maps.base import MirrorMap, SeparableMap, keep
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import as_matrix
from mirrorflow.maps.schatten import SchattenHorizon, thin_svd

__all__ = ["Spectral"]


@dataclass(frozen=True)
class Spectral(MirrorMap):
    """`R(X) = Σ_k r(σ_k(X))`, `∇R(X) = U diag(r'(σ)) Vᵀ`: horizon the Schatten norm of the map's.

    A tensor of more than two dimensions (a convolution kernel) is the matrix of its first dimension
    by the rest; a vector is a matrix of one row. `R` is invariant and `∇R` equivariant under
    rotations, `∇R(PXQ) = P ∇R(X) Q`. On a diagonal matrix it is the scalar map; with a single row
    or column it acts on the Euclidean norm.

    Singular values come with an error of the size of the last digit of the largest, and so does
    everything here: small singular values are not relatively accurate, as in any SVD. float32 and
    shorter are computed in float64 (on devices that have it) and rounded once. Second derivatives
    by autograd, that is derivatives of `to_dual`, need distinct singular values.

    Args:
        map: a separable map with `r` even, for instance `Power(3)`.

    Raises:
        TypeError: `map` is not a separable map of this kind.

    Source: Lewis, J. Convex Analysis 1995 (spectral functions are convex with their scalar map).
    """

    facts: ClassVar[Facts] = Facts(
        text="spectral(map)",
        sample="spectral(power(3))",
        dual="U r'(σ) Vᵀ",
        inverse="U r*'(σ) Vᵀ",
        index="of map",
        horizon="Schatten",
        purpose="low rank (map of index 1) or flat spectra of matrices",
    )

    map: SeparableMap

    def __post_init__(self) -> None:
        if not isinstance(self.map, SeparableMap) or not self.map.even:
            raise TypeError(
                f"map = {shown(self.map)} cannot act on singular values; pass a separable map with "
                "an even potential, such as maps.Power(3)"
            )

    @property
    def index(self) -> float:
        """That of the scalar map."""
        return self.map.index

    @property
    def homogeneous(self) -> bool:
        """As the scalar map."""
        return self.map.homogeneous

    def potential(self, x: Tensor) -> Tensor:
        """`Σ_k r(σ_k)`."""
        x = require_floating(x, "x")
        return self.map.potential(torch.linalg.svdvals(as_matrix(_long(x)))).to(x.dtype)

    def dual_energy(self, x: Tensor) -> Tensor:
        """`Σ_k e(σ_k)`."""
        x = require_floating(x, "x")
        return self.map.dual_energy(torch.linalg.svdvals(as_matrix(_long(x)))).to(x.dtype)

    def conjugate(self, u: Tensor) -> Tensor:
        """`Σ_k r*(σ_k(U))`."""
        u = require_floating(u, "u")
        return self.map.conjugate(torch.linalg.svdvals(as_matrix(_long(u)))).to(u.dtype)

    def to_dual(self, x: Tensor) -> Tensor:
        """`U diag(r'(σ)) Vᵀ`."""
        x = require_floating(x, "x")
        left, values, right = thin_svd(as_matrix(_long(x)))
        return _matrix(left, self.map.to_dual(values), right).reshape(x.shape).to(x.dtype)

    def to_primal(self, u: Tensor) -> Tensor:
        """`U diag(r*'(σ)) Vᵀ`."""
        u = require_floating(u, "u")
        left, values, right = thin_svd(as_matrix(_long(u)))
        return _matrix(left, self.map.to_primal(values), right).reshape(u.shape).to(u.dtype)

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`∇R*(∇R(X) − delta)`; where all of delta is 0, x bit for bit.

        Singular values far below the largest are accurate relative to the largest only.
        """
        x, delta = require_pair(x, delta, "delta")
        if not bool(x.isfinite().all()) and bool((delta == 0).all()):
            return x.clone()  # the singular values of an infinite matrix cannot be had
        moved = self.to_primal(self.to_dual(_long(x)) - _long(delta)).to(x.dtype)
        return keep((delta == 0).all(), x, moved)

    def radial_growth(self) -> RadialGrowth:
        """That of the scalar map."""
        return self.map.radial_growth()

    def horizon(self) -> SchattenHorizon:
        """The Schatten norm of the order of the scalar map."""
        order = self.map.horizon().order
        return SchattenHorizon(self.map.index if order is None else order)


def _long(x: Tensor) -> Tensor:
    if x.numel() == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}: an empty matrix has no singular values")
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def _matrix(left: Tensor, values: Tensor, right: Tensor) -> Tensor:
    """`left diag(values) right`; where values are infinite, so are the entries that they reach."""
    beyond = values.isinf()
    if not bool(beyond.any()):
        return (left * values) @ right
    reach = (left * beyond) @ right
    rest = (left * torch.where(beyond, 0.0, values)) @ right
    return torch.where(reach.abs() > 1e-12, reach.sign() * torch.inf, rest)

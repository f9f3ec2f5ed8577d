"""ReLU inside any module, smoothed without taking the module apart.

Every call of `relu` under `smoothed_relu` becomes

    h(z) = (z + sqrt(z^2 + eps^2 m)) / 2,    m the mean of z^2 over the features of a point,

which is of degree 1 in z, so that the module keeps its degree, smooth, and within
`eps sqrt(m) / 2` of `relu`. The scale of a point is shared by the features of a layer: whole layers
keep their balance, single units do not. A layer of one feature shares it with all points.
"""

from __future__ import annotations

from torch import Tensor

from mirrorflow.nets.activation import rounded_relu
from mirrorflow.nets.relu_calls import ReplacedReLU

__all__ = ["smoothed_relu"]

_DEAD = 1e-200  # keeps the root differentiable where a point has no signal at all


def smoothed_relu(eps: float) -> ReplacedReLU:
    """A context in which `relu` is smooth; `eps` is its width relative to the features' size."""
    return ReplacedReLU(lambda _, z: _smooth(z, eps))


def _smooth(z: Tensor, eps: float) -> Tensor:
    own = z.ndim > 1 and z[0].numel() > 1
    mean = z.square().mean(dim=tuple(range(1, z.ndim)) if own else None, keepdim=own)
    return rounded_relu(z, eps * eps * mean + _DEAD)

"""From a torch module and its data to margins with derivatives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.base import LARGE, LinearMargins, Margins
from mirrorflow.flow.margins.exact_relu import KinkedMargins
from mirrorflow.flow.margins.mlp import LayeredMargins
from mirrorflow.flow.margins.module import ModuleMargins, as_array, output_heads
from mirrorflow.flow.margins.two_layer import TwoLayerMargins
from mirrorflow.labels import as_labels
from mirrorflow.losses import check_labels
from mirrorflow.nets import MLP, HomogeneousNet, Linear, check_degree
from mirrorflow.nets.evaluate import copied

__all__ = ["flat_parameters", "net_margins"]


def flat_parameters(net: nn.Module) -> Array:
    """All parameters as one float64 vector (d,), in the order of `net.parameters()`."""
    return np.concatenate([as_array(p).ravel() for p in net.parameters()])


def net_margins(
    net: nn.Module, x: Tensor, y: Tensor, smoothing: float, exact: bool = False
) -> Margins:
    """Margins of `net` on the data, with analytic derivatives for the library's dense nets.

    Args:
        net: the network; a `relu` net is followed as the `smooth_relu` net with eps = smoothing,
            and `relu` in any other module as in `smoothed_relu`.
        x: (n, …) points.
        y: (n,) labels.
        smoothing: the eps for `relu`.
        exact: take a two-layer `relu` net as it is, with sliding modes.

    Raises:
        ValueError: labels or features that do not fit, or exact kinks of a net that is not a
            two-layer `relu` net with one output.
        NotHomogeneousError: the module has no degree.
    """
    x = x.detach().to("cpu", torch.float64)
    if isinstance(net, Linear | MLP):
        margins = _dense(net, x, y, smoothing, exact)
    elif exact:
        raise ValueError(_EXACT)
    else:
        copy = copied(net, torch.float64).to("cpu")
        y = check_labels(copy(x), y)
        degree = net.degree if isinstance(net, HomogeneousNet) else check_degree(copy, x).total
        margins = ModuleMargins(copy.requires_grad_(False), x, y, degree, smoothing)
    if isinstance(net, HomogeneousNet):
        margins.attach_junctions(*_junction_indices(net, margins))
    return margins


_EXACT = (
    'relu = Exact() is implemented for TwoLayer nets with activation "relu" and one output; '
    "use relu = Smooth(eps) and repeat with a smaller eps to see what that changes"
)


def _dense(net: Linear | MLP, x: Tensor, y: Tensor, smoothing: float, exact: bool) -> Margins:
    classes = None if net.binary else (net.sizes[-1] if isinstance(net, MLP) else len(net.weight))
    y = as_labels(y, classes, points=len(x)).cpu()
    points = as_array(x.flatten(1) if x.ndim > 1 else x[:, None])
    features = net.d if isinstance(net, Linear) else net.sizes[0]
    if points.shape[1] != features:
        raise ValueError(
            f"x has {points.shape[1]} features a point, but the net takes {features}; "
            f"pass x of shape (n, {features})"
        )
    if net.bias:
        points = np.concatenate([points, np.ones((len(points), 1))], 1)
    heads, point = output_heads(y, classes)
    if exact:
        if not isinstance(net, MLP) or len(net.weights) != 2 or classes is not None:
            raise ValueError(_EXACT)
        if net.activation != "relu":
            raise ValueError(_EXACT)
        return KinkedMargins(points, heads[:, 0], net.sizes[1])
    if isinstance(net, Linear) or len(net.weights) == 1:
        rows = heads[:, :, None] * points[point][:, None, :]
        margins: Margins = LinearMargins(rows.reshape(len(rows), -1))
        margins.point = point
        return margins
    eps = net.eps if net.activation == "smooth_relu" else smoothing
    kind = "smooth_relu" if net.activation == "relu" else net.activation
    n, inputs = points.shape
    dense = n * max(net.sizes[1] * (inputs + 1), (inputs + 1) ** 2) <= LARGE
    if len(net.weights) == 2 and classes is None and kind == "smooth_relu" and dense:
        return TwoLayerMargins(points, heads[:, 0], net.sizes[1], eps)
    shapes = [(int(w.shape[0]), int(w.shape[1])) for w in net.weights]
    return LayeredMargins(points, heads, point, shapes, kind, eps, net.degree)


def _junction_indices(
    net: HomogeneousNet, margins: Margins
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], list[float]]:
    """For each junction, the unit that a coordinate comes into and goes out of (-1: none)."""
    where, start = {}, 0
    for name, p in net.named_parameters():
        where[name] = (start, tuple(p.shape))
        start += p.numel()
    incoming, outgoing, degrees = [], [], []
    for junction in net.junctions:
        into, out = np.full(start, -1), np.full(start, -1)
        begin, shape = where[junction.incoming]
        size = int(np.prod(shape))
        into[begin : begin + size] = np.repeat(np.arange(shape[0]), size // shape[0])
        begin, shape = where[junction.outgoing]
        index = np.indices(shape)
        unit = index[1] if len(shape) == 4 else index[-1] // junction.repeat
        out[begin : begin + int(np.prod(shape))] = unit.ravel()
        if _couples_units(net, junction.outgoing):
            into, out = np.minimum(into, 0), np.minimum(out, 0)
        incoming.append(into[margins.order])
        outgoing.append(out[margins.order])
        degrees.append(junction.degree)
    return incoming, outgoing, degrees


def _couples_units(net: HomogeneousNet, outgoing: str) -> bool:
    """True if only whole layers balance: the smoothing of a hidden layer above a unit sees the norm
    of all its inputs, so rescaling a single unit changes f by a share of eps^2. That of other nets
    sees all features of a layer."""
    if not isinstance(net, MLP):
        return True
    last = f"weights.{len(net.weights) - 1}"
    return net.activation in ("smooth_relu", "relu") and outgoing != last

"""The weights of the strongest units as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_integer, as_tensor, shown
from mirrorflow.nets import HomogeneousNet
from mirrorflow.plot.theme import new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_tiles", "weights"]


@styled
def weights(
    net: nn.Module | Tensor,
    *,
    shape: tuple[int, int] | None = None,
    count: int = 16,
    columns: int = 8,
    ax: Axes | None = None,
) -> Axes:
    """The first-layer weights of the strongest units, each an image scaled to its own largest.

    Orange-red is positive, blue negative. Units are ordered by the Euclidean norm of their weights.

    Args:
        net: a module, whose first weight with at least two dimensions is taken, or the weights
            themselves: (m, d), (m, height, width) or (m, channels, height, width), the mean over
            channels. The column of a bias is left out.
        shape: (height, width) of a row of d weights; by default its square root twice.
        count: at most so many units.
        columns: images in a row.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: neither a net nor weights, weights that are no images of that shape,
            NaN, infinity, or nothing but zeros.
        MissingExtraError: matplotlib is not installed.
    """
    count = as_integer(count, "count", least=1)
    columns = as_integer(columns, "columns", least=1)
    tiles = _images(*_first(net), shape)
    order = np.argsort(-np.linalg.norm(tiles.reshape(len(tiles), -1), axis=1), kind="stable")
    tiles = tiles[order[:count]]
    wide = min(columns, len(tiles))
    ax = new_axes(ax, height=1.3 * math.ceil(len(tiles) / wide) / wide + 0.1)
    return draw_tiles(ax, tiles, columns)


def draw_tiles(ax: Axes, tiles: Array, columns: int) -> Axes:
    """Images (m, height, width) in rows, a gap of one pixel between them."""
    m, height, width = tiles.shape
    columns = min(columns, m)
    rows = math.ceil(m / columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for k, tile in enumerate(tiles):
        top, left = k // columns * (height + 1), k % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile / (float(np.abs(tile).max()) or 1.0)
    ax.imshow(sheet, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    return ax


def _first(net: Any) -> tuple[Tensor, bool]:
    """The first weights, and whether a last column is that of the constant input."""
    if not isinstance(net, nn.Module):
        if isinstance(net, str) or not isinstance(net, Tensor | np.ndarray | list | tuple):
            raise TypeError(
                f"net = {shown(net)} is a {type(net).__name__}; pass a torch.nn.Module, or weights "
                "of shape (m, d)"
            )
        return as_tensor(net, "net").detach(), False
    for p in net.parameters():
        if p.ndim >= 2:
            return p.detach(), isinstance(net, HomogeneousNet) and bool(getattr(net, "bias", 0))
    raise ValueError("net has no weight with two dimensions, so that there is no image to show")


def _images(values: Tensor, bias: bool, shape: Any) -> Array:
    if values.numel() == 0 or values.ndim not in (2, 3, 4):
        raise ValueError(
            f"net: weights of shape {tuple(values.shape)} are no images; pass (m, d), "
            "(m, height, width) or (m, channels, height, width)"
        )
    values = values.to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()) or not bool(values.any()):
        raise ValueError("net: weights are NaN, infinite, or all 0; there is no image to show")
    if values.ndim == 4:
        values = values.mean(1)
    if values.ndim == 3:
        return values.numpy()
    values = values[:, :-1] if bias else values
    height, width = _sides(values.shape[1], shape)
    return values.reshape(-1, height, width).numpy()


def _sides(d: int, shape: Any) -> tuple[int, int]:
    if shape is None:
        side = math.isqrt(d)
        if side * side != d:
            raise ValueError(
                f"net has {d} weights a unit, which is no square; pass shape=(height, width)"
            )
        return side, side
    if not isinstance(shape, tuple | list | torch.Size) or len(shape) != 2:
        raise TypeError(f"shape = {shown(shape)}; pass (height, width)")
    height, width = (as_integer(side, "shape", least=1) for side in shape)
    if height * width != d:
        raise ValueError(f"shape = {shown(shape)} is not that of net, which has {d} weights a unit")
    return height, width

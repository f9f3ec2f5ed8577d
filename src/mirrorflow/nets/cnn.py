"""A small convolutional network and VGG, without biases and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch

from mirrorflow.checks import as_choice, as_integer, as_number
from mirrorflow.nets.convolution import ConvLayer, ConvNet, Pool
from mirrorflow.nets.init import as_sizes

__all__ = ["CNN", "VGG"]

_VGG: dict[int, tuple[tuple[int, int], ...]] = {
    11: ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)),
    16: ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)),
}

_WIDEST = 1000.0


def _as_pool(value: Any) -> Pool:
    return cast("Pool", as_choice(value, "pool", get_args(Pool)))


class CNN(ConvNet):
    """Convolutions with pooling after each, then fully connected ReLU layers; see `ConvNet`.

    Degree: `len(channels) + len(hidden) + 1`.

    Args:
        image: (C, H, W) of one point.
        channels: of the convolutions.
        hidden: widths of the fully connected layers.
        classes: None for a binary net, else the number of classes.
        kernel: side of the kernels, odd.
        pool: "avg", "max", "stride" (convolutions that step by two) or "none".
        init_scale: factor on every initial weight.
        generator: source of the initial weights.

    Raises:
        ValueError, TypeError: bad sizes, kernel or pooling.
    """

    def __init__(
        self,
        image: Sequence[int],
        channels: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (128,),
        *,
        classes: int | None = None,
        kernel: int = 3,
        pool: Pool = "avg",
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        channels = as_sizes(channels, "channels")
        if not channels:
            raise ValueError("channels is empty; pass those of at least one convolution")
        pool = _as_pool(pool)
        super().__init__(
            image,
            [ConvLayer(size, pool) for size in channels],
            hidden=hidden,
            classes=classes,
            kernel=kernel,
            init_scale=init_scale,
            generator=generator,
        )


class VGG(ConvNet):
    """VGG-11 or VGG-16 for small images: 3×3 convolutions in five groups, pooled after each.

    As is usual on CIFAR, one linear layer follows the convolutions, so the degree is 9 or 14;
    `hidden=(512, 512)` gives the eleven and sixteen weight layers of the name. There is no
    normalisation, which would break homogeneity.

    Args:
        image: (C, H, W) of one point.
        depth: 11 or 16.
        width: factor on the channels 64, 128, 256, 512, 512.
        hidden: widths of fully connected ReLU layers before the last (not multiplied).
        classes: None for a binary net, else the number of classes.
        pool: "max", as published, "avg" or "stride".
        init_scale: factor on every initial weight.
        generator: source of the initial weights.

    Raises:
        ValueError, TypeError: another depth, a width that is not positive, bad sizes.

    Source: Simonyan & Zisserman, ICLR 2015, configurations A and D.
    """

    def __init__(
        self,
        image: Sequence[int],
        depth: Literal[11, 16] = 11,
        *,
        width: float = 1.0,
        hidden: Sequence[int] = (),
        classes: int | None = None,
        pool: Pool = "max",
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        blocks = _VGG.get(as_integer(depth, "depth"))
        if blocks is None:
            raise ValueError(f"depth = {depth!r} is not a VGG of this library; choose 11 or 16")
        width = as_number(width, "width", above=0, most=_WIDEST)
        pool = _as_pool(pool)
        layers = []
        for size, count in blocks:
            channels = max(1, round(size * width))
            layers += [ConvLayer(channels)] * (count - 1) + [ConvLayer(channels, pool)]
        super().__init__(
            image,
            layers,
            hidden=hidden,
            classes=classes,
            init_scale=init_scale,
            generator=generator,
        )

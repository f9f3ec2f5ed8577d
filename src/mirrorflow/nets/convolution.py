"""Convolutional networks without biases: layers in a row, some channels of which stay linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from mirrorflow.checks import as_choice, as_flag, as_integer, as_number, shown
from mirrorflow.nets.base import HomogeneousNet, Junction, check_input
from mirrorflow.nets.init import (
    as_classes,
    as_generator,
    as_size,
    as_sizes,
    empty_weight,
    normal_,
)

__all__ = ["ConvLayer", "ConvNet", "Pool", "as_image"]

Pool = Literal["avg", "max", "stride", "none"]


@dataclass(frozen=True)
class ConvLayer:
    """One convolution of a `ConvNet`, its activation, and the pooling after it.

    Attributes:
        channels: outputs.
        pool: "avg" or "max" over 2×2 squares, "stride" (the convolution steps by two), "none".
            A map with a side of one pixel is not pooled any further.
        linear: the last so many channels skip the ReLU.
    """

    channels: int
    pool: Pool = "none"
    linear: int = 0


class ConvNet(HomogeneousNet):
    """`f(θ; x) = W_D σ(… P σ(W_2 * P σ(W_1 * x)))`, P pooling: bias-free, degree `L = D`.

    Convolution is linear in its kernel, ReLU and pooling (average or maximum) are homogeneous of
    degree 1, and a channel that skips the ReLU is too: every tensor counts 1. The hidden units of
    the balance equation are the channels, and behind the last convolution each channel owns all
    of its flattened positions.

    Args:
        image: (C, H, W) of one point.
        layers: the convolutions, zero-padded to keep the size.
        hidden: widths of fully connected ReLU layers behind them.
        classes: None for a binary net, else the number of classes.
        kernel: side of the kernels, odd.
        global_pool: average each channel over all positions before the fully connected layers.
        init_scale: factor on every initial weight.
        generator: source of the initial weights: `N(0, 2/fan_in)`, last layer `N(0, 1/fan_in)`.
            `fan_in` counts the taps that fall on the image, on average over the positions: on the
            2×2 maps deep in a VGG more than half of a 3×3 kernel lies on the padding, and without
            normalisation that would shrink the signal from layer to layer.

    Raises:
        ValueError, TypeError: bad sizes, kernel or pooling.

    Source: initialisation after He, Zhang, Ren & Sun, ICCV 2015.
    """

    def __init__(
        self,
        image: Sequence[int],
        layers: Sequence[ConvLayer],
        *,
        hidden: Sequence[int] = (),
        classes: int | None = None,
        kernel: int = 3,
        global_pool: bool = False,
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        kernel, hidden, classes = (
            as_size(kernel, "kernel"),
            as_sizes(hidden, "hidden"),
            as_classes(classes),
        )
        if kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}; an odd kernel keeps the size of the map")
        self.image, self.layers, self.kernel = as_image(image), _as_layers(layers), kernel
        self.global_pool, self.classes = as_flag(global_pool, "global_pool"), classes
        init_scale = as_number(init_scale, "init_scale", above=0)
        generator = as_generator(generator)
        channels, height, width = self.image
        weights = []
        self.fan_in: list[float] = []
        for layer in self.layers:
            step = 2 if layer.pool == "stride" and min(height, width) > 1 else 1
            taps = _taps(height, kernel, step) * _taps(width, kernel, step)
            self.fan_in.append(channels * taps)
            shape = (layer.channels, channels, kernel, kernel)
            weights.append(empty_weight(shape, "layers (or kernel, or channels)"))
            channels, height, width = layer.channels, -(-height // step), -(-width // step)
            if layer.pool in ("avg", "max") and min(height, width) > 1:
                height, width = height // 2, width // 2
        self.positions = 1 if global_pool else height * width
        sizes = [channels * self.positions, *hidden, classes or 1]
        for before, after in zip(sizes, sizes[1:], strict=False):
            self.fan_in.append(before)
            weights.append(empty_weight((after, before), "image (or hidden, or classes)"))
        for i, weight in enumerate(weights):
            gain = 1.0 if i == len(weights) - 1 else 2.0
            normal_(weight, init_scale * (gain / self.fan_in[i]) ** 0.5, generator)
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights)

    @property
    def layer_degrees(self) -> dict[str, float]:
        """1 for every tensor."""
        return {f"weights.{i}": 1.0 for i in range(len(self.weights))}

    @property
    def binary(self) -> bool:
        """True without `classes`."""
        return self.classes is None

    @property
    def junctions(self) -> tuple[Junction, ...]:
        """One per hidden layer; its units are channels up to the last convolution."""
        last = len(self.layers) - 1
        return tuple(
            Junction(
                f"weights.{i}",
                f"weights.{i + 1}",
                len(self.weights[i]),
                repeat=self.positions if i == last else 1,
            )
            for i in range(len(self.weights) - 1)
        )

    def activations(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of every hidden layer before pooling: (n, channels, H, W), then (n, m)."""
        return self._pass(x, keep=True)[1]

    def forward(self, x: Tensor) -> Tensor:
        """x (n, C, H, W) to (n,) for a binary net, else (n, classes)."""
        out = self._pass(x, keep=False)[0]
        return out[:, 0] if self.binary else out

    def _pass(self, x: Tensor, *, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, kept = self._points(x), []
        weights = list(self.weights)
        for layer, weight in zip(self.layers, weights, strict=False):
            step = 2 if layer.pool == "stride" and min(h.shape[2:]) > 1 else 1
            z = functional.conv2d(h, weight, stride=step, padding=self.kernel // 2)
            if layer.linear:
                active = layer.channels - layer.linear
                h = torch.cat([torch.relu(z[:, :active]), z[:, active:]], dim=1)
            else:
                h = torch.relu(z)
            if keep:
                kept.append(h)
            if layer.pool in ("avg", "max") and min(h.shape[2:]) > 1:
                pool = functional.avg_pool2d if layer.pool == "avg" else functional.max_pool2d
                h = pool(h, 2)
        h = h.mean((2, 3)) if self.global_pool else h.flatten(1)
        *hidden, last = weights[len(self.layers) :]
        for weight in hidden:
            h = torch.relu(h @ weight.T)
            if keep:
                kept.append(h)
        return h @ last.T, tuple(kept)

    def _points(self, x: Tensor) -> Tensor:
        check_input(x, self.weights[0])
        if tuple(x.shape[1:]) != self.image:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; the net takes images of shape (n, "
                f"{', '.join(map(str, self.image))})"
            )
        return x


def _taps(size: int, kernel: int, step: int) -> float:
    """How many taps of a kernel fall inside `size` pixels, on average over its positions."""
    half = kernel // 2
    counts = [min(at + half, size - 1) - max(at - half, 0) + 1 for at in range(0, size, step)]
    return sum(counts) / len(counts)


def as_image(value: Any) -> tuple[int, ...]:
    """(channels, height, width) of one point.

    Raises:
        TypeError, ValueError: anything but three sizes.
    """
    image = as_sizes(value, "image")
    if len(image) != 3:
        raise ValueError(f"image = {image}; pass the (channels, height, width) of one point")
    return image


def _as_layers(value: Any) -> tuple[ConvLayer, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(v, ConvLayer) for v in value):
        raise TypeError(
            f"layers = {shown(value)} is not a sequence of ConvLayer; pass [ConvLayer(16), ...]"
        )
    if not value:
        raise ValueError("layers is empty; pass at least one convolution, or take an MLP")
    layers = []
    for i, layer in enumerate(value):
        channels = as_size(layer.channels, f"layers[{i}].channels")
        pool: Any = as_choice(layer.pool, f"layers[{i}].pool", get_args(Pool))
        linear = as_integer(layer.linear, f"layers[{i}].linear", least=0, most=channels)
        layers.append(ConvLayer(channels, pool, linear))
    return tuple(layers)

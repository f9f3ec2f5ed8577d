"""A residual network that is homogeneous: its skip paths carry weights, as many as its branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mirrorflow.checks import as_integer, as_number
from mirrorflow.nets.convolution import ConvLayer, ConvNet
from mirrorflow.nets.init import as_sizes, normal_

__all__ = ["ResidualNet"]

# Of He's deviation. Exact zeros are singular points of some maps: power(p) with p ≠ 2 has
# r'' = 0 or ∞ there.
_NOISE = 0.1


class ResidualNet(ConvNet):
    """Blocks `h ↦ σ(B₂ * σ(B₁ * h) + S₂ * S₁ * h)`: a branch and a linear skip path.

    A residual block `h + B₂ * σ(B₁ * h)` is *not* homogeneous: the identity has degree 0 in the
    weights, the branch degree 2. Here the skip path has weights of its own, `S₁` and `S₂`, as
    many layers as the branch, so that both have degree 2 and add up; `S₁` and `S₂` *start* as the
    identity (Dirac kernels, plus small noise), and the block starts as an ordinary residual one.

    The kernels `B₁, S₁` are stacked in one tensor, and `B₂, S₂` side by side in the next: a block
    is two convolutions between which the last half of the channels skip the ReLU. Every tensor
    has degree 1, every channel balances, and the net has `L = 2 + 2·blocks·len(channels)` layers.

    Initialisation without normalisation, after Fixup: with K blocks, branches start as He's,
    times `K^{−1/2}`, so that the signal grows by a bounded factor (e, in the square) over any
    depth. Fixup's biases would break homogeneity and are left out.

    Args:
        image: (C, H, W) of one point.
        channels: of the stages; the first block of each but the first halves the map.
        blocks: in each stage.
        classes: None for a binary net, else the number of classes.
        init_scale: factor on every initial weight.
        generator: source of the initial weights.

    Raises:
        ValueError, TypeError: bad sizes.

    Source: He, Zhang, Ren & Sun, CVPR 2016; Zhang, Dauphin & Ma (Fixup), ICLR 2019.
    """

    def __init__(
        self,
        image: Sequence[int],
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        *,
        classes: int | None = None,
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        blocks, channels = (
            as_integer(blocks, "blocks", least=1, most=1000),
            as_sizes(channels, "channels"),
        )
        init_scale = as_number(init_scale, "init_scale", above=0)
        if not channels:
            raise ValueError("channels is empty; pass the channels of at least one stage")
        layers = [ConvLayer(channels[0])]
        for stage, size in enumerate(channels):
            for block in range(blocks):
                halve = stage > 0 and block == 0
                layers += [
                    ConvLayer(2 * size, "stride" if halve else "none", linear=size),
                    ConvLayer(size),
                ]
        super().__init__(
            image,
            layers,
            classes=classes,
            global_pool=True,
            init_scale=init_scale,
            generator=generator,
        )
        count = blocks * len(channels)
        for i in range(1, 2 * count, 2):
            self._start_block(i, init_scale, count, generator)

    @torch.no_grad()
    def _start_block(
        self, i: int, init_scale: float, count: int, generator: torch.Generator | None
    ) -> None:
        into, out = self.weights[i], self.weights[i + 1]
        size = len(out)
        # The branch alone feeds its second layer: half of the channels that fan_in counts.
        normal_(out[:, :size], init_scale * (4 / (self.fan_in[i + 1] * count)) ** 0.5, generator)
        middle = self.kernel // 2
        for kernel in (into[size:], out[:, size:]):
            kernel.mul_(_NOISE)
            for channel in range(min(kernel.shape[:2])):
                kernel[channel, channel, middle, middle] += init_scale

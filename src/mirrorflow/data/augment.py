"""Augmentation of a batch, in tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from mirrorflow.checks import as_integer, as_tensor, shown

__all__ = ["crop_flip"]


def crop_flip(x: Tensor, generator: torch.Generator, *, padding: int = 4) -> Tensor:
    """Random crops of the zero-padded images, half of them mirrored left to right.

    Each image is padded by `padding` zeros on every side (the mean colour, where channels are
    standardised), cut back to its size at a random place, and mirrored with probability 1/2: the
    standard augmentation of CIFAR-10.

    Args:
        x: (n, C, H, W), of any dtype.
        generator: of all draws, on the CPU; the same state gives the same result.
        padding: ≥ 0.

    Raises:
        TypeError: x is not a tensor, the generator is not one, or the padding not an integer.
        ValueError: x is not a batch of images, a padding outside 0 … 10,000, or a generator that is
            not on the CPU.

    Source: He, Zhang, Ren & Sun, CVPR 2016, section 4.2.
    """
    x = as_tensor(x, "x")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x has shape {tuple(x.shape)}; augmentation takes images (n, C, H, W)")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator = {shown(generator)}; pass a torch.Generator()")
    if generator.device.type != "cpu":
        raise ValueError(f"generator is on {generator.device}; pass torch.Generator() on the CPU")
    padding = as_integer(padding, "padding", least=0, most=10_000)
    n, _, height, width = x.shape
    top, left = (torch.randint(0, 2 * padding + 1, (n, 1), generator=generator) for _ in range(2))
    flip = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.arange(width).expand(n, -1)
    columns = torch.where(flip, width - 1 - columns, columns) + left
    rows = torch.arange(height) + top
    padded = torch.nn.functional.pad(x, (padding,) * 4).movedim(1, -1)
    at = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded[tuple(i.to(x.device) for i in at)].movedim(-1, 1)

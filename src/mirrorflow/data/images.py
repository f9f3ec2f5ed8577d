"""Images that stay uint8 in memory and are floats wherever they are used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mirrorflow.checks import as_number, as_tensor, shown

__all__ = ["Images"]


def _numbers(values: Any, name: str, above: float = -math.inf) -> tuple[float, ...]:
    if isinstance(values, (Tensor, np.ndarray)):
        if isinstance(values, Tensor) and values.device.type == "meta":
            raise TypeError(f"{name} is on the device meta, where it has no values")
        values = as_tensor(values, name).flatten().double().cpu().tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TypeError(
            f"{name} = {shown(values)} is a {type(values).__name__}; pass a number for each channel"
        )
    return tuple(as_number(v, name, above=above) for v in values)


class Images(Tensor):
    """A tensor `(x/255 − mean_c)/std_c` of shape (n, C, H, W), kept as its uint8 values x.

    Indexing the points gives an ordinary tensor of those points (batches are normalised on the
    fly); `to` gives `Images` of another dtype or on another device, sharing memory where it can.
    Every other operation works too, on the whole of it as an ordinary tensor: four to eight times
    the memory, for as long as it lasts.

    Args:
        raw: (n, C, H, W) uint8.
        mean: of each channel, on the scale 0 … 1.
        std: likewise, > 0.
        dtype: what it reads as.

    Raises:
        TypeError: raw is not uint8, dtype not floating-point, or moments that are not numbers.
        ValueError: wrong shapes, or a deviation that is not positive.
    """

    raw: Tensor
    moments: tuple[tuple[float, ...], tuple[float, ...]]

    @staticmethod
    def __new__(
        cls: type[Images],
        raw: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: torch.dtype = torch.float32,
    ) -> Images:
        raw = as_tensor(raw, "raw")
        if not isinstance(dtype, torch.dtype):
            raise TypeError(f"dtype = {shown(dtype)}; pass a floating-point torch.dtype")
        if raw.dtype != torch.uint8 or not dtype.is_floating_point:
            raise TypeError(f"raw has dtype {raw.dtype}, dtype = {dtype}; pass uint8 and a float")
        means, stds = _numbers(mean, "mean"), _numbers(std, "std", above=0.0)
        if raw.ndim != 4 or not len(means) == len(stds) == raw.shape[1]:
            raise ValueError(
                f"raw has shape {tuple(raw.shape)}, mean {shown(means)}, std {shown(stds)}; "
                "pass (n, C, H, W), C means and C positive deviations"
            )
        made: Images = torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, dtype=dtype, device=raw.device, requires_grad=False
        )
        made.raw, made.moments = raw, (means, stds)
        return made

    def _floats(self, values: Tensor) -> Tensor:
        shape = (-1, 1, 1)
        mean, std = (
            (255 * torch.tensor(m, dtype=torch.float64)).reshape(shape).to(self.device, self.dtype)
            for m in self.moments
        )
        return values.to(self.dtype).sub_(mean).div_(std)

    def dense(self) -> Tensor:
        """All of it as an ordinary tensor."""
        return self._floats(self.raw)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, tuple):  # it may cut channels, each of which has its own scale
            return self.dense()[index]
        return self._floats(self.raw[index])

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `Tensor.to`; the values stay uint8 if the new dtype is floating-point."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        dtype = dtype or self.dtype
        raw = self.raw if device is None else self.raw.to(device)
        if dtype.is_floating_point:
            return Images(raw, *self.moments, dtype)
        return self.dense().to(*args, **kwargs)

    def __reduce_ex__(self, _: Any) -> tuple[type[Images], tuple[Any, ...]]:
        return Images, (self.raw, *self.moments, self.dtype)

    def __deepcopy__(self, _: Any) -> Images:
        return Images(self.raw.clone(), *self.moments, self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Images(shape={tuple(self.shape)}, dtype={self.dtype}, device={self.device})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        def plain(value: Any) -> Any:
            return value.dense() if isinstance(value, Images) else value

        return func(*tree_map(plain, args), **tree_map(plain, kwargs or {}))

"""A data set: points and labels for training, and for test where there are any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirrorflow.data.images import Images

__all__ = ["Dataset", "check_points"]


@dataclass(frozen=True)
class Dataset:
    """Points `x` (n, …) with labels `y` (n,): ±1 if `classes` is None, else indices 0 … C−1.

    Contract: checked when it is made (see `check_points`); the test set may be empty (n = 0).
    `notes` says what a reader of results has to know, such as that only a part was found.
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int | None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_points(self.x, self.y, self.classes)
        if len(self.x_test):
            check_points(self.x_test, self.y_test, self.classes, names=("x_test", "y_test"))

    @property
    def features(self) -> int:
        """Numbers a point."""
        return self.x[0].numel()

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Dataset:
        """The same data with points of another dtype, on another device."""
        return replace(
            self,
            x=self.x.to(device, dtype),
            y=self.y.to(device),
            x_test=self.x_test.to(device, dtype),
            y_test=self.y_test.to(device),
        )


def check_points(
    x: Tensor, y: Tensor, classes: int | None, *, names: tuple[str, str] = ("x", "y")
) -> None:
    """Refuse points and labels that no classifier can use.

    Args:
        x: (n, …) floating-point.
        y: (n,) labels.
        classes: None for ±1, else the number C of classes.
        names: how the message calls x and y.

    Raises:
        ValueError: empty, unequal length, NaN or infinity, labels outside what is allowed, or a
            single class.
        TypeError: x is not floating-point, or class indices are not integers.
    """
    xs, ys = names
    if not x.is_floating_point():
        raise TypeError(f"{xs} has dtype {x.dtype}; pass floating-point points")
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"{xs} has shape {tuple(x.shape)} and {ys} {tuple(y.shape)}; pass {xs} of shape "
            f"(n, ...) and {ys} of shape (n,) with n >= 1"
        )
    # Images come from bytes: they are finite, and looking would unfold them all.
    bad = None if isinstance(x, Images) else ~torch.isfinite(x.flatten(1)).all(1)
    if bad is not None and bool(bad.any()):
        raise ValueError(
            f"{xs} holds NaN or infinity in {int(bad.sum())} of {len(x)} points, first in point "
            f"{int(bad.nonzero()[0])}; drop or impute them"
        )
    found = torch.unique(y)
    if classes is None:
        if not bool(((y == 1) | (y == -1)).all()):
            raise ValueError(
                f"{ys} holds {found[:5].tolist()}; binary labels are -1 and +1 (from 0/1: 2*y - 1)"
            )
    elif y.is_floating_point():
        raise TypeError(f"{ys} has dtype {y.dtype}; class indices are integers")
    elif bool(((y < 0) | (y >= classes)).any()):
        raise ValueError(f"{ys} holds {found[:5].tolist()}; class indices are 0 ... {classes - 1}")

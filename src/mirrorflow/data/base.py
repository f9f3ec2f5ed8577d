"""A data set: points and labels for training, and for test where there are any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirrorflow.checks import as_flag, as_points, as_tensor, shown
from mirrorflow.data.images import Images
from mirrorflow.labels import as_labels, as_targets

__all__ = ["Dataset", "check_points"]


@dataclass(frozen=True)
class Dataset:
    """Points `x` (n, …) with labels `y` (n,): ±1 if `classes` is None, else indices 0 … C−1.

    With `targets=True` `y` holds real targets (n,), of the square loss, and `classes` is None.

    Contract: checked when it is made (see `check_points`), and then `y` and `y_test` are int64, or
    floats if they are targets; the test set may be empty (n = 0). `notes` says what a reader of
    results has to know, such as that only a part was found; `source` is the absolute path of the
    file that it was read from, if any.

    Raises:
        TypeError, ValueError: see `check_points`; or test points of another shape.
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int | None
    notes: tuple[str, ...] = ()
    source: str = ""
    targets: bool = False

    def __post_init__(self) -> None:
        for key in ("name", "source"):
            if not isinstance(getattr(self, key), str):
                raise TypeError(f"{key} = {shown(getattr(self, key))} is not text; pass a str")
        if not isinstance(self.notes, tuple) or not all(isinstance(n, str) for n in self.notes):
            raise TypeError(f"notes = {shown(self.notes)}; pass a tuple of texts")
        targets = as_flag(self.targets, "targets")
        x, y = check_points(self.x, self.y, self.classes, targets=targets)
        x_test, y_test = as_tensor(self.x_test, "x_test"), self.y_test
        if x_test.ndim and len(x_test):
            names = ("x_test", "y_test")
            x_test, y_test = check_points(
                x_test, y_test, self.classes, names=names, targets=targets
            )
            if x_test.shape[1:] != x.shape[1:]:
                raise ValueError(
                    f"x_test has points of shape {tuple(x_test.shape[1:])} and x of "
                    f"{tuple(x.shape[1:])}; pass points of one shape"
                )
        else:
            empty = as_tensor(y_test, "y_test")
            if not x_test.ndim or not empty.ndim or len(empty):
                raise ValueError(
                    f"x_test has shape {tuple(x_test.shape)} and y_test {tuple(empty.shape)}; pass "
                    "as many labels as points, both empty (n = 0) if there is no test set"
                )
            kind = torch.float64 if targets else torch.int64
            y_test = torch.zeros(0, dtype=kind, device=empty.device)
        for key, value in (("x", x), ("y", y), ("x_test", x_test), ("y_test", y_test)):
            object.__setattr__(self, key, value)

    @property
    def features(self) -> int:
        """Numbers a point."""
        return self.x[0].numel()

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Dataset:
        """The same data with points of another dtype, on another device.

        Args:
            dtype: floating-point.
            device: where torch can compute.

        Raises:
            TypeError: another dtype.
            ValueError: a device that is not there, or points beyond what the dtype can hold.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise TypeError(f"dtype = {shown(dtype)}; pass a floating-point torch.dtype")
        try:
            torch.zeros(1, device=device)
        except Exception as error:  # torch raises five kinds here
            raise ValueError(
                f"device = {shown(device)} cannot be used ({' '.join(str(error).split())[:200]}); "
                'pass "cpu", or a device that torch finds here'
            ) from error
        return replace(
            self,
            x=self.x.to(device, dtype),
            y=self.y.to(device, dtype if self.targets else self.y.dtype),
            x_test=self.x_test.to(device, dtype),
            y_test=self.y_test.to(device, dtype if self.targets else self.y_test.dtype),
        )


def check_points(
    x: Tensor,
    y: Tensor,
    classes: int | None,
    *,
    names: tuple[str, str] = ("x", "y"),
    targets: bool = False,
) -> tuple[Tensor, Tensor]:
    """Points and labels as a classifier takes them: floating-point tensors, and int64 labels.

    Args:
        x: (n, …) floating-point, a tensor or an array.
        y: (n,) labels, see `mirrorflow.labels.as_labels`.
        classes: None for ±1, else the number C of classes.
        names: how the message calls x and y.
        targets: whether y holds real targets, one a point; then `classes` is None.

    Raises:
        ValueError: empty, unequal length, NaN or infinity, or labels outside what is allowed.
        TypeError: x is not floating-point, or class indices are not integers.
    """
    if not isinstance(names, tuple) or [type(text) for text in names] != [str, str]:
        raise TypeError(f"names = {shown(names)}; pass two texts, such as ('x', 'y')")
    xs, ys = names
    x = as_tensor(x, xs)
    if not x.is_floating_point():
        raise TypeError(f"{xs} has dtype {x.dtype}; pass floating-point points")
    if x.dtype.itemsize < 2 or x.device.type == "meta":
        raise TypeError(f"{xs} is {x.dtype} on {x.device}, where nothing can be computed from it")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(
            f"{xs} has shape {tuple(x.shape)}; pass {xs} of shape (n, ...) with n >= 1 points of "
            "at least one number each"
        )
    # Images come from bytes: they are finite, and looking would unfold them all.
    x = x if isinstance(x, Images) else as_points(x, xs)
    if as_flag(targets, "targets"):
        if classes is not None:
            raise ValueError(
                f"classes = {shown(classes)} with real targets, which have no classes; pass None"
            )
        return x, as_targets(y, (len(x),), name=ys, of=f"points {xs}")
    labels = as_labels(y, classes, name=ys)
    if len(labels) != len(x):
        raise ValueError(
            f"{xs} has shape {tuple(x.shape)} and {ys} {tuple(labels.shape)}; pass {xs} of shape "
            f"(n, ...) and {ys} of shape (n,) with n >= 1"
        )
    return x, labels

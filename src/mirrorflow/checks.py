"""What a public function does with a bad argument: one clear refusal, and NumPy values are values.

Each function returns the argument as the type that the code behind it computes with, or raises a
`TypeError` (a wrong kind of thing) or a `ValueError` (a value outside what is allowed) that names
the argument, its value and the cure.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "as_choice",
    "as_flag",
    "as_function",
    "as_integer",
    "as_net",
    "as_number",
    "as_path",
    "as_points",
    "as_tensor",
    "shown",
]


def shown(value: Any, *, limit: int = 80) -> str:
    """The value as a message prints it: one line, cut where it is long, tensors by their shape."""
    if isinstance(value, Tensor) and value.numel() > 1:
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's __repr__ may do anything; the message must still come
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def as_number(
    value: Any,
    name: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    infinite: bool = False,
) -> float:
    """A real number within `above < value < below` and `least ≤ value ≤ most`, as a float.

    Ints, floats, fractions, NumPy scalars, and arrays and tensors with one entry and no dimension
    count as numbers; booleans and text do not. NaN is refused, ±∞ unless `infinite`.

    Raises:
        TypeError: not a real number.
        ValueError: NaN, infinite or out of range.
    """
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass a number (int or float)"
        )
    number = _double(value)
    inside = above < number < below or (infinite and math.isinf(number))
    allowed = least <= number <= most and inside and (infinite or math.isfinite(number))
    if not allowed:
        bounds = _interval(above, least, below, most, infinite)
        raise ValueError(f"{name} = {shown(value)} is not allowed; choose {name} in {bounds}")
    return number


def _double(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer or a fraction beyond the doubles
        return math.inf if value > 0 else -math.inf


def _interval(above: float, least: float, below: float, most: float, infinite: bool) -> str:
    """The allowed values in the notation of intervals, `(0, 1]`."""
    low, high = max(above, least), min(below, most)
    left = "[" if least > above or (infinite and low == -math.inf) else "("
    right = "]" if most < below or (infinite and high == math.inf) else ")"
    return f"{left}{low:g}, {high:g}{right}"


def as_integer(value: Any, name: str, *, least: int | None = None, most: int | None = None) -> int:
    """An integer within `least ≤ value ≤ most`, as an int; NumPy integers count, booleans do not.

    Raises:
        TypeError: not an integer.
        ValueError: out of range.
    """
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass an int")
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        low = "" if least is None else f"{least} <= "
        high = "" if most is None else f" <= {most}"
        raise ValueError(f"{name} = {shown(number)} is not allowed; choose {low}{name}{high}")
    return number


def as_flag(value: Any, name: str) -> bool:
    """True or False, as a bool; 0, 1 and text are refused, since "no" would be true.

    Raises:
        TypeError: not a boolean.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass True or False")
    return bool(value)


def as_choice(value: Any, name: str, options: Sequence[str]) -> Any:
    """One of the texts.

    Raises:
        TypeError: not text.
        ValueError: not one of the options.
    """
    listed = ", ".join(repr(option) for option in options)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; choose one of {listed}"
        )
    if value not in options:
        meant = nearest(value, options)
        raise ValueError(f"{name} = {shown(value)} is unknown; {meant}choose one of {listed}")
    return value


def nearest(value: str, options: Iterable[str]) -> str:
    """`"did you mean 'mnist'? "`, or nothing where no option is close."""
    close = get_close_matches(value, list(options), 1)
    return f"did you mean {close[0]!r}? " if close else ""


def as_function(value: Any, name: str, of: str) -> Any:
    """Something that can be called; `of` says with what.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(value):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass a function of {of}"
        )
    return value


def as_path(value: Any, name: str = "path") -> Path:
    """The path of a file or folder, which need not exist.

    Raises:
        TypeError: no text and no path.
        ValueError: empty text, or a zero byte in it.
    """
    if isinstance(value, bytes) or not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass a path")
    if not os.fspath(value) or "\0" in str(value):
        raise ValueError(
            f"{name} = {shown(value)} is not a path; pass the path of a file or folder"
        )
    return Path(value)


def as_net(value: Any, name: str = "net") -> nn.Module:
    """A `torch.nn.Module`.

    Raises:
        TypeError: something else, such as a class that was not called.
    """
    if not isinstance(value, nn.Module):
        what = f"the class {value.__name__}" if isinstance(value, type) else shown(value)
        raise TypeError(
            f"{name} = {what} is not a network; pass a torch.nn.Module (an instance of one)"
        )
    return value


def as_tensor(value: Any, name: str) -> Tensor:
    """A dense tensor of real numbers (or integers, or booleans), from a tensor or a NumPy array.

    Arrays of any byte order and stride are taken; the dtype is kept. Nothing is said of the values.

    Raises:
        TypeError: text, objects, complex, quantized or sparse entries, or not an array at all.
    """
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError:  # rows of unequal length
            value = np.asarray(None)
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise TypeError(
                f"{name} has dtype {array.dtype}; pass real numbers "
                f"(np.asarray({name}, dtype=np.float64))"
            )
        native = array.dtype.newbyteorder("=")
        value = torch.from_numpy(np.array(array, dtype=native, order="C", copy=True))
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass a torch.Tensor or an array"
        )
    if value.layout is not torch.strided:
        raise TypeError(f"{name} is sparse ({value.layout}); pass {name}.to_dense()")
    if value.is_quantized:
        raise TypeError(f"{name} is quantized ({value.dtype}); pass {name}.dequantize()")
    if value.is_complex():
        raise TypeError(f"{name} is complex ({value.dtype}); pass real numbers")
    return value


def as_points(value: Any, name: str = "x") -> Tensor:
    """Points `(n, …)`, n ≥ 1, floating-point and finite; integers become the default dtype.

    Raises:
        TypeError: see `as_tensor`.
        ValueError: no points, or entries that are NaN or infinite.
    """
    points = as_tensor(value, name)
    if not points.is_floating_point():
        points = points.to(torch.get_default_dtype())
    if points.ndim == 0 or points.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(points.shape)}: there are no points; pass shape (n, ...) "
            "with n >= 1"
        )
    bad = ~torch.isfinite(
        points.detach().flatten(1) if points.ndim > 1 else points.detach()[:, None]
    )
    if bool(bad.any()):
        rows = bad.any(1)
        raise ValueError(
            f"{name} holds NaN or infinity in {int(rows.sum())} of {len(points)} points, first in "
            f"point {int(rows.nonzero()[0])}; drop or impute them"
        )
    return points

"""Labels and targets: what they may be, and the conversion that every function applies first.

There are three doors. `as_labels` is that of functions: the labels of a net with one output are ±1,
those of a net with C outputs are the class indices 0 … C−1, and nothing is guessed. `read_labels`
is that of data files, where people keep whatever their classes are called: it numbers them, and
says how in a note. Behind both, labels are int64 of shape (n,). `as_targets` takes the real numbers
that the square loss fits, and no class labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirrorflow.checks import as_integer, as_tensor, shown

__all__ = ["Labels", "as_labels", "as_targets", "read_labels"]

_Array = NDArray[Any]
_SHOWN = 5


def as_labels(y: Any, classes: int | None, *, points: int | None = None, name: str = "y") -> Tensor:
    """Labels that fit a net with one output (`classes=None`, ±1) or C outputs (0 … C−1), as int64.

    | entries | `classes=None` | `classes=C` |
    |---|---|---|
    | any integer type | −1 and +1 | 0 … C−1 |
    | floats | −1.0 and +1.0 | refused |
    | booleans | False is −1, True is +1 | for C = 2: False is 0, True is 1 |
    | text, objects, complex numbers, NaN, fractions | refused | refused |

    Shape (n, 1) counts as (n,). One-hot rows are refused: `y.argmax(1)` are the indices. The values
    are not looked at within `torch.compile`, `torch.vmap` over the labels, or on the device "meta".

    Args:
        y: labels: a tensor, an array of any byte order, or a list.
        classes: None for ±1, else the number C ≥ 2 of classes.
        points: number n of points that they belong to; None takes any n ≥ 1.
        name: how a message calls `y`.

    Returns:
        (n,) int64 on the device of `y`, detached.

    Raises:
        TypeError: not numbers, or floats or booleans where class indices are needed.
        ValueError: a wrong shape, or labels outside what is allowed.
    """
    if classes is not None:
        classes = as_integer(classes, "classes", least=2, most=2**31)
    if points is not None:
        points = as_integer(points, "points", least=0)
    labels = _numbers(y, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _check_shape(labels, points, name)
    if labels.dtype == torch.bool:
        if classes is not None and classes > 2:
            raise TypeError(
                f"{name} holds booleans, which label two classes and not {classes}; pass integer "
                f"labels 0 ... {classes - 1}"
            )
        return labels.long() if classes else 2 * labels.long() - 1
    whole = labels.to(torch.int64)
    if not _hidden(labels):
        _check_values(labels, whole, classes, name)
    return whole


def as_targets(y: Any, shape: tuple[int, ...], *, name: str = "y", of: str = "outputs") -> Tensor:
    """Real targets of the square loss, one for each output of each point.

    Integers and booleans are refused: they are class labels more often than not, and a loss that
    fits their numbers would mean something else. `y.double()` says that they are meant.

    Args:
        y: floating-point and finite: a tensor, an array or a list.
        shape: of the outputs, (n,) or (n, C); (n, 1) counts as (n,).
        name: how a message calls `y`.
        of: how a message calls what the targets belong to.

    Returns:
        A detached tensor of that shape, in float64 if `y` is no tensor of another kind of floats.

    Raises:
        TypeError: integers, booleans, text, objects or complex numbers.
        ValueError: another shape, or NaN or infinity.
    """
    targets = as_tensor(y, name).detach()
    if not targets.is_floating_point():
        raise TypeError(
            f"{name} has dtype {targets.dtype}, as class labels have, but the square loss fits "
            f"real targets; pass {name}.double() if these numbers are the targets, or a loss for "
            'classes ("cross_entropy")'
        )
    if targets.ndim == 2 and targets.shape[1] == 1 and len(shape) == 1:
        targets = targets[:, 0]
    if tuple(targets.shape) != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(targets.shape)}; the square loss takes one target an output, "
            f"shape {tuple(shape)} for these {of}"
        )
    if not _hidden(targets) and not bool(torch.isfinite(targets).all()):
        first = int((~torch.isfinite(targets)).nonzero()[0][0])
        raise ValueError(f"{name} holds NaN or infinity, first in point {first}; drop that point")
    return targets


def _check_values(labels: Tensor, whole: Tensor, classes: int | None, name: str) -> None:
    # Floats of few bits cannot be compared.
    seen = labels.double() if labels.is_floating_point() else whole
    if classes is None:
        good = (seen == 1) | (seen == -1)
    else:
        good = (whole == seen) & (seen >= 0) & (seen < classes)
    if labels.dtype == torch.uint64:  # 2^64 − 1 is −1 in int64
        good &= whole >= 0
    if not bool(good.all()):
        _refuse(labels, whole, good, classes, name)
    if classes is not None and labels.is_floating_point():
        raise TypeError(
            f"{name} has dtype {labels.dtype}, but class indices are integers; pass integer labels "
            f"0 ... {classes - 1} ({name}.long())"
        )


def _numbers(y: Any, name: str) -> Tensor:
    """A detached tensor of numbers; what is not is refused as labels."""
    kind = ""
    if not isinstance(y, Tensor):
        if not isinstance(y, (np.ndarray, np.generic, list, tuple)):
            raise TypeError(
                f"{name} = {shown(y)} is a {type(y).__name__}; pass labels (n,), a torch.Tensor or "
                "an array"
            )
        try:
            y = np.asarray(y)
        except Exception:  # rows of unequal length, or entries whose __array__ does anything
            kind = "rows of unequal length"
        else:
            kind = {"U": "text", "S": "text", "O": "objects", "c": "complex numbers"}.get(
                y.dtype.kind, "" if y.dtype.kind in "fiub" else str(y.dtype)
            )
    elif y.is_complex():
        kind = "complex numbers"
    if kind:
        raise TypeError(
            f"{name} holds {kind}; labels are integers: -1 and +1, or class indices 0 ... C-1 "
            f"(np.unique({name}, return_inverse=True)[1] numbers classes)"
        )
    return as_tensor(y, name).detach()


def _check_shape(labels: Tensor, points: int | None, name: str) -> None:
    want = "(n,) with n >= 1" if points is None else f"({points},) for {points} points"
    shape = tuple(labels.shape)
    if labels.ndim == 2 and not _hidden(labels) and _is_one_hot(labels.cpu()):
        raise ValueError(
            f"{name} has shape {shape} and is one-hot; pass class indices, shape {want}: "
            f"{name}.argmax(1)"
        )
    if labels.ndim != 1 or (points is None and not len(labels)) or points not in (None, shape[0]):
        raise ValueError(f"{name} has shape {shape}; pass one label a point, shape {want}")


def _is_one_hot(labels: Tensor) -> bool:
    if labels.shape[1] < 2 or not len(labels):
        return False
    on = labels.double()
    return bool(((on == 0) | (on == 1)).all() and (on.sum(1) == 1).all())


def _hidden(labels: Tensor) -> bool:
    """True where there are no values to look at: traced, batched, or without memory."""
    batched: bool = torch._C._functorch.is_batchedtensor(labels)
    return torch.compiler.is_compiling() or labels.device.type == "meta" or batched


def _refuse(labels: Tensor, whole: Tensor, good: Tensor, classes: int | None, name: str) -> None:
    wrong = ~good
    first = int(wrong.nonzero()[0])
    bad = labels.double()[wrong] if labels.is_floating_point() else whole[wrong]
    if labels.dtype == torch.uint64:
        values: list[Any] = np.unique(labels[wrong].cpu().numpy())[:_SHOWN].tolist()
    else:
        values = torch.unique(bad)[:_SHOWN].tolist()
    text = f"{name} holds labels {values} ({labels.dtype}, first in point {first})"
    bits = 8 * labels.dtype.itemsize
    if str(labels.dtype).startswith("torch.uint") and values == [2**bits - 1]:
        text += f", which is -1 wrapped around in {bits} bits without a sign,"
    hint = ""
    if labels.is_floating_point() and bool((bad != bad.round()).any()):
        hint = (
            '. Real targets have no margin: with loss = "square" a linear model ends at the '
            "interpolant of exact.min_bregman; for other nets no limit is known here"
        )
    if classes is None:
        raise ValueError(
            f"{text} but binary labels are -1 and +1; a net with one output takes labels -1 and +1 "
            f"(from 0/1: 2*{name} - 1), a net with C outputs class indices 0 ... C-1{hint}"
        )
    raise ValueError(
        f"{text} but class indices are 0 ... {classes - 1} (classes = {classes}); pass integer "
        f"labels 0 ... {classes - 1} (from 1 ... {classes}: {name} - 1){hint}"
    )


@dataclass(frozen=True)
class Labels:
    """Labels of training and test points, read by one table.

    Attributes:
        y: (n,) int64, ±1 if `classes` is None, else 0 … C−1.
        y_test: (m,) int64, m ≥ 0.
        classes: None or C ≥ 2.
        notes: what became of labels that were called otherwise; empty if nothing changed.
    """

    y: Tensor
    y_test: Tensor
    classes: int | None
    notes: tuple[str, ...]


def read_labels(y: Any, y_test: Any = None, *, names: tuple[str, str] = ("y", "y_test")) -> Labels:
    """Labels of a data file, whatever the classes are called there.

    Labels −1 and +1 stay. All others are classes: the distinct labels of `y`, sorted, are numbered
    0 … C−1, and a note says so where that changes them (1 … C, {3, 7}, text, booleans). Rows that
    are one-hot count as the index of their column. So every class occurs in `y`. Each label of
    `y_test` gets the number that `y` gives it; one that `y` does not hold is refused.

    Args:
        y: (n,), (n, 1) or one-hot (n, C): integers, whole floats, booleans or text.
        y_test: likewise, (m,) with m ≥ 0, or None.
        names: how a message calls them.

    Raises:
        TypeError: objects, complex numbers, dates and records.
        ValueError: fractions, NaN, wrong shapes, fewer than two classes, or labels of `y_test` that
            `y` does not hold.
    """
    name, test_name = names
    train, columns = _column(y, name)
    if not len(train):
        raise ValueError(f"{name} has shape (0,): there are no labels; pass one a point")
    test, test_columns = train[:0], columns
    if y_test is not None and (np.ndim(y_test) == 0 or len(y_test)):
        test, test_columns = _column(y_test, test_name)
    if columns != test_columns or (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        raise ValueError(
            f"{test_name} is {_described(test, test_columns)} and {name} "
            f"{_described(train, columns)}; write both in the same way"
        )
    found, index = np.unique(train, return_inverse=True)
    values: list[Any] = found.tolist()
    boolean = train.dtype.kind == "b"
    binary = columns is None and not boolean and set(values) <= {-1, 1}
    if not binary and len(values) < 2:
        raise ValueError(
            f"{name} holds only the label {values[0]!r}; a classifier needs two classes or more "
            "(labels -1 and +1, or class indices)"
        )
    numbers = [-1, 1] if binary else list(range(len(values)))
    table: dict[Any, int] = dict(zip([-1, 1] if binary else values, numbers, strict=True))
    others, test_index = np.unique(test, return_inverse=True)
    foreign = [v for v in others.tolist() if v not in table]
    if foreign:
        raise ValueError(
            f"{test_name} holds labels {foreign[:_SHOWN]}, which {name} does not (it holds "
            f"{_listed(values)}); leave those points out, or give {name} points of these classes"
        )
    notes = []
    if columns is not None:
        notes.append(f"{name} is one-hot: a label is the index of its column, 0 ... {columns - 1}")
    if not binary and (boolean or values != numbers):
        what = "columns" if columns is not None else "labels"
        notes.append(
            f"{name}: the {what} {_listed(values)} are the classes {_listed(numbers)} here"
        )

    def numbered(values: _Array, index: _Array) -> Tensor:
        codes = np.array([table[v] for v in values.tolist()], dtype=np.int64)
        return torch.from_numpy(codes[index.reshape(-1)])

    return Labels(
        numbered(found, index),
        numbered(others, test_index),
        None if binary else len(values),
        tuple(notes),
    )


def _column(values: Any, name: str) -> tuple[_Array, int | None]:
    """The labels (n,) as native integers, booleans or text; the number of columns if one-hot."""
    if isinstance(values, Tensor):
        if values.device.type == "meta":
            raise TypeError(f"{name} is on the device meta, where it has no values")
        values = as_tensor(values, name).detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    array: _Array = values
    try:
        array = np.asarray(array)
    except Exception as error:
        raise TypeError(f"{name} holds rows of unequal length; pass labels (n,)") from error
    if array.dtype.kind not in "fiubUS" or array.dtype == np.longdouble:
        raise TypeError(
            f"{name} has dtype {array.dtype}; labels are integers or text, such as "
            f"{name}.astype(int) or {name}.astype(str)"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    array = array.astype(array.dtype.newbyteorder("="))
    columns = None
    if array.ndim == 2 and array.dtype.kind in "fiub":
        if not _is_one_hot(torch.from_numpy(array.astype(np.float64))):
            raise ValueError(
                f"{name} has shape {array.shape} and is not one-hot; pass one label a point, (n,)"
            )
        array, columns = array.argmax(1), array.shape[1]
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; pass one label a point, shape (n,)")
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} holds bytes that are not text in UTF-8 ({error})") from error
    if array.dtype.kind == "f":
        floats = array.astype(np.float64)
        if not np.isfinite(floats).all():
            at = int(np.flatnonzero(~np.isfinite(floats))[0])
            raise ValueError(f"{name} holds NaN or infinity, first in point {at}; drop that point")
        if (floats != np.round(floats)).any() or np.abs(floats).max(initial=0.0) > 2**53:
            raise ValueError(
                f"{name} holds fractions or numbers beyond 2^53, such as "
                f"{floats[(floats != np.round(floats)) | (np.abs(floats) > 2**53)][0]:g}; labels "
                "are -1/+1 or classes 0 ... C-1, in whole numbers"
            )
        array = floats.astype(np.int64)
    return array, columns


def _described(labels: _Array, columns: int | None) -> str:
    if columns is not None:
        return f"one-hot with {columns} columns"
    return "text" if labels.dtype.kind == "U" else "one label a point"


def _listed(values: list[Any]) -> str:
    shown_ones = [shown(v, limit=30) for v in values]
    if len(values) > 2 * _SHOWN:
        shown_ones = [*shown_ones[: _SHOWN - 1], "...", shown_ones[-1]]
    return ", ".join(shown_ones)

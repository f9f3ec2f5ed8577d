"""A data set by its name, or from a user's own file."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirrorflow.data.base import Dataset
from mirrorflow.data.digits import digits
from mirrorflow.data.synthetic import blobs, one_point, random_labels, teacher
from mirrorflow.data.vision import cifar10, fashion_mnist, mnist
from mirrorflow.errors import DataError

__all__ = ["SOURCES", "load"]

SOURCES: dict[str, Callable[..., Dataset]] = {
    "blobs": blobs,
    "cifar10": cifar10,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "one_point": one_point,
    "random_labels": random_labels,
    "teacher": teacher,
}


def load(name: str, **options: Any) -> Dataset:
    """The data set `name`, or the arrays `x` and `y` (and `x_test`, `y_test`) of an .npz file.

    Args:
        name: a key of `SOURCES`, or a path that ends in ".npz".
        **options: arguments of the source, such as `n`, `d` and `seed`.

    Raises:
        ValueError: unknown name or option, NaN, wrong shapes or labels.
        DataError: a file that is missing or cannot be read.
    """
    if name.endswith(".npz"):
        if options:
            raise ValueError(f"data options {sorted(options)} do not apply to the file {name}")
        return _from_file(Path(name))
    if name not in SOURCES:
        raise ValueError(
            f"data = {name!r} is unknown; choose one of {sorted(SOURCES)} or a path to an .npz "
            "file with the arrays x and y"
        )
    source = SOURCES[name]
    allowed = list(inspect.signature(source).parameters)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"data {name!r} has no option {unknown}; it takes {allowed}")
    return source(**options)


def _from_file(path: Path) -> Dataset:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; pass a path to an .npz file") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); write it with numpy.savez(path, x=x, y=y)"
        ) from error
    missing = {"x", "y"} - set(arrays)
    if missing:
        raise DataError(f"{path} has no array {sorted(missing)}; it holds {sorted(arrays)}")
    x, x_test = (_points(arrays, key, path) for key in ("x", "x_test"))
    if not len(x_test):
        x_test = x[:0]
    y, y_test = (torch.as_tensor(arrays.get(key, np.zeros(0))) for key in ("y", "y_test"))
    binary = bool(((y == 1) | (y == -1)).all())
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise ValueError(f"y in {path} holds fractions; labels are -1/+1 or 0 ... C-1")
    y, y_test = y.to(torch.int64), y_test.to(torch.int64)
    classes = None if binary else max(int(y.max()) + 1, 2) if len(y) else None
    return Dataset(path.stem, x, y, x_test, y_test, classes)


def _points(arrays: dict[str, np.ndarray[Any, Any]], key: str, path: Path) -> torch.Tensor:
    array = arrays.get(key, np.zeros((0, 1)))
    if array.dtype.kind not in "fiub":
        raise DataError(f"{key} in {path} has dtype {array.dtype}; numbers are needed")
    return torch.as_tensor(array.astype(np.float64))

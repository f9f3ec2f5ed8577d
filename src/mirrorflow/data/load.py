"""A data set by its name, or from a user's own file."""

from __future__ import annotations

import inspect
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mirrorflow.checks import as_flag, nearest, shown
from mirrorflow.data.base import Dataset
from mirrorflow.data.digits import digits
from mirrorflow.data.synthetic import blobs, one_point, random_labels, sparse_targets, teacher
from mirrorflow.data.vision import cifar10, fashion_mnist, mnist
from mirrorflow.errors import DataError
from mirrorflow.labels import read_labels

__all__ = ["SOURCES", "load"]

SOURCES: dict[str, Callable[..., Dataset]] = {
    "blobs": blobs,
    "cifar10": cifar10,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "one_point": one_point,
    "random_labels": random_labels,
    "sparse_targets": sparse_targets,
    "teacher": teacher,
}


def load(name: str | os.PathLike[str], *, targets: bool = False, **options: Any) -> Dataset:
    """The data set `name`, or the arrays `x` and `y` (and `x_test`, `y_test`) of an .npz file.

    Points of a file are read as float64 and not scaled; what its labels may be and how they are
    numbered says `mirrorflow.labels.read_labels`. `notes` of the result says what was changed or
    left out, and `source` is the absolute path.

    Args:
        name: a key of `SOURCES`, or a path that ends in ".npz".
        targets: read the `y` of a file as real targets, of the square loss: floats, one a point.
        **options: arguments of the source, such as `n`, `d` and `seed`.

    Raises:
        TypeError: a name that is neither text nor a path.
        ValueError: unknown name or option, NaN, wrong shapes or labels.
        DataError: a file that is missing or cannot be read.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name = {shown(name)} is a {type(name).__name__}; pass text or a path")
    name = os.fspath(name)
    if name.endswith(".npz"):
        if options:
            raise ValueError(f"data options {sorted(options)} do not apply to the file {name}")
        return _from_file(Path(os.path.expanduser(name)).absolute(), as_flag(targets, "targets"))
    if name not in SOURCES:
        raise ValueError(
            f"name = {name!r} is unknown; {nearest(name, SOURCES)}choose one of {sorted(SOURCES)} "
            "or a path to an .npz file with the arrays x and y"
        )
    source = SOURCES[name]
    allowed = list(inspect.signature(source).parameters)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"data {name!r} has no option {unknown}; it takes {allowed}")
    points = source(**options)
    if as_flag(targets, "targets") and not points.targets:
        raise ValueError(
            f"targets = True, but {name!r} has class labels; take {_WITH_TARGETS!r}, or an .npz "
            "file whose y holds floats"
        )
    return points


_WITH_TARGETS = "sparse_targets"


def _from_file(path: Path, targets: bool) -> Dataset:
    arrays = _arrays(path)
    missing = {"x", "y"} - set(arrays)
    if missing:
        raise DataError(f"{path} has no array {sorted(missing)}; it holds {sorted(arrays)}")
    alone = {"x_test", "y_test"} & set(arrays)
    if len(alone) == 1:
        raise DataError(
            f"{path} holds {alone.pop()} alone; write x_test and y_test together, or neither"
        )
    notes = []
    others = sorted(set(arrays) - {"x", "y", "x_test", "y_test"})
    if others:
        notes.append(f"the arrays {', '.join(others)} of {path.name} are not read")
    x = _points(arrays["x"], "x", path)
    none = x.new_zeros(0, *x.shape[1:])
    x_test = _points(arrays["x_test"], "x_test", path) if "x_test" in arrays else none
    if x_test.ndim and not len(x_test):
        x_test = none
    if arrays["x"].dtype == np.uint8:
        notes.append("x holds bytes: they are read as the numbers 0 ... 255 and not scaled")
    try:
        if targets:
            return Dataset(
                path.stem, x, torch.from_numpy(arrays["y"]), x_test,
                torch.from_numpy(arrays.get("y_test", np.zeros(0))), None, tuple(notes),
                str(path), targets=True,
            )  # fmt: skip
        labels = read_labels(arrays["y"], arrays.get("y_test"))
        return Dataset(
            path.stem, x, labels.y, x_test, labels.y_test, labels.classes,
            (*notes, *labels.notes), str(path),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            with file:
                return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; pass a path to an .npz file") from error
    # A damaged file can fail in any of these ways within zipfile and numpy.
    except (ArithmeticError, EOFError, LookupError, MemoryError, OSError) as error:
        raise _unreadable(path, error) from error
    except (RuntimeError, SyntaxError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error
    except (struct.error, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read ({error}); write it with numpy.savez(path, x=x, y=y), in numbers "
        "or text and not in objects"
    )


def _points(array: np.ndarray[Any, Any], key: str, path: Path) -> torch.Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{key} in {path} has dtype {array.dtype}; numbers are needed")
    with np.errstate(over="ignore"):  # beyond doubles is infinite, and refused as that
        return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))

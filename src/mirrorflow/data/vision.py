"""MNIST, Fashion-MNIST and CIFAR-10: from checked files to data sets, whole or in part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from mirrorflow.checks import as_choice, as_integer, as_number, shown
from mirrorflow.data.base import Dataset
from mirrorflow.data.cifar import read_cifar_batch
from mirrorflow.data.files import VisionSet, cache_folder, check_file, find, locate
from mirrorflow.data.idx import read_idx
from mirrorflow.data.images import Images
from mirrorflow.data.synthetic import as_seed
from mirrorflow.errors import DataError

__all__ = ["Normalise", "cifar10", "fashion_mnist", "mnist"]

Normalise = Literal["standard", "unit"]
_Part = tuple[Tensor, Tensor]
_Folder = str | os.PathLike[str] | None

# Mean and deviation of the training pixels, by channel, on the scale 0 … 1.
_MOMENTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}


def mnist(
    *,
    classes: Sequence[int] | None = None,
    n: int | None = None,
    n_test: int | None = None,
    label_noise: float = 0.0,
    normalise: Normalise = "standard",
    seed: int = 0,
    data_dir: _Folder = None,
) -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits, (n, 1, 28, 28), ten classes.

    Args:
        classes: take only these classes; two of them make a binary set, the first −1, the second
            +1, more are numbered from 0 in the order given.
        n: training points, drawn without replacement by the seed; None takes all.
        n_test: likewise for the test set.
        label_noise: share of training labels, in [0, 1], that are replaced by another class.
        normalise: "standard", `(x − mean)/std` by the moments of the training set, or "unit",
            [0, 1].
        seed: of draws and noise.
        data_dir: folder with the files; None is `$MIRRORFLOW_DATA`, else the user's cache.

    Raises:
        DataError: the files are missing or not what their hash promises; the cure is in the text.
        ValueError: an option out of range.

    Source: LeCun, Bottou, Bengio & Haffner 1998; CC BY-SA 3.0.
    """
    chosen = _Choice(classes, n, n_test, label_noise, normalise, seed)
    return _dataset("mnist", _read_idx_set("mnist", data_dir), chosen, ())


def fashion_mnist(
    *,
    classes: Sequence[int] | None = None,
    n: int | None = None,
    n_test: int | None = None,
    label_noise: float = 0.0,
    normalise: Normalise = "standard",
    seed: int = 0,
    data_dir: _Folder = None,
) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 pieces of clothing, (n, 1, 28, 28), ten classes.

    Args, Raises: as for `mnist`.

    Source: Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MIT licence.
    """
    chosen = _Choice(classes, n, n_test, label_noise, normalise, seed)
    return _dataset("fashion_mnist", _read_idx_set("fashion_mnist", data_dir), chosen, ())


def cifar10(
    *,
    classes: Sequence[int] | None = None,
    n: int | None = None,
    n_test: int | None = None,
    label_noise: float = 0.0,
    normalise: Normalise = "standard",
    seed: int = 0,
    data_dir: _Folder = None,
) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 colour photographs, (n, 3, 32, 32), ten classes.

    A folder that holds only some of the five training batches is used as far as it goes, and
    `notes` says so.

    Args, Raises: as for `mnist`.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    chosen = _Choice(classes, n, n_test, label_noise, normalise, seed)
    published = find("cifar10")
    there = locate(published, data_dir)
    read = {
        file.name: read_cifar_batch(there[file.name], check_file(there[file.name], file))
        for file in published.files
        if file.name in there
    }
    test = read.pop("test_batch", None)
    if not read:
        raise _missing(published, there, data_dir)
    notes = []
    if len(read) < 5:
        absent = [f.name for f in published.files[:5] if f.name not in read]
        notes.append(
            f"cifar10: {len(read)} of 5 training batches found, "
            f"{sum(len(y) for _, y in read.values())} of 50000 points ({', '.join(absent)} missing)"
        )
    if test is None:
        notes.append("cifar10: test_batch is missing, so there is no test set")
        test = (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    images, labels = zip(*read.values(), strict=True)
    parts = ((torch.cat(images), torch.cat(labels)), test)
    return _dataset("cifar10", parts, chosen, tuple(notes))


def _read_idx_set(name: str, data_dir: _Folder) -> tuple[_Part, _Part]:
    chosen = find(name)
    there = locate(chosen, data_dir)
    if len(there) < len(chosen.files):
        raise _missing(chosen, there, data_dir)
    a, b, c, d = (
        read_idx(there[file.name], check_file(there[file.name], file)) for file in chosen.files
    )
    return (a[:, None], b.to(torch.int64)), (c[:, None], d.to(torch.int64))


def _missing(chosen: VisionSet, there: dict[str, Path], data_dir: _Folder) -> DataError:
    root = cache_folder(data_dir)
    absent = [file.name for file in chosen.files if file.name not in there]
    return DataError(
        f"{chosen.name} is not complete in {root / chosen.folder} (missing: {', '.join(absent)}). "
        f"Fetch it with: mirrorflow data fetch {chosen.name}; or set MIRRORFLOW_DATA to a folder "
        f"that holds {chosen.folder}/"
    )


class _Choice:
    """Which part of a set is wanted; checked before any file is read."""

    def __init__(
        self,
        classes: Sequence[int] | None,
        n: int | None,
        n_test: int | None,
        label_noise: float,
        normalise: str,
        seed: int,
    ) -> None:
        self.classes = _check_classes(classes)
        self.n = None if n is None else as_integer(n, "n")
        self.n_test = None if n_test is None else as_integer(n_test, "n_test", least=0)
        self.label_noise = as_number(label_noise, "label_noise", least=0, most=1)
        self.normalise = as_choice(normalise, "normalise", get_args(Normalise))
        self.seed = as_seed(seed)


def _dataset(
    name: str, parts: tuple[_Part, _Part], chosen: _Choice, notes: tuple[str, ...]
) -> Dataset:
    g = torch.Generator().manual_seed(chosen.seed)
    (x, y), (x_test, y_test) = (
        _subset(part, chosen.classes, size, g, key)
        for part, size, key in zip(parts, (chosen.n, chosen.n_test), ("n", "n_test"), strict=True)
    )
    count = len(chosen.classes)
    wrong = torch.rand(len(y), generator=g) < chosen.label_noise
    shift = torch.randint(1, count, (len(y),), generator=g)
    y = torch.where(wrong, (y + shift) % count, y)
    if count == 2:
        y, y_test = 2 * y - 1, 2 * y_test - 1
    channels = x.shape[1]
    unit = ((0.0,) * channels, (1.0,) * channels)
    mean, std = _MOMENTS[name] if chosen.normalise == "standard" else unit
    points = (Images(part, mean, std) for part in (x, x_test))
    return Dataset(
        name, next(points), y, next(points), y_test, None if count == 2 else count, notes
    )


def _check_classes(classes: Sequence[int] | None) -> list[int]:
    if classes is None:
        return list(range(10))
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable):
        raise TypeError(
            f"classes = {shown(classes)} is a {type(classes).__name__}; pass a list of integers"
        )
    wanted = [as_integer(v, "an entry of classes") for v in _ten(classes)]
    if not all(0 <= v < 10 for v in wanted):
        raise ValueError(f"classes = {shown(wanted)}; the classes are the integers 0 ... 9")
    if len(wanted) < 2 or len(set(wanted)) < len(wanted):
        raise ValueError(f"classes = {wanted}; pass two or more different ones")
    return wanted


def _ten(classes: Iterable[int]) -> list[int]:
    """At most eleven, since there are ten and an iterable may have no end."""
    try:
        return list(islice(classes, 11))
    except TypeError as error:  # an array or a tensor without a dimension
        raise TypeError(f"classes = {shown(classes)}; pass a list of integers") from error


def _subset(
    part: _Part, wanted: list[int], size: int | None, g: torch.Generator, key: str
) -> _Part:
    x, y = part
    number = torch.full((10,), -1)
    number[wanted] = torch.arange(len(wanted))
    y = number[y]
    keep = (y >= 0).nonzero()[:, 0]
    if size is not None:
        least = 1 if key == "n" else 0
        # An absent test set stays absent, whatever is asked of it.
        if not least <= size <= len(keep) and (len(y) or size < least):
            raise ValueError(f"{key} = {size}; there are {len(keep)} points of these classes")
        keep = keep[torch.randperm(len(keep), generator=g)[:size]]
    elif len(keep) == len(y):
        return x, y
    return x[keep], y[keep]

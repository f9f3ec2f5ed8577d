"""The files of the vision sets: where they are looked for, where they come from, their sha256."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_choice, shown
from mirrorflow.errors import DataError

__all__ = ["VISION", "VisionFile", "VisionSet", "cache_folder", "check_file", "find", "locate"]


@dataclass(frozen=True)
class VisionFile:
    """One file as its authors publish it: name, sha256 of its bytes, addresses to fetch it from
    (none for a member of an archive)."""

    name: str
    sha256: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class VisionSet:
    """The files of one set.

    Attributes:
        name: as in `data.load`.
        folder: below the data folder.
        files: all of them.
        licence, points: for the list.
        archive: the tar file that holds `files`, where they are not published one by one.
    """

    name: str
    folder: str
    files: tuple[VisionFile, ...]
    licence: str
    points: str
    archive: VisionFile | None = None


_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)


def _idx(bases: tuple[str, ...], **hashes: str) -> tuple[VisionFile, ...]:
    names = {
        "train_images": "train-images-idx3-ubyte.gz",
        "train_labels": "train-labels-idx1-ubyte.gz",
        "test_images": "t10k-images-idx3-ubyte.gz",
        "test_labels": "t10k-labels-idx1-ubyte.gz",
    }
    return tuple(
        VisionFile(name, hashes[key], tuple(base + name for base in bases))
        for key, name in names.items()
    )


VISION: dict[str, VisionSet] = {
    "mnist": VisionSet(
        "mnist",
        "mnist",
        _idx(
            _MNIST,
            train_images="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            train_labels="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            test_images="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            test_labels="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        "CC BY-SA 3.0 (LeCun, Cortes, Burges)",
        "60,000 + 10,000, 28×28",
    ),
    "fashion_mnist": VisionSet(
        "fashion_mnist",
        "fashion-mnist",
        _idx(
            _FASHION,
            train_images="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            train_labels="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            test_images="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            test_labels="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        "MIT (Zalando SE 2017)",
        "60,000 + 10,000, 28×28",
    ),
    "cifar10": VisionSet(
        "cifar10",
        "cifar-10/cifar-10-batches-py",
        (
            VisionFile(
                "data_batch_1", "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd"
            ),
            VisionFile(
                "data_batch_2", "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8"
            ),
            VisionFile(
                "data_batch_3", "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9"
            ),
            VisionFile(
                "data_batch_4", "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b"
            ),
            VisionFile(
                "data_batch_5", "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154"
            ),
            VisionFile(
                "test_batch", "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"
            ),
        ),
        "none stated; cite Krizhevsky 2009",
        "50,000 + 10,000, 3×32×32",
        VisionFile(
            "cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ),
    ),
}


def as_path(value: Any, name: str) -> Path:
    """A path, from text or a path.

    Raises:
        TypeError: something else.
        ValueError: with a zero byte, which no file name has.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass text or a path")
    if "\0" in os.fspath(value):
        raise ValueError(f"{name} = {shown(value)} holds a zero byte; pass the path of a file")
    return Path(value)


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its name and rights"
        ) from error


def cache_folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The data folder: `data_dir`, else `$MIRRORFLOW_DATA`, else the user's cache.

    Args:
        data_dir: wins over everything.

    Raises:
        TypeError: neither text nor a path.
    """
    if data_dir is not None:
        as_path(data_dir, "data_dir")
    chosen = data_dir or os.environ.get("MIRRORFLOW_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mirrorflow"


def find(name: str) -> VisionSet:
    """The set of that name.

    Raises:
        TypeError: not text.
        ValueError: there is none.
    """
    return VISION[as_choice(name, "name", sorted(VISION))]


def locate(chosen: VisionSet, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """The files of the set that are there, by name: below the data folder, or right in it.

    Args:
        chosen: one of `VISION.values()`.
        data_dir: see `cache_folder`.

    Raises:
        TypeError: not a `VisionSet`, or not a path.
    """
    if not isinstance(chosen, VisionSet):
        raise TypeError(f"chosen = {shown(chosen)}; pass a set, such as data.find('mnist')")
    root = cache_folder(data_dir)
    last = chosen.folder.rsplit("/", 1)[-1]
    for folder in (root / chosen.folder, root / last, root):
        found = {f.name: folder / f.name for f in chosen.files if (folder / f.name).is_file()}
        if found:
            return found
    return {}


def check_file(path: Path, expected: VisionFile) -> bytes:
    """The content of a file, after its sha256 was compared.

    Args:
        path: the file.
        expected: what its authors publish.

    Raises:
        TypeError: not a path, or not a `VisionFile`.
        DataError: it cannot be read, or one bit differs from what its authors publish.
    """
    path = as_path(path, "path")
    if not isinstance(expected, VisionFile):
        raise TypeError(f"expected = {shown(expected)}; pass a file of data.find(...).files")
    content = read_bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != expected.sha256:
        raise DataError(
            f"{path} is corrupt: its sha256 is {found}, the published file has "
            f"{expected.sha256}. Remove it and fetch it again: mirrorflow data fetch"
        )
    return content

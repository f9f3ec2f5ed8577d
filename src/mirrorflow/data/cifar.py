"""The python batches of CIFAR-10, read without running code from them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.data.files import as_path, read_bytes
from mirrorflow.errors import DataError

__all__ = ["read_cifar_batch"]


class _Dtype:
    """Stands for `numpy.dtype` in the stream; the only one that a batch needs is of bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of dtype {code!r}")

    def __setstate__(self, _: object) -> None:
        pass


class _Array:
    """Stands for `numpy.ndarray`: takes shape and bytes, so that no code of numpy runs on them."""

    def __init__(self, *_: object) -> None:
        self.value: np.ndarray[Any, np.dtype[np.uint8]] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or fortran:
            raise pickle.UnpicklingError("an array that is not of bytes in C order")
        self.value = np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _encode(text: object, encoding: object) -> bytes:
    # How Python 3 writes bytes in the old protocols.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


class _Restricted(pickle.Unpickler):
    """Contract: builds containers, numbers, strings and uint8 arrays; calls nothing else."""

    _ALLOWED: dict[tuple[str, str], Any] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("_codecs", "encode"): _encode,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_cifar_batch(path: Path, content: bytes | None = None) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of one batch file.

    The file is a pickle; only containers, numbers, strings and byte arrays are built from it.

    Args:
        path: the file.
        content: its bytes, if they are at hand (checked against the published hash).

    Raises:
        TypeError: not a path, or content that is not bytes.
        DataError: it cannot be read, asks for anything but data, or is no CIFAR batch.
    """
    path = as_path(path, "path")
    raw = read_bytes(path) if content is None else content
    if not isinstance(raw, bytes):
        raise TypeError(f"content = {shown(raw)} is a {type(raw).__name__}; pass bytes")
    try:
        batch = _Restricted(io.BytesIO(raw), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is refused: a pickle that holds more than data ({error}). Fetch the "
            "published file: mirrorflow data fetch cifar10"
        ) from error
    # A crafted or damaged stream can fail in any of these ways inside the unpickler.
    except (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError) as error:
        raise DataError(f"{path} is damaged ({error!r}); fetch it again") from error
    except (TypeError, ValueError, ImportError) as error:
        raise DataError(f"{path} is damaged ({error!r}); fetch it again") from error
    array = batch.get(b"data") if isinstance(batch, dict) else None
    data = array.value if isinstance(array, _Array) else np.empty((0, 0), dtype=np.uint8)
    labels = batch.get(b"labels") if isinstance(batch, dict) else None
    if (
        data.ndim != 2
        or data.shape[1] != 3072
        or not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(type(v) is int and 0 <= v < 10 for v in labels)
    ):
        raise DataError(f"{path} is no CIFAR-10 batch: it needs data (n, 3072) and n labels 0...9")
    return torch.tensor(data.reshape(-1, 3, 32, 32)), torch.tensor(labels, dtype=torch.int64)

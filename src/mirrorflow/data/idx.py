"""IDX, the file format of MNIST: a magic number, the sizes, the bytes."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.data.files import as_path, read_bytes
from mirrorflow.errors import DataError

__all__ = ["read_idx"]

_UBYTE = 0x08
_LARGEST = 1 << 31


def read_idx(path: Path, content: bytes | None = None) -> Tensor:
    """The uint8 array of an IDX file, gzipped or not, of the shape that its header states.

    The header is two zero bytes, the type (8, unsigned bytes), the number of dimensions, and each
    dimension as a big-endian 32-bit integer; the entries follow in row-major order.

    Args:
        path: the file; ".gz" at the end of the name means gzip.
        content: its bytes, if they are at hand.

    Raises:
        TypeError: not a path, or content that is not bytes.
        DataError: missing, truncated, longer than its header says, or no IDX file of bytes.
    """
    path = as_path(path, "path")
    raw = read_bytes(path) if content is None else content
    if not isinstance(raw, bytes):
        raise TypeError(f"content = {shown(raw)} is a {type(raw).__name__}; pass bytes")
    stream: io.BufferedIOBase = io.BytesIO(raw)
    if path.suffix == ".gz":
        stream = gzip.GzipFile(fileobj=stream)
    try:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UBYTE or not 1 <= magic[3] <= 4:
            raise DataError(
                f"{path} is no IDX file of unsigned bytes: it begins with 0x{magic.hex()}, "
                "expected 0x000008 and the number of dimensions"
            )
        header = stream.read(4 * magic[3])
        shape = tuple(int(v) for v in np.frombuffer(header, dtype=">u4"))
        # No more is unpacked than the header promises, whatever a crafted file unpacks to.
        size = math.prod(shape)
        if len(header) < 4 * magic[3] or size > _LARGEST:
            raise DataError(f"{path} states the sizes {shape}, which are cut off or too large")
        entries = stream.read(size)
        rest = stream.read(1)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or damaged ({error}); remove it and fetch it again: "
            "mirrorflow data fetch"
        ) from error
    if len(entries) != size or rest:
        raise DataError(
            f"{path} holds {'more' if rest else len(entries)} bytes where its header promises "
            f"{size} for the shape {shape}"
        )
    return torch.frombuffer(bytearray(entries), dtype=torch.uint8).reshape(shape)

"""What a run remembers of its data: one hash of all points and labels."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from mirrorflow.data.base import Dataset
from mirrorflow.data.images import Images

__all__ = ["fingerprint"]

_CHUNK = 1 << 20  # numbers at a time


def fingerprint(dataset: Dataset) -> str:
    """The sha256 of `x`, `y`, `x_test`, `y_test` and `classes`, as 64 hexadecimal digits.

    It is one of values: the same numbers give the same digits in any dtype that holds them exactly,
    on any device and in any memory layout; 0 and −0 are the same number. Shapes count, since a net
    sees them. `Images` are hashed by their bytes and moments, without unfolding them.

    Args:
        dataset: any; its name and notes do not count.

    Raises:
        TypeError: not a `Dataset`.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset is a {type(dataset).__name__}; pass a data.Dataset")
    kind = "targets" if dataset.targets else dataset.classes
    digest = hashlib.sha256(f"classes={kind}".encode())
    for key in ("x", "y", "x_test", "y_test"):
        values: Tensor = getattr(dataset, key)
        digest.update(f";{key}{tuple(values.shape)}".encode())
        if not len(values):
            continue
        if isinstance(values, Images):
            moments = [[float(v).hex() for v in part] for part in values.moments]
            digest.update(f"uint8 images {moments}".encode())
            values = values.raw
        rows = max(1, _CHUNK // max(values[0].numel(), 1))
        for start in range(0, len(values), rows):
            digest.update(_canonical(values[start : start + rows].detach()))
    return digest.hexdigest()


def _canonical(part: Tensor) -> bytes:
    """Little-endian bytes in the order of the indices: uint8 and int64 as they are, floats as
    float64."""
    if part.is_floating_point():
        return np.ascontiguousarray(part.to("cpu", torch.float64).numpy() + 0.0, "<f8").tobytes()
    kind = "u1" if part.dtype == torch.uint8 else "<i8"
    return np.ascontiguousarray(part.cpu().numpy(), kind).tobytes()

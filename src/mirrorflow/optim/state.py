"""The state of a parameter: float32 masters, and the step before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "LOW_PRECISION",
    "PREVIOUS",
    "keep_precision",
    "keep_previous",
    "master",
    "restore_previous",
]

LOW_PRECISION = (torch.float16, torch.bfloat16)
PREVIOUS = "previous_"


def master(p: Tensor, state: dict[str, Any]) -> Tensor:
    """The float32 value behind a half-precision parameter, following outside changes of it."""
    if "master" not in state:
        state["master"] = p.float()
    value: Tensor = state["master"]
    return value.copy_(torch.where(value.to(p.dtype) == p, value, p.float()))


def keep_previous(p: Tensor, state: dict[str, Any]) -> None:
    """Remember a parameter and its state, so that the step to come can be taken back."""
    for key in [key for key in state if not key.startswith(PREVIOUS)]:
        value = state[key]
        state[PREVIOUS + key] = value.clone() if isinstance(value, Tensor) else value
    state[PREVIOUS + "value"] = p.detach().clone()


def restore_previous(p: Tensor, state: dict[str, Any]) -> None:
    """Undo the last step, bit for bit."""
    if PREVIOUS + "value" not in state:
        return
    p.copy_(state[PREVIOUS + "value"])
    for key in [key for key in state if not key.startswith(PREVIOUS)]:
        if PREVIOUS + key not in state:
            del state[key]
        elif isinstance(state[key], Tensor):
            state[key].copy_(state[PREVIOUS + key])
        else:
            state[key] = state[PREVIOUS + key]


def keep_precision(
    groups: Sequence[dict[str, Any]],
    state: Any,
    saved_groups: Sequence[dict[str, Any]],
    saved_state: dict[Any, Any],
) -> None:
    """Load float32 state of half-precision parameters as it was: torch rounds it to their dtype."""
    ids = chain.from_iterable(group["params"] for group in saved_groups)
    parameters = chain.from_iterable(group["params"] for group in groups)
    for key, p in zip(ids, parameters, strict=True):
        if p.dtype in LOW_PRECISION:
            for name, value in saved_state.get(key, {}).items():
                if isinstance(value, Tensor) and name != "step":
                    state[p][name] = value.detach().to(p.device, copy=True)

"""The state of a parameter: float32 masters, the step before, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

__all__ = ["AS_TEXT", "keep_precision", "keep_previous", "master", "restore_previous", "take_own"]

LOW_PRECISION = (torch.float16, torch.bfloat16)
AS_TEXT = ("mirror_map", "step_rule")
_PREVIOUS = "previous_"


def master(p: Tensor, state: dict[str, Any]) -> Tensor:
    """The float32 value behind a half-precision parameter, following outside changes of it."""
    if "master" not in state:
        state["master"] = p.float()
    value: Tensor = state["master"]
    return value.copy_(torch.where(value.to(p.dtype) == p, value, p.float()))


def keep_previous(p: Tensor, state: dict[str, Any]) -> None:
    """Remember a parameter and its state, so that the step to come can be taken back."""
    for key in [key for key in state if not key.startswith(_PREVIOUS)]:
        value = state[key]
        state[_PREVIOUS + key] = value.clone() if isinstance(value, Tensor) else value
    state[_PREVIOUS + "value"] = p.detach().clone()


def restore_previous(p: Tensor, state: dict[str, Any]) -> None:
    """Undo the last step, bit for bit."""
    if _PREVIOUS + "value" not in state:
        return
    p.copy_(state[_PREVIOUS + "value"])
    for key in [key for key in state if not key.startswith(_PREVIOUS)]:
        if _PREVIOUS + key not in state:
            del state[key]
        elif isinstance(state[key], Tensor):
            state[key].copy_(state[_PREVIOUS + key])
        else:
            state[key] = state[_PREVIOUS + key]


def take_own(own: dict[str, Any], saved: dict[str, Any], number: int) -> None:
    """Check that maps and step rules of a saved group are this optimizer's, and blank them.

    Raises:
        ValueError: saved with another map or step rule.
    """
    for key in AS_TEXT:
        text = None if own[key] is None else repr(own[key])
        if saved.get(key, text) not in (text, own[key]):
            raise ValueError(
                f"group {number} was saved with {key} = {saved[key]}, this optimizer has {text}; "
                "build it with the saved one"
            )
        saved[key] = None


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

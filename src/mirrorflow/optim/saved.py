"""A saved state made to fit an optimizer: maps by value, parameters by name, no option missing.

A state holds text where this process holds objects (maps and step rules), and may come from torch's
own optimizers, which know neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps import MirrorMap, parse_map
from mirrorflow.optim.state import PREVIOUS

__all__ = ["AS_TEXT", "as_text", "fitted"]

AS_TEXT = ("mirror_map", "step_rule")
# Options of torch's optimizers, and of older ones of ours, that a mirror step has no use for.
_FOREIGN = frozenset({"capturable", "decoupled_weight_decay", "differentiable", "foreach", "fused"})
_COMMON = frozenset({"master", "step"})


def as_text(value: Any) -> str | None:
    """A map or a step rule as a state holds it: the call that makes it.

    A map that no text makes again, such as a `Custom`, has its state (with values of its dual)
    beside its name: two functions of one name are two maps.
    """
    if not isinstance(value, MirrorMap):
        return None if value is None else repr(value)
    text = repr(value)
    try:
        same = parse_map(text) == value
    except (ValueError, TypeError):
        same = False
    return text if same else f"{text} with state {value.state()}"


def fitted(
    state_dict: Any,
    groups: Sequence[Mapping[str, Any]],
    names: frozenset[str],
    optimizer: str,
) -> dict[str, Any]:
    """The state as an optimizer with these groups can load it; nothing that is given is changed.

    Args:
        state_dict: what `state_dict()` of this or of a torch optimizer returned.
        groups: the optimizer's own groups.
        names: the entries that the optimizer keeps for a parameter.
        optimizer: its name, for messages.

    Returns:
        A state whose groups hold every option and None for maps and step rules.

    Raises:
        TypeError: not a state dict.
        ValueError: see `MirrorOptimizer.load_state_dict`.
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise TypeError(
            f"state_dict = {shown(state_dict)} is not the state of an optimizer; pass what "
            "optimizer.state_dict() returned"
        )
    saved = [dict(group) for group in state_dict["param_groups"]]
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
        raise ValueError(
            f"state_dict has groups of {[len(group['params']) for group in saved]} parameters, "
            f"this optimizer of {[len(group['params']) for group in groups]}; build it with the "
            "parameters and groups that were saved"
        )
    filled = [_filled(old, own, k) for k, (old, own) in enumerate(zip(saved, groups, strict=True))]
    ids = chain.from_iterable(group["params"] for group in filled)
    parameters = chain.from_iterable(group["params"] for group in groups)
    for key, p in zip(ids, parameters, strict=True):
        _check_entries(state_dict["state"].get(key, {}), p, names, optimizer, key)
    return {**state_dict, "param_groups": filled}


def _filled(saved: dict[str, Any], own: Mapping[str, Any], number: int) -> dict[str, Any]:
    for key in AS_TEXT:
        text = as_text(own[key])
        if saved.get(key, text) not in (text, own[key]):
            raise ValueError(
                f"group {number} was saved with {key} = {saved[key]}, this optimizer has {text}; "
                "build it with the saved one"
            )
    filled = {**own, **{key: value for key, value in saved.items() if key not in _FOREIGN}}
    if own["step_rule"] is not None and "step_rule" not in saved:
        filled["lr"] = own["lr"]  # the saved rate is one of SGD, not a relative step
    filled["params"] = _in_order(saved, own, number)
    if "param_names" in own:
        filled["param_names"] = own["param_names"]
    return {**filled, **dict.fromkeys(AS_TEXT)}


def _in_order(saved: Mapping[str, Any], own: Mapping[str, Any], number: int) -> list[Any]:
    """The saved ids in the order of this optimizer's names, where both have names."""
    before, now = saved.get("param_names"), own.get("param_names")
    if not before or not now or list(before) == list(now):
        return list(saved["params"])
    if sorted(before) != sorted(now):
        missing, unknown = sorted(set(now) - set(before)), sorted(set(before) - set(now))
        raise ValueError(
            f"group {number} was saved for other parameters: missing in the state {missing}, "
            f"unknown here {unknown}; build the optimizer with the named parameters of that net"
        )
    place = dict(zip(before, saved["params"], strict=True))
    return [place[name] for name in now]


def _check_entries(
    entries: Mapping[str, Any], p: Tensor, names: frozenset[str], optimizer: str, key: Any
) -> None:
    for name, value in entries.items():
        plain = name.removeprefix(PREVIOUS)
        if plain not in names | _COMMON and plain != "value" and value is not None:
            raise ValueError(
                f"the state of parameter {key} holds {name!r}, which {optimizer} does not keep "
                f"(it keeps {sorted(names)}); load it into the optimizer of the kind that saved it"
            )
        if isinstance(value, Tensor) and plain != "step" and value.shape != p.shape:
            raise ValueError(
                f"the state of parameter {key} holds {name!r} of shape {tuple(value.shape)} for a "
                f"parameter of shape {tuple(p.shape)}; the state belongs to another net"
            )

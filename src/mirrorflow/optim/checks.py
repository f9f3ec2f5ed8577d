"""What is refused at the door of an optimizer, and how parameters are named and grouped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.errors import DivergedError
from mirrorflow.maps import MirrorMap, assign
from mirrorflow.optim.sharded import largest_over_ranks

__all__ = [
    "agreed_number",
    "check_gradient",
    "groups_by_map",
    "listed_parameters",
    "parameter_name",
]


def listed_parameters(params: Any) -> list[Any]:
    """Parameters, named parameters or groups as a list, read once.

    Raises:
        TypeError: a single tensor, or nothing that can be listed.
    """
    if isinstance(params, (Tensor, str, bytes, Mapping)) or not isinstance(params, Iterable):
        raise TypeError(
            "params argument given to the optimizer should be an iterable of Tensors or dicts, "
            f"but params = {shown(params)}; pass net.parameters(), net.named_parameters() or groups"
        )
    if not (listed := list(params)):
        raise ValueError(
            "optimizer got an empty parameter list: params is empty; pass net.parameters() of a "
            "net that has some, and make a generator anew for each optimizer"
        )
    return listed


def groups_by_map(
    params: list[Any], mirror_map: Mapping[str, MirrorMap | str]
) -> list[dict[str, Any]]:
    """One parameter group per map, from named parameters and a mapping (see `maps.assign`).

    Raises:
        TypeError: parameters without names.
    """
    if not all(isinstance(entry, tuple) for entry in params):
        raise TypeError(
            "mirror_map is a mapping from names to maps, so params must be named; pass "
            "net.named_parameters()"
        )
    chosen = assign(mirror_map, [name for name, _ in params])
    groups: dict[MirrorMap, dict[str, Any]] = {}
    for name, p in params:
        group = groups.setdefault(chosen[name], {"params": [], "mirror_map": chosen[name]})
        group["params"].append((name, p))
    return list(groups.values())


def agreed_number(loss: Any) -> float:
    """What a closure returned, as a number: the largest over all processes."""
    value = loss.detach() if isinstance(loss, Tensor) else loss
    return largest_over_ranks(float(value))


def parameter_name(group: dict[str, Any], i: int) -> str:
    """The name of the i-th parameter of a group, or its place and shape."""
    names = group.get("param_names")
    return names[i] if names else f"parameter {i} of shape {tuple(group['params'][i].shape)}"


def check_gradient(group: dict[str, Any], i: int) -> bool:
    """False if the i-th parameter has no gradient; refuse what no mirror step can use.

    Raises:
        TypeError: sparse or complex.
        DivergedError: NaN or infinite, if `check_finite` asks for it.
    """
    g = group["params"][i].grad
    if g is None:
        return False
    if g.layout is not torch.strided:
        raise TypeError(
            f"the gradient of {parameter_name(group, i)} is sparse ({g.layout}); a mirror step "
            "moves every entry through the map: make it dense (nn.Embedding(sparse=False), or "
            "grad.to_dense())"
        )
    if g.is_complex():
        raise TypeError(
            f"the gradient of {parameter_name(group, i)} is complex ({g.dtype}); a mirror map acts "
            "on real tensors: optimize torch.view_as_real(parameter)"
        )
    if group["check_finite"] and not bool(torch.isfinite(g).all()):
        raise DivergedError(
            f"the gradient of {parameter_name(group, i)} holds {int((~torch.isfinite(g)).sum())} "
            "entries that are NaN or infinite; no parameter was moved. Lower lr, clip the "
            "gradient, or skip the batch"
        )
    return True

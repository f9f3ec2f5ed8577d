"""What is refused at the door of an optimizer, and how parameters are named and grouped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.errors import DivergedError
from mirrorflow.maps import MapLike, MirrorMap, assign
from mirrorflow.optim.sharded import largest_over_ranks
from mirrorflow.optim.state import LOW_PRECISION

__all__ = [
    "agreed_number",
    "check_gradient",
    "check_map",
    "check_rate",
    "groups_by_map",
    "listed_parameters",
    "parameter_name",
    "refuse_fused",
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


def groups_by_map(params: list[Any], mirror_map: MapLike) -> list[dict[str, Any]]:
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


def check_map(group: dict[str, Any]) -> None:
    """Refuse a group whose map is none, or cannot hold a parameter.

    Where the dual overflows, no step moves the entry any more: `Cosh(0.01)` holds a normalisation's
    scale of 1 at `u = 0.01 sinh(100)`, which float32 does not have. (Only maps of rapid variation
    are looked at: the others overflow at sizes that no net has.) At 0, an
    infinite dual is the edge of the domain of an entropy, which multiplies.

    Raises:
        TypeError: no `MirrorMap`, such as a mapping of several.
        ValueError: no map at all, or a parameter whose dual is infinite.
    """
    mirror_map = group["mirror_map"]
    if mirror_map is None:
        raise ValueError(
            "mirror_map is missing; pass MirrorDescent(..., mirror_map=maps.Quadratic()), or a "
            "mirror_map in every parameter group"
        )
    if isinstance(mirror_map, Mapping):
        raise TypeError(
            f"mirror_map = {shown(mirror_map)} of a group is a mapping, and a group has one map; "
            "pass the mapping to the optimizer with net.named_parameters(), or use "
            "optim.param_groups(net, mapping, lr)"
        )
    if not isinstance(mirror_map, MirrorMap):
        raise TypeError(
            f"mirror_map = {mirror_map!r} is not a MirrorMap; choose one of "
            "mirrorflow.maps, such as maps.HyperbolicEntropy(1e-2)"
        )
    for i, p in enumerate(group["params"]):
        mirror_map.require_domain(p, f"params[{i}]")
        rapid = mirror_map.separable and mirror_map.index == math.inf
        if not rapid or type(p) not in (Tensor, torch.nn.Parameter) or p.is_meta:
            continue
        x = p.detach()
        x = x.float() if x.dtype in LOW_PRECISION else x
        outside = ~torch.isfinite(mirror_map.to_dual(x)) & torch.isfinite(x) & (x != 0)
        if bool(outside.any()):
            largest = float(x[outside].abs().max())
            raise ValueError(
                f"mirror_map = {mirror_map!r} cannot hold {parameter_name(group, i)}: at "
                f"|x| = {largest:.3g} its dual overflows {x.dtype}, so that no step would move "
                "that entry; give it a map of its own (optim.param_groups(net, mirror_map, lr) "
                "leaves normalisation, biases and embeddings out), or choose a larger scale"
            )


def check_rate(lr: Any) -> None:
    """Refuse a forgotten rate.

    Raises:
        ValueError: there is none.
    """
    if lr is None:
        raise ValueError(
            "lr is missing: the step acts in the dual, so that no number fits every map; "
            "pass lr='auto', a number (optim.match_lr finds one from a rate of SGD or AdamW), or "
            "an lr in every parameter group"
        )


def refuse_fused(fused: Any) -> None:
    """Refuse torch's own fused kernels, which know no map.

    Raises:
        ValueError: they were asked for.
    """
    if fused:
        raise ValueError(
            f"fused = {shown(fused)}: torch's fused kernels know no mirror map; leave it out, and "
            "see compiled for ours"
        )


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

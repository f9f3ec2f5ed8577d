"""The weights that act in a net: behind a pruning mask, the product of parameter and mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn

from mirrorflow.roles import Kind, Role, is_masked, roles

__all__ = ["Weight", "acting"]


@dataclass(frozen=True, eq=False)
class Weight:
    """One parameter as the net uses it.

    Attributes:
        name: without the `_orig` that torch's pruning adds.
        kind: see `roles.Role`.
        holder: the class of the module that holds it.
        value: the numbers that act, detached.
        mask: what a pruning mask keeps, or None.
        sites: every module that holds it, with the name there.
        role: the parameter itself.
        computed: True behind a parametrisation (weight norm, spectral norm): no mask can act.
    """

    name: str
    kind: Kind
    holder: str
    value: Tensor
    mask: Tensor | None
    sites: tuple[tuple[nn.Module, str], ...]
    role: Role
    computed: bool


@torch.no_grad()
def acting(net: nn.Module) -> tuple[Weight, ...]:
    """Every real parameter of a net once, as it acts.

    Raises:
        TypeError: not a module.
        ValueError: NaN or infinite entries, a parameter without a shape, or a tied weight with a
            mask at some of its places only; it is named.
    """
    out = []
    for role in roles(net):
        if not role.parameter.is_floating_point():
            continue  # quantized weights of a frozen part
        sites = tuple(
            (chain[-1], place.rpartition(".")[2])
            for place, chain in zip(role.places, role.modules, strict=True)
        )
        masked = [is_masked(m, k) for m, k in sites]
        if any(masked) and not all(masked):
            raise ValueError(
                f"net: the tied weight {role.name!r} has a mask at {masked.count(True)} of its "
                f"{len(masked)} places ({', '.join(role.places)}); mask it at each of them, or "
                "call torch.nn.utils.prune.remove where it has one"
            )
        module, key = sites[0]
        name, value, mask = role.name, role.parameter.detach(), None
        if masked[0]:
            mask = module.get_buffer(f"{key.removesuffix('_orig')}_mask")
            name, value = name.removesuffix("_orig"), value * mask
            sites = tuple((m, k.removesuffix("_orig")) for m, k in sites)
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"net: the parameter {name!r} holds NaN or infinity; load the last finite "
                "checkpoint"
            )
        computed = any(
            isinstance(m, parametrize.ParametrizationList)
            or f"{k.removesuffix('_v')}_g" in m._parameters
            for m, k in sites
        )
        out.append(Weight(name, role.kind, role.holder, value, mask, sites, role, computed))
    return tuple(out)

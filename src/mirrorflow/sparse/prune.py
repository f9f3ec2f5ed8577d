"""Magnitude pruning of any net, on the masks of `torch.nn.utils.prune`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import prune as torch_prune

from mirrorflow.checks import as_choice, as_number, shown
from mirrorflow.maps.assignment import key_for
from mirrorflow.sparse.attention import follow
from mirrorflow.sparse.order import in_place_of
from mirrorflow.sparse.weights import Weight, acting
from mirrorflow.tabular import aligned

__all__ = ["PrunedLayer", "Pruning", "Scope", "prune"]

Scope = Literal["global", "layer", "2:4"]
_SCOPES = ("global", "layer", "2:4")


@dataclass(frozen=True)
class PrunedLayer:
    """One weight tensor: its entries, how many the mask kept out before, and how many now."""

    name: str
    entries: int
    before: int
    masked: int


@dataclass(frozen=True)
class Pruning:
    """What was pruned; printed, a table.

    Attributes:
        scope: "global", "layer" or "2:4".
        layers: one `PrunedLayer` for each pruned tensor.
        skipped: tensors that stay dense, each with the reason.
        dense: their entries.
        dense_masked: how many of these an earlier mask keeps out.
    """

    scope: str
    layers: tuple[PrunedLayer, ...]
    skipped: dict[str, str]
    dense: int
    dense_masked: int = 0

    @property
    def entries(self) -> int:
        """Of the pruned tensors."""
        return sum(layer.entries for layer in self.layers)

    @property
    def masked(self) -> int:
        """How many of them are masked."""
        return sum(layer.masked for layer in self.layers)

    @property
    def share(self) -> float:
        """Masked entries among those of the pruned tensors."""
        return self.masked / self.entries

    @property
    def share_of_all(self) -> float:
        """Masked entries among all parameters of the net."""
        return (self.masked + self.dense_masked) / (self.entries + self.dense)

    def __str__(self) -> str:
        rows = [
            (
                layer.name,
                f"{layer.entries:,}",
                f"{layer.entries - layer.masked:,}",
                f"{layer.masked / layer.entries:.1%}",
            )
            for layer in self.layers
        ]
        kept = self.entries - self.masked
        rows.append(("all pruned layers", f"{self.entries:,}", f"{kept:,}", f"{self.share:.1%}"))
        lines = [aligned(("layer", "entries", "kept", "zero"), rows)]
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            which = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]} ({len(names)})"
            lines.append(f"dense, {reason}: {which}")
        lines.append(f"{self.share_of_all:.1%} of all parameters are zero")
        return "\n".join(lines)


@torch.no_grad()
def prune(
    net: nn.Module,
    share: float,
    scope: Scope = "global",
    *,
    skip: Iterable[str | type[nn.Module]] = (),
) -> Pruning:
    """Mask the smallest weights of layers, in place; normalisation, biases, embeddings stay.

    The mask is torch's own: the parameter becomes `weight_orig`, and a hook puts `weight =
    weight_orig * weight_mask` in its place before every forward pass. So masked entries are zero in
    every pass, whatever any optimizer does; an optimizer that holds the net's parameters goes on.
    A masked entry never comes back: pruned again, the share counts what is masked already.

    Args:
        net: any module; changed in place.
        share: of the entries that can be pruned, in [0, 1): `⌊share·N⌋` are masked, ties by
            position. For "2:4" it is 0.5.
        scope: "global", one ranking of magnitudes over all layers; "layer", the same share of each
            layer; "2:4", the two smaller of every four in a row along the inputs, which is what the
            sparse tensor cores of NVIDIA GPUs take.
        skip: names of parameters or layers, types of module, or patterns that stay dense too.

    Returns:
        A `Pruning`; print it.

    Raises:
        TypeError: not a module, not a number, or a `skip` that is no list.
        ValueError: a share or scope out of range, a `skip` that names nothing, nothing to prune,
            or weights that a parametrisation computes (it says how to end it).

    Source: torch.nn.utils.prune; magnitude pruning: Han et al., NeurIPS 2015; 2:4: Mishra et al.,
    arXiv 2104.08378.
    """
    scope = as_choice(scope, "scope", _SCOPES)
    share = as_number(share, "share", least=0, below=1)
    if scope == "2:4" and share != 0.5:
        raise ValueError(f"share = {share} with scope = '2:4', which masks two of four: pass 0.5")
    every = acting(net)
    chosen, skipped = _choose(every, skip, scope)
    masks = _masks(chosen, share, scope)
    layers = []
    for weight, keep in zip(chosen, masks, strict=True):
        before = 0 if weight.mask is None else int((weight.mask == 0).sum())
        _apply(weight, keep)
        layers.append(
            PrunedLayer(weight.name, keep.numel(), before, keep.numel() - int(keep.sum()))
        )
    follow(net)
    taken = {id(weight) for weight in chosen}
    rest = [weight for weight in every if id(weight) not in taken]
    masked = sum(int((weight.mask == 0).sum()) for weight in rest if weight.mask is not None)
    dense = sum(weight.value.numel() for weight in rest)
    return Pruning(scope, tuple(layers), skipped, dense, masked)


def _choose(every: Iterable[Weight], skip: Any, scope: str) -> tuple[list[Weight], dict[str, str]]:
    """What can be pruned, and why the rest is not."""
    if isinstance(skip, (str, type)) or not isinstance(skip, Iterable):
        raise TypeError(f"skip = {shown(skip)} is a {type(skip).__name__}; pass a list of names")
    keys = list(skip)
    for key in keys:
        if not isinstance(key, str) and not (isinstance(key, type) and issubclass(key, nn.Module)):
            raise TypeError(
                f"skip holds {shown(key)}, a {type(key).__name__}; it takes names, patterns and "
                "types of module"
            )
    chosen: list[Weight] = []
    skipped: dict[str, str] = {}
    used: set[Any] = set()
    for weight in every:
        places = [place.removesuffix("_orig") for place in weight.role.places]
        hits = [
            key for key in keys if any(key_for([key], p, weight.role) is not None for p in places)
        ]
        used.update(hits)
        if weight.kind != "weight":
            skipped[weight.name] = weight.kind
        elif hits:
            skipped[weight.name] = "asked for"
        elif not weight.value.numel():
            skipped[weight.name] = "empty"
        elif scope == "2:4" and (reason := _not_in_fours(weight)):
            skipped[weight.name] = reason
        else:
            _check_maskable(weight)
            chosen.append(weight)
    for key in keys:
        if key not in used:
            names = [weight.name for weight in every]
            raise ValueError(
                f"skip names {shown(key)}, which covers no parameter; there are {names}"
            )
    if not chosen:
        raise ValueError(
            f"net has no weights of layers to prune (skipped: {skipped}); pass a net that has some"
        )
    return chosen, skipped


def _check_maskable(weight: Weight) -> None:
    if weight.computed:
        raise ValueError(
            f"the weight {weight.name!r} is computed by a parametrisation, behind which no mask "
            "can act; call torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') "
            "(or remove_weight_norm(module)) first, or name it in skip"
        )


def _not_in_fours(weight: Weight) -> str:
    dim = _inputs(weight)
    if dim is None:
        return f"the inputs of a {weight.holder} are unknown"
    size = weight.value.shape[dim]
    return f"{size} inputs are no multiple of 4" if size % 4 else ""


def _inputs(weight: Weight) -> int | None:
    """The dimension along which the inputs stand."""
    module, _ = weight.sites[0]
    if isinstance(module, _ConvTransposeNd):
        return 0
    known = (nn.Linear, _ConvNd, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
    return 1 if isinstance(module, known) else None


def _masks(chosen: list[Weight], share: float, scope: str) -> list[Tensor]:
    """What each tensor keeps, as booleans."""
    sizes = []
    for weight in chosen:
        size = weight.value.abs().double()
        # What is masked already goes first: no entry comes back.
        sizes.append(size if weight.mask is None else size.masked_fill(weight.mask == 0, -1.0))
    if scope == "2:4":
        return [_two_of_four(s, _inputs(w)) for s, w in zip(sizes, chosen, strict=True)]
    if scope == "layer":
        return [_largest(size.flatten(), share).view_as(size) for size in sizes]
    device = sizes[0].device
    keep = _largest(torch.cat([size.flatten().to(device) for size in sizes]), share)
    parts = torch.split(keep, [size.numel() for size in sizes])
    return [part.view_as(s).to(s.device) for part, s in zip(parts, sizes, strict=True)]


def _largest(size: Tensor, share: float) -> Tensor:
    """All but the `⌊share·N⌋` smallest, and all that are −1; ties by position."""
    # Of the share that was written: 0.29 of 100 is 29, and its double times 100 is below.
    count = math.floor(Fraction(repr(share)) * size.numel())
    keep = size >= 0
    if count:
        edge = size.kthvalue(count).values
        cut = size < edge
        ties = (size == edge).nonzero()[:, 0][: count - int(cut.sum())]
        cut[ties] = True
        keep &= ~cut
    return keep


def _two_of_four(size: Tensor, dim: int | None) -> Tensor:
    assert dim is not None  # `_choose` has left those out
    rows = size.movedim(dim, -1)
    fours = rows.reshape(-1, 4)
    keep = torch.ones_like(fours, dtype=torch.bool)
    keep.scatter_(1, fours.argsort(dim=1, stable=True)[:, :2], False)
    keep &= fours >= 0
    return keep.view(rows.shape).movedim(-1, dim)


def _apply(weight: Weight, keep: Tensor) -> None:
    for module, key in weight.sites:
        if weight.mask is None:
            with in_place_of(module, key, f"{key}_orig"):
                torch_prune.custom_from_mask(module, key, keep)  # type: ignore[no-untyped-call]
        else:
            module.get_buffer(f"{key}_mask").mul_(keep)
        weight.role.parameter.mul_(module.get_buffer(f"{key}_mask"))
        setattr(module, key, weight.role.parameter.detach().clone())

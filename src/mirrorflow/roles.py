"""What each parameter of a network is: a layer's weight, a bias, a normalisation, an embedding.

By the type of the module that holds it and by its shape, so that it works for torch's own modules
and for anybody's. A parameter that stands in several places (tied weights) is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mirrorflow.checks import as_net

__all__ = ["Kind", "Role", "covers", "is_masked", "roles"]

Kind = Literal["weight", "bias", "normalisation", "embedding", "scalar"]

_LAYERS = (
    nn.Linear,
    nn.Bilinear,
    _ConvNd,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
# Names under which vision and language models keep free parameters that are looked up or added.
_LOOKED_UP = ("embed", "token", "position")


@dataclass(frozen=True, eq=False)
class Role:
    """One parameter and what it is for.

    Attributes:
        name: as in `net.named_parameters()`.
        parameter: the parameter itself.
        kind: "weight" (of a linear, convolution, attention or recurrent layer, or, in a
            module of another type, a matrix or an array with two or more dimensions longer than
            1), "bias", "normalisation", "embedding", or "scalar" (scales, temperatures, slopes).
        holder: the class of the module that holds it.
        places: all its names, `path.key`.
        modules: for each place the modules from the net down to the one that holds it.
    """

    name: str
    parameter: nn.Parameter
    kind: Kind
    holder: str
    places: tuple[str, ...]
    modules: tuple[tuple[nn.Module, ...], ...]

    @property
    def plain(self) -> tuple[str, ...]:
        """`places` without the `_orig` that the masks of torch's pruning add."""
        return tuple(
            place.removesuffix("_orig") if is_masked(chain[-1], place.rpartition(".")[2]) else place
            for place, chain in zip(self.places, self.modules, strict=True)
        )


def is_masked(module: nn.Module, key: str) -> bool:
    """True if this parameter stands behind a mask of `torch.nn.utils.prune`."""
    return key.endswith("_orig") and f"{key.removesuffix('_orig')}_mask" in module._buffers


def roles(net: nn.Module) -> tuple[Role, ...]:
    """Every parameter of a net once, in the order of `named_parameters`.

    Tied weights are an embedding if one of their places is, then a normalisation, else what the
    first place says.

    Raises:
        TypeError: not a module.
        ValueError: a parameter that has no shape yet.
    """
    as_net(net)
    found: dict[int, list[tuple[str, tuple[nn.Module, ...], str]]] = {}
    for path, chain in _chains(net):
        for key, p in chain[-1]._parameters.items():
            if p is not None:
                found.setdefault(id(p), []).append((f"{path}.{key}".strip("."), chain, key))
    out = []
    for name, p in net.named_parameters():
        if isinstance(p, nn.UninitializedParameter):
            raise ValueError(f"the parameter {name!r} of net has no shape yet; call net(x) once")
        places = found[id(p)]
        kinds = [_kind(chain[-1], key, p) for _, chain, key in places]
        kind = next((k for k in ("embedding", "normalisation") if k in kinds), kinds[0])
        at = kinds.index(kind)
        out.append(
            Role(
                name,
                p,
                kind,
                type(places[at][1][-1]).__name__,
                tuple(place for place, _, _ in places),
                tuple(chain for _, chain, _ in places),
            )
        )
    return tuple(out)


def covers(key: object, role: Role) -> int:
    """How closely a type covers a parameter: the depth of the innermost module of that type.

    0 if the key is no type or no module on the way to the parameter is of it.
    """
    if not isinstance(key, type):
        return 0
    depths = [
        depth
        for chain in role.modules
        for depth, module in enumerate(chain, start=1)
        if isinstance(module, key)
    ]
    return max(depths, default=0)


def _chains(net: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    """Every module once, with its path and the modules on the way to it."""
    modules = dict(net.named_modules())
    for path, module in modules.items():
        parts = path.split(".") if path else []
        heads = (".".join(parts[:k]) for k in range(len(parts)))
        chain = tuple(net.get_submodule(head) for head in heads)
        yield path, (*chain, module)


def _kind(module: nn.Module, key: str, p: Tensor) -> Kind:
    called = type(module).__name__.lower()
    layer = isinstance(module, _LAYERS)
    if isinstance(module, _NORMS) or (not layer and "norm" in called):
        return "normalisation"
    if isinstance(module, _EMBEDDINGS) or (not layer and "embed" in called):
        return "embedding"
    if "bias" in key:
        return "bias"
    array = sum(size > 1 for size in p.shape) >= 2
    if layer:  # of weight_norm, the lengths `weight_g` have the dimensions of a weight
        return "weight" if p.ndim >= 2 and not key.endswith("_g") else "scalar"
    if any(hint in key.lower() for hint in _LOOKED_UP) or key.lower().startswith("pos_"):
        return "embedding"
    lengths = isinstance(module, parametrize.ParametrizationList) and key == "original0"
    return "weight" if array or (p.ndim == 2 and not lengths) else "scalar"

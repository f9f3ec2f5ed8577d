"""Layers and hidden units of a network: declared by our nets, inferred for a plain Sequential."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.errors import NotHomogeneousError
from mirrorflow.nets import HomogeneousNet, check_degree
from mirrorflow.nets.evaluate import (
    check_plain,
    fixed_names,
    trained_parameters,
    undisturbed,
)

__all__ = ["Layer", "Structure", "Units", "hidden_units", "steps", "structure"]

_POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)
_ENTRYWISE = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layer:
    """Parameters in which the net is jointly homogeneous of `degree` (a weight, with its bias).

    A weight that is used k times counts k times in the degree.
    """

    names: tuple[str, ...]
    degree: float

    @property
    def name(self) -> str:
        """The name of the first parameter."""
        return self.names[0]


@dataclass(frozen=True)
class Units:
    """Hidden units with all their incoming parameters (`nets.Junction`, plus a bias).

    `name` is that of the hidden layer: the incoming weight's at the place where it is used.
    """

    incoming: tuple[str, ...]
    outgoing: str
    units: int
    repeat: int = 1
    degree: float = 1.0
    name: str = ""

    def fan_in(self, entries: dict[str, Tensor]) -> Tensor:
        """Sum over the incoming weights of each unit of what `entries` holds, shape (units,)."""
        parts = [entries[name].reshape(self.units, -1).sum(1) for name in self.incoming]
        return torch.stack(parts).sum(0)

    def fan_out(self, entries: dict[str, Tensor]) -> Tensor:
        """Sum over the outgoing weights of each unit, shape (units,)."""
        value = entries[self.outgoing]
        if value.ndim <= 2:
            value = value.reshape(-1, self.units, self.repeat).sum((0, 2))
        else:
            value = value.transpose(0, 1).reshape(self.units, -1).sum(1)
        return value


@dataclass(frozen=True)
class Structure:
    """`L`, the layers with their `k_l` (empty if unknown) and the hidden units (likewise).

    Layers are those of trained parameters; `fixed` names the frozen ones.
    """

    degree: float
    layers: tuple[Layer, ...]
    units: tuple[Units, ...]
    fixed: tuple[str, ...] = ()


@undisturbed
def structure(net: nn.Module, x: Tensor | None = None) -> Structure:
    """Find degree, layers and hidden units.

    A `HomogeneousNet` declares them. A `Sequential` of Linear, Conv, ReLU, LeakyReLU, pooling,
    Flatten, Unflatten and Dropout is read off in the order in which its modules are called: a
    module that stands twice, or a weight of two modules, counts twice. For any other module the
    degrees are measured on x by `check_degree`, layers are the tensors in which the net is
    homogeneous on its own, and hidden units are unknown.

    Parameters with `requires_grad=False` are held fixed: the degree is that in the others.

    Raises:
        NotHomogeneousError: a bias after the first layer, or the measurement fails.
        ValueError: the net declares nothing and x is None; all parameters are frozen; weights
            that are computed from other parameters (pruning masks, weight norm).
        TypeError: net is no module, or x no tensor.
    """
    check_plain(net)
    trained = trained_parameters(net)
    if isinstance(net, HomogeneousNet):
        return _declared(net, trained)
    reason = ""
    if isinstance(net, nn.Sequential):
        found, reason = _sequential(net, trained)
        if found is not None:
            return found
    if x is None:
        raise ValueError(
            f"{type(net).__name__} declares no degrees{reason and ', and ' + reason}; pass x, a "
            "few points to measure them on, "
            "or derive the net from mirrorflow.nets.HomogeneousNet"
        )
    measured = check_degree(net, x)
    layers = tuple(Layer((k,), v) for k, v in measured.layers.items())
    return Structure(measured.total, layers, (), fixed_names(net))


def hidden_units(net: HomogeneousNet | nn.Sequential) -> tuple[Units, ...]:
    """The hidden layers alone, trained or not.

    Raises:
        TypeError: they cannot be found; the message says what hides them.
    """
    if isinstance(net, HomogeneousNet):
        names = _first_names(net)
        units = _junctions(net, names)
        if not units and len(net.layer_degrees) > 1:
            raise TypeError(
                f"net is a {type(net).__name__} with {len(net.layer_degrees)} weights that "
                "declares no hidden layers; give it `junctions` and `activations`"
            )
        return units
    chain, reason = _chain(net, whole=True)
    if chain is None:
        raise TypeError(
            f"net is a {type(net).__name__} whose hidden layers cannot be read, since {reason}; "
            "use Linear, Conv (groups=1), ReLU, LeakyReLU, pooling and Flatten, or derive the net "
            "from mirrorflow.nets.HomogeneousNet with `junctions` and `activations`"
        )
    return _between(chain)


def _first_names(net: nn.Module) -> dict[str, str]:
    """From every place of a parameter to its name in `named_parameters`."""
    first = {id(p): name for name, p in net.named_parameters()}
    return {place: first[id(p)] for place, p in net.named_parameters(remove_duplicate=False)}


def _junctions(net: HomogeneousNet, names: dict[str, str]) -> tuple[Units, ...]:
    missing = [k for j in net.junctions for k in (j.incoming, j.outgoing) if k not in names]
    if missing:
        raise ValueError(
            f"net (a {type(net).__name__}) declares junctions of {missing}, but its parameters "
            f"are {sorted(names)}"
        )
    return tuple(
        Units((names[j.incoming],), names[j.outgoing], j.units, j.repeat, j.degree, name=j.incoming)
        for j in net.junctions
    )


def _declared(net: HomogeneousNet, trained: dict[str, Tensor]) -> Structure:
    names = _first_names(net)
    degrees: dict[str, float] = {}
    for place, degree in net.layer_degrees.items():
        if place not in names:
            raise ValueError(
                f"net (a {type(net).__name__}) declares a degree for {place!r}, but its parameters "
                f"are {sorted(names)}; correct its layer_degrees"
            )
        name = names[place]
        degrees[name] = degrees.get(name, 0.0) + float(degree)
    fixed = fixed_names(net)
    undeclared = [name for name in trained if name not in degrees]
    if fixed and undeclared:
        raise ValueError(
            f"net (a {type(net).__name__}) has frozen parameters and declares no degree for "
            f"{undeclared}; add them to its layer_degrees"
        )
    layers = tuple(Layer((k,), v) for k, v in degrees.items() if k in trained)
    total = float(sum(layer.degree for layer in layers)) if fixed else net.degree
    return Structure(total, layers, _junctions(net, names), fixed)


@dataclass(frozen=True)
class _Use:
    """One call of a weighted module: where, its parameters, and what lies before it.

    `units` are the hidden units in front of it and `repeat` its inputs for each; 0 at the input.
    """

    place: str
    weight: str
    bias: str | None
    out: int
    units: int
    repeat: int


def steps(net: nn.Sequential, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules of a nested Sequential in the order of their calls, as often as they are."""
    for key, module in net._modules.items():
        if module is None:
            continue
        place = f"{path}{key}"
        if isinstance(module, nn.Sequential) and _is(module, (nn.Sequential,)):
            yield from steps(module, f"{place}.")
        else:
            yield place, module


def _is(module: nn.Module, kinds: tuple[type[Any], ...]) -> bool:
    """One of these kinds, and called as they are: a subclass may do anything in `forward`."""
    return "forward" not in vars(module) and any(
        isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds
    )


def _chain(net: nn.Sequential, *, whole: bool) -> tuple[list[_Use] | None, str]:
    """The weighted modules in the order of their calls; or None, and why it cannot be read.

    Without `whole`, what stands before the first trained weight may be any fixed function.
    """
    if not _is(net, (nn.Sequential,)):
        return None, f"{type(net).__name__} has a forward of its own"
    first = {id(p): name for name, p in net.named_parameters()}
    uses: list[_Use] = []
    # What the last weighted module's units have become: entries of a vector, channels of a map,
    # the flattened map, or the map that a vector was unflattened to.
    form, channels, began = "input", 0, False
    for place, module in steps(net):
        what = f"the module {place!r} is a {type(module).__name__}"
        weighted = _is(module, (nn.Linear,)) or _is(module, _CONVOLUTIONS)
        parameters: dict[str, nn.Parameter] = dict(module.named_parameters())
        if not weighted or set(parameters) - {"weight", "bias"} or "weight" not in parameters:
            after = _after(module, form, uses[-1].out if uses else 0)
            if after is None and parameters and (whole or _trains(module) or began):
                return None, f"{what} with weights"
            if after is None and form != "input" and (whole or began):
                return None, f"{what} behind weights"
            if after is None:
                uses, form = [], "input"
                continue
            if isinstance(module, nn.Unflatten):
                channels = int(module.unflattened_size[0])
            form = after
            continue
        if getattr(module, "groups", 1) != 1:
            return None, f"{what} with groups"
        out, inputs = parameters["weight"].shape[:2]
        units = repeat = 0
        if form != "input":
            previous = uses[-1].out
            linear = isinstance(module, nn.Linear)
            if form == ("vector" if linear else "map") and inputs == previous:
                units, repeat = previous, 1
            elif form == "flat" and linear and inputs % previous == 0:
                units, repeat = previous, inputs // previous
            elif form == "split" and not linear and inputs == channels and not previous % channels:
                units, repeat = channels, 1
            else:
                return None, (
                    f"{what} with {inputs} inputs behind {uses[-1].place} with {previous} outputs"
                )
        bias = first[id(parameters["bias"])] if "bias" in parameters else None
        name = first[id(parameters["weight"])]
        uses.append(_Use(f"{place}.weight", name, bias, out, units, repeat))
        began = began or _trains(module)
        form = "vector" if isinstance(module, nn.Linear) else "map"
    return (uses, "") if uses else (None, "it has no Linear or Conv module")


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _after(module: nn.Module, form: str, out: int) -> str | None:
    """The form behind a module without weights; None if hidden units do not pass it one by one."""
    if _is(module, _ENTRYWISE):
        return form
    if _is(module, _POOLS) and form in ("map", "split"):
        return form
    read: Any = module
    if _is(module, (nn.Flatten,)) and (read.start_dim, read.end_dim) == (1, -1):
        return {"map": "flat", "flat": "flat", "vector": "vector"}.get(form)
    if _is(module, (nn.Unflatten,)) and read.dim == 1 and form == "vector":
        size = read.unflattened_size
        whole = all(isinstance(k, int) and k > 0 for k in size) and math.prod(size) == out
        return "split" if whole else None
    return None


def _between(chain: list[_Use]) -> tuple[Units, ...]:
    """The hidden layers of a chain."""
    return tuple(
        Units(
            (use.weight,) if use.bias is None else (use.weight, use.bias),
            after.weight,
            after.units,
            after.repeat,
            name=use.place,
        )
        for use, after in zip(chain, chain[1:], strict=False)
    )


def _sequential(net: nn.Sequential, trained: dict[str, Tensor]) -> tuple[Structure | None, str]:
    chain, reason = _chain(net, whole=False)
    if chain is None:
        return None, reason
    tensors = dict(net.named_parameters())
    layers: dict[str, Layer] = {}
    for use in chain:
        bias = use.bias
        if bias is not None and bias not in trained:
            # A constant: nothing where it is zero, a feature before the first trained weight.
            harmless = not bool((tensors[bias] != 0).any())
            if not harmless and (layers or use.weight in trained):
                raise NotHomogeneousError(
                    f"{bias} is a frozen bias, which does not grow with the trained weights "
                    "before it; train it with the first layer, or build the layer with bias=False"
                )
            bias = None
        if bias is not None and (layers or use.weight not in trained):
            where = "after the first layer" if layers else "of a frozen weight"
            raise NotHomogeneousError(
                f"{bias} is a bias {where}, which breaks homogeneity; "
                f"build that layer with bias=False"
            )
        if use.weight not in trained:
            continue
        if use.weight in layers:
            known = layers[use.weight]
            layers[use.weight] = replace(known, degree=known.degree + 1)
        else:
            names = (use.weight,) if bias is None else (use.weight, bias)
            layers[use.weight] = Layer(names, 1.0)
    covered = {name for layer in layers.values() for name in layer.names}
    if covered != set(trained):
        return None, f"{sorted(set(trained) - covered)} are not weights of Linear or Conv modules"
    total = float(sum(layer.degree for layer in layers.values()))
    return Structure(total, tuple(layers.values()), _between(chain), fixed_names(net)), ""

"""A network as the measurements see it: a copy, its trained parameters, its values elsewhere.

What measures a net works on a copy in eval mode and hands the parameters in, so that the caller's
net, its modes, its attributes and the random numbers stay as they are, also after an error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mirrorflow.checks import as_net, as_tensor
from mirrorflow.errors import MirrorFlowError

__all__ = [
    "call",
    "check_plain",
    "copied",
    "evaluate",
    "fixed_names",
    "largest",
    "points",
    "slots",
    "trained_parameters",
    "undisturbed",
]

P = ParamSpec("P")
R = TypeVar("R")


def undisturbed(function: Callable[P, R]) -> Callable[P, R]:
    """Run a measurement alike in every mode of the caller, and leave the random numbers alone.

    Inside there are no gradients, no inference mode (whose tensors no gradient can be taken of)
    and no autocast (which would round to 16 bits).
    """

    @wraps(function)
    def measure(*args: P.args, **kwargs: P.kwargs) -> R:
        started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        cuda = range(torch.cuda.device_count()) if started else ()
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            torch.random.fork_rng(devices=cuda),
        ):
            return function(*args, **kwargs)

    return measure


def check_plain(net: nn.Module) -> None:
    """Refuse a net whose weights are computed from its parameters by torch's own tools.

    Pruning masks, weight and spectral norm and other parametrisations: the parameters that one
    would measure are not the weights that act.

    Raises:
        TypeError: not a module, or one of TorchScript.
        ValueError: it names the module, the tool, and the call that makes the net readable.
    """
    as_net(net)
    if isinstance(net, torch.jit.ScriptModule):
        raise TypeError("net is a TorchScript module; pass the torch.nn.Module that it was made of")
    for path, module in net.named_modules():
        where = f"net.{path}" if path else "net"
        found = _computed(module)
        if found is not None:
            kind, weight, cure = found
            raise ValueError(
                f"the weight {weight!r} of {where} is computed from other parameters ({kind}), "
                f"which are not the weights that act: call {cure.format(where)} first, or copy "
                "the weights into a plain net"
            )
    for name, p in net.named_parameters():
        if isinstance(p, nn.UninitializedParameter):
            raise ValueError(f"the parameter {name!r} of net has no shape yet; call net(x) once")
        if p.is_complex():
            raise TypeError(f"the parameter {name!r} of net is complex; pass a net of real numbers")


def _computed(module: nn.Module) -> tuple[str, str, str] | None:
    """What computes a weight of this module: its kind, the weight, the call that ends it."""
    if parametrize.is_parametrized(module):
        lists: Any = module.parametrizations
        weight = next(iter(lists))
        kind = ", ".join(type(step).__name__.lstrip("_") for step in lists[weight])
        cure = f"torch.nn.utils.parametrize.remove_parametrizations({{}}, {weight!r})"
        return f"parametrised by {kind}", weight, cure
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            weight = str(hook._tensor_name)
            cure = f"torch.nn.utils.prune.remove({{}}, {weight!r})"
            return "pruned by a mask", weight, cure
        if isinstance(hook, WeightNorm):
            return (
                "weight_norm",
                hook.name,
                f"torch.nn.utils.remove_weight_norm({{}}, {hook.name!r})",
            )
        if isinstance(hook, SpectralNorm):
            return (
                "spectral_norm",
                hook.name,
                f"torch.nn.utils.remove_spectral_norm({{}}, {hook.name!r})",
            )
    return None


def copied(net: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy in eval mode that shares nothing with `net`; all its numbers in `dtype`, if given.

    Tensors that the net keeps beside its parameters (results of an earlier forward pass, constants)
    are copied without their history. A compiled net is taken as the module that was compiled.

    Raises:
        TypeError, ValueError: see `check_plain`; or a net that holds what cannot be copied.
    """
    as_net(net)
    inner = getattr(net, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        net = inner
    check_plain(net)
    memo: dict[int, Any] = {}
    for module in net.modules():
        _remember(vars(module), memo, dtype)
    try:
        twin = copy.deepcopy(net, memo)
    except Exception as error:
        raise TypeError(
            f"net (a {type(net).__name__}) cannot be copied ({type(error).__name__}: "
            f"{_line(error)}), and a measurement works on a copy so as not to change yours; "
            "remove from its attributes what copy.deepcopy does not take"
        ) from error
    if dtype is not None:
        twin = twin.to(dtype)
    for p in twin.parameters():
        p.grad = None
    return twin.eval()


def _remember(value: Any, memo: dict[int, Any], dtype: torch.dtype | None) -> None:
    """Enter copies of the tensors and generators in `value` that `deepcopy` would refuse."""
    if isinstance(value, nn.Parameter | nn.Module) or id(value) in memo:
        return
    if isinstance(value, Tensor):
        twin = value.detach().clone()
        memo[id(value)] = twin.to(dtype) if dtype and twin.is_floating_point() else twin
    elif isinstance(value, torch.Generator):
        memo[id(value)] = torch.Generator(value.device).set_state(value.get_state())
    elif isinstance(value, Mapping):
        for each in value.values():
            _remember(each, memo, dtype)
    elif isinstance(value, list | tuple | set):
        for each in value:
            _remember(each, memo, dtype)


def slots(net: nn.Module) -> dict[str, tuple[str, ...]]:
    """Where each parameter stands: its name in `named_parameters`, and all its places.

    A module that stands twice is one place; two modules with one parameter, or two names for it
    in one module, are two.
    """
    first: dict[int, str] = {id(p): name for name, p in net.named_parameters()}
    places: dict[str, list[str]] = {name: [] for name in first.values()}
    for path, module in net.named_modules():
        for key, p in module._parameters.items():
            if p is not None:
                places[first[id(p)]].append(f"{path}.{key}" if path else key)
    return {name: tuple(found) for name, found in places.items()}


def trained_parameters(net: nn.Module) -> dict[str, Tensor]:
    """The parameters with `requires_grad`, detached, by their names; the others are held fixed.

    Raises:
        ValueError: there are none, or all of them are frozen.
    """
    everything = dict(net.named_parameters())
    if not everything:
        raise ValueError("net has no parameters, so there is nothing to measure")
    trained = {name: p.detach() for name, p in everything.items() if p.requires_grad}
    if not trained:
        raise ValueError(
            "all parameters of net are frozen (requires_grad=False), and frozen ones count as "
            "fixed: nothing is trained; call net.requires_grad_(True), or set requires_grad on "
            "those that were trained"
        )
    return trained


def fixed_names(net: nn.Module) -> tuple[str, ...]:
    """The names of the frozen parameters."""
    return tuple(name for name, p in net.named_parameters() if not p.requires_grad)


def points(net: nn.Module, x: Any, name: str = "x", dtype: torch.dtype | None = None) -> Tensor:
    """Points `(n, …)` as the net takes them: NumPy arrays become tensors, numbers the `dtype`.

    Integers become numbers too, unless the net has an embedding, which looks them up.

    Raises:
        TypeError: neither a tensor nor an array.
        ValueError: no points, or NaN or infinity among them.
    """
    if isinstance(x, list | tuple):
        raise TypeError(f"{name} is a {type(x).__name__}; pass a torch.Tensor of points, (n, ...)")
    out = as_tensor(x, name).detach()
    if out.ndim == 0 or len(out) == 0:
        raise ValueError(
            f"{name} has shape {tuple(out.shape)}: it is empty, there are no points to measure "
            "on; pass shape (n, ...) with n >= 1"
        )
    if not bool(torch.isfinite(out).all()):
        raise ValueError(
            f"{name} of shape {tuple(out.shape)} is empty or holds NaN or infinity; drop or impute "
            "those points"
        )
    lookup = any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in net.modules())
    if not (lookup and not out.is_floating_point()):
        out = out.to(dtype or next((p.dtype for p in net.parameters()), out.dtype))
        if not bool(torch.isfinite(out).all()):
            raise ValueError(f"{name} leaves the range of {out.dtype}; rescale the points")
    # A copy, since a tensor made in inference mode cannot enter a gradient.
    return out.clone() if out.is_inference() else out


def call(net: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """`f(θ; x)` with these parameters in all their places, and the net's own for the rest.

    Raises:
        TypeError: the net returns something else than one real tensor.
    """
    # With tie_weights a module that stands twice is swapped twice and never put back.
    tensors = {
        place: parameters[name]
        for name, places in slots(net).items()
        if name in parameters
        for place in places
    }
    out = functional_call(net, tensors, (x,), tie_weights=False)
    if not isinstance(out, Tensor) or not out.is_floating_point():
        got = f"a tensor of {out.dtype}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise TypeError(
            f"net returns {got}; wrap it in a module that returns the outputs alone, one real "
            "tensor of shape (n,) or (n, C)"
        )
    return out


def evaluate(net: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """`call`, with what goes wrong inside the net told as an error of its points.

    Raises:
        ValueError: the forward pass fails on x, or draws random numbers.
        TypeError: see `call`.
    """
    before = torch.get_rng_state()
    try:
        out = call(net, parameters, x)
    except MirrorFlowError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and str(error).startswith("net returns"):
            raise
        raise ValueError(
            f"x: the net does not take points of shape {tuple(x.shape)}, {x.dtype}: {_line(error)}"
        ) from error
    if not torch.equal(before, torch.get_rng_state()):
        raise ValueError(
            "net draws random numbers in its forward pass in eval mode, so what one measures is "
            "random; make it deterministic after net.eval()"
        )
    return out


def largest(tensors: Iterable[Tensor]) -> float:
    """The largest magnitude among the entries, 0 if there are none."""
    return max((float(t.abs().max()) for t in tensors if t.numel()), default=0.0)


def _line(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0] if text and text[0] else type(error).__name__

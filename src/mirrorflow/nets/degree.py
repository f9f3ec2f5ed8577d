"""The numerical check of homogeneity, for any torch module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_number
from mirrorflow.errors import NotHomogeneousError
from mirrorflow.nets.evaluate import (
    check_plain,
    copied,
    evaluate,
    fixed_names,
    points,
    trained_parameters,
    undisturbed,
)

__all__ = ["Degree", "check_degree"]

_FACTORS = (0.5, 0.8, 1.25, 2.0)
_NOT_HOMOGENEOUS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LogSigmoid,
    nn.Mish,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softmax,
    nn.Softplus,
    nn.Tanh,
)


@dataclass(frozen=True)
class Degree:
    """`L` and the `k_l` by parameter name, with the largest relative deviation that was seen.

    `fixed` names the frozen parameters (`requires_grad=False`), which were not scaled.
    """

    total: float
    layers: dict[str, float]
    deviation: float
    fixed: tuple[str, ...] = ()


@undisturbed
def check_degree(net: nn.Module, x: Tensor, *, rtol: float | None = None) -> Degree:
    """Verify `f(cθ; x) = c^L f(θ; x)` and find `L`, for c in 1/2 … 2, and layer by layer.

    θ are the trained parameters; those with `requires_grad=False` are held fixed. A parameter that
    is used in several places counts in each. A copy of the net is called, without gradients, in
    its own dtype (16-bit nets in float64), in eval mode except for BatchNorm, which normalises by
    the batch as it does in training. Your net is left as it was.

    Args:
        net: any module with `net(x)` of shape (n,) or (n, C).
        x: a few points (n, …); more points see more activation patterns.
        rtol: allowed relative deviation, in (0, 1); None is 1e-9, in float32 2e-4.

    Returns:
        A `Degree`; `layers` holds the tensors in which `f` is homogeneous on its own (all of
        them for a plain feed-forward net).

    Raises:
        NotHomogeneousError: f is not homogeneous, or zero; the message names what breaks it.
        ValueError: points that are empty, not finite, or of a shape that the net does not take;
            all parameters frozen; weights that are computed (pruning masks, weight norm).
        TypeError: net is no module, or x no tensor.
    """
    check_plain(net)
    if not any(True for _ in net.parameters()):
        raise NotHomogeneousError("the net has no parameters, so it has degree 0")
    own = next(net.parameters()).dtype
    dtype = own if own is torch.float32 else torch.float64
    if rtol is None:
        rtol = 2e-4 if dtype is torch.float32 else 1e-9
    else:
        rtol = as_number(rtol, "rtol", above=0, below=1)
    model = copied(net, dtype)
    x = points(model, x, dtype=dtype)
    parameters = trained_parameters(model)
    for module in model.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)

    def outputs(factor: float, names: set[str]) -> Tensor:
        scaled = {k: p * factor if k in names else p for k, p in parameters.items()}
        return evaluate(model, scaled, x).to(torch.float64)

    base = outputs(1.0, set())
    if not torch.isfinite(base).all():
        raise NotHomogeneousError("f(x) holds NaN or infinity; check the parameters")
    if base.numel() == 0 or base.abs().max() == 0:
        raise NotHomogeneousError(
            "f is zero on every point of x, so its degree cannot be measured; "
            "start from other weights or pass other points"
        )
    total, deviation = _fit(base, _scaling(outputs, set(parameters)))
    if not (deviation <= rtol and total > 0):
        raise NotHomogeneousError(_explain(model, parameters, base, outputs, total, deviation))
    layers = {}
    for name in parameters:
        own_degree, worst = _fit(base, _scaling(outputs, {name}))
        if worst <= rtol:
            layers[name] = own_degree
    if 0.0 in layers.values() and _normalisations(model):
        # A normalisation makes f independent of the size of the weights before it, up to its eps.
        raise NotHomogeneousError(_explain(model, parameters, base, outputs, total, deviation))
    return Degree(total, layers, deviation, fixed_names(model))


def _scaling(
    outputs: Callable[[float, set[str]], Tensor], names: set[str]
) -> Callable[[float], Tensor]:
    return lambda c: outputs(c, names)


def _fit(base: Tensor, scaled: Callable[[float], Tensor]) -> tuple[float, float]:
    """The best exponent for c ↦ scaled(c) and the largest deviation from `c^L base`."""
    peak = base.abs().max()
    base = base / peak  # squares of outputs can leave the float range
    norm = base.norm()
    values = {c: scaled(c) / peak for c in _FACTORS}
    projections = {c: float((v * base).sum() / norm**2) for c, v in values.items()}
    if any(not math.isfinite(r) or r <= 0 for r in projections.values()):
        return math.nan, math.inf
    exponent = math.log(projections[2.0] / projections[0.5]) / math.log(4.0)
    if abs(exponent - round(exponent)) < 1e-3:
        exponent = float(round(exponent))
    deviation = max(float((v / c**exponent - base).norm() / norm) for c, v in values.items())
    return exponent, deviation


def _normalisations(net: nn.Module) -> list[tuple[str, nn.Module]]:
    kinds = nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm
    return [(name, module) for name, module in net.named_modules() if isinstance(module, kinds)]


def _frozen_biases(net: nn.Module) -> list[str]:
    """Those that are not zero and stand beside or behind the first trained weight."""
    names, began = [], False
    for path, module in net.named_modules():
        own = dict(module.named_parameters(recurse=False))
        began = began or any(p.requires_grad for p in own.values())
        names += [
            f"{path}.{key}" if path else key
            for key, p in own.items()
            if began and key == "bias" and not p.requires_grad and bool((p != 0).any())
        ]
    return names


def _explain(
    net: nn.Module,
    parameters: dict[str, Tensor],
    base: Tensor,
    outputs: Callable[[float, set[str]], Tensor],
    total: float,
    deviation: float,
) -> str:
    """Say which module or parameter breaks homogeneity, as far as it can be told."""
    causes = [
        f"{name} is a {type(module).__name__}: its output does not grow with the weights before it"
        for name, module in _normalisations(net)
    ]
    causes += [
        f"{name} is a {type(module).__name__}, which is not positively homogeneous"
        for name, module in net.named_modules()
        if isinstance(module, _NOT_HOMOGENEOUS)
    ]
    first = next(iter(parameters)).rpartition(".")[0]
    causes += [
        f"{name} is a bias: only the weight of a constant input in the first layer is allowed"
        for name in parameters
        if name.rpartition(".")[2] == "bias" and name.rpartition(".")[0] != first
    ]
    causes += [
        f"{name} is a frozen bias, which does not grow with the trained weights before it"
        for name in _frozen_biases(net)
    ]
    if not causes:
        for name in parameters:
            own, worst = _fit(base, _scaling(outputs, {name}))
            if not worst < 1e-3:
                causes.append(f"the output is not homogeneous in {name} alone")
            elif own == 0:
                causes.append(f"the output does not depend on {name}")
    found = f"best exponent {total:.4g}, relative deviation {deviation:.2g}"
    reason = "; ".join(causes) or "an activation that is not homogeneous, such as tanh or GELU"
    return (
        f"the net is not positively homogeneous in its parameters ({found}): {reason}. Use "
        "bias-free layers without normalisation and ReLU-like activations (see mirrorflow.nets)"
    )

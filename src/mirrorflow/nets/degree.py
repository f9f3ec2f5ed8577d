"""The numerical check of homogeneity, for any torch module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mirrorflow.errors import NotHomogeneousError

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
    """`L` and the `k_l` by parameter name, with the largest relative deviation that was seen."""

    total: float
    layers: dict[str, float]
    deviation: float


def check_degree(net: nn.Module, x: Tensor, *, rtol: float | None = None) -> Degree:
    """Verify `f(cθ; x) = c^L f(θ; x)` and find `L`, for c in 1/2 … 2, and layer by layer.

    The net is called without gradients, in its own dtype, in eval mode except for BatchNorm, which
    normalises by the batch as it does in training; it is left as it was.

    Args:
        net: any module with `net(x)` of shape (n,) or (n, C).
        x: a few points (n, …); more points see more activation patterns.
        rtol: allowed relative deviation; None is 1e-9 in float64, 2e-4 in float32, 5e-2 in less.

    Returns:
        A `Degree`; `layers` holds the tensors in which `f` is homogeneous on its own (all of
        them for a plain feed-forward net).

    Raises:
        NotHomogeneousError: f is not homogeneous, or zero; the message names what breaks it.
        ValueError: points that are empty, not finite, or of a shape that the net does not take.
        TypeError: net is no module, or x no tensor.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net is a {type(net).__name__}; pass a torch.nn.Module")
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}; pass points as a torch.Tensor, (n, ...)")
    if len(x) == 0 or not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"x of shape {tuple(x.shape)} is empty or holds NaN or infinity; pass finite points"
        )
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    if not parameters:
        raise NotHomogeneousError("the net has no parameters, so it has degree 0")
    buffers = dict(net.named_buffers())
    dtype = next(iter(parameters.values())).dtype
    rtol = rtol or {torch.float64: 1e-9, torch.float32: 2e-4}.get(dtype, 5e-2)
    modes = {module: module.training for module in net.modules()}
    for module in modes:
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    try:
        with torch.no_grad():

            def outputs(factor: float, names: set[str]) -> Tensor:
                scaled = {k: p * factor if k in names else p for k, p in parameters.items()}
                # A copy of the buffers: running statistics must not move.
                copies = {k: b.clone() for k, b in buffers.items()}
                out: Tensor = functional_call(net, {**scaled, **copies}, (x,))
                return out.to(torch.float64)

            try:
                base = outputs(1.0, set())
            except RuntimeError as error:
                raise ValueError(
                    f"the net does not take points of shape {tuple(x.shape)}, {x.dtype}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            if not torch.isfinite(base).all():
                raise NotHomogeneousError("f(x) holds NaN or infinity; check the parameters")
            if base.abs().max() == 0:
                raise NotHomogeneousError(
                    "f is zero on every point of x, so its degree cannot be measured; "
                    "start from other weights or pass other points"
                )
            total, deviation = _fit(base, _scaling(outputs, set(parameters)))
            if not (deviation <= rtol and total > 0):
                raise NotHomogeneousError(
                    _explain(net, parameters, base, outputs, total, deviation)
                )
            layers = {}
            for name in parameters:
                own, worst = _fit(base, _scaling(outputs, {name}))
                if worst <= rtol:
                    layers[name] = own
    finally:
        for module, mode in modes.items():
            module.training = mode
    return Degree(total, layers, deviation)


def _scaling(
    outputs: Callable[[float, set[str]], Tensor], names: set[str]
) -> Callable[[float], Tensor]:
    return lambda c: outputs(c, names)


def _fit(base: Tensor, scaled: Callable[[float], Tensor]) -> tuple[float, float]:
    """The best exponent for c ↦ scaled(c) and the largest deviation from `c^L base`."""
    norm = base.norm()
    values = {c: scaled(c) for c in _FACTORS}
    projections = {c: float((v * base).sum() / norm**2) for c, v in values.items()}
    if any(not math.isfinite(r) or r <= 0 for r in projections.values()):
        return math.nan, math.inf
    exponent = math.log(projections[2.0] / projections[0.5]) / math.log(4.0)
    if abs(exponent - round(exponent)) < 1e-3:
        exponent = float(round(exponent))
    deviation = max(float((v / c**exponent - base).norm() / norm) for c, v in values.items())
    return exponent, deviation


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
        for name, module in net.named_modules()
        if isinstance(
            module,
            nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm,
        )
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

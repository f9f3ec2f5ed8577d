"""Margins and losses in the log domain: nothing underflows because the loss is exp(−1e30).

With `a_i = log Σ_{k≠y_i} exp(−q_{ik})` (`−q_i` for a binary net) every loss here is a function of
`a_i`: exponential `log ℓ_i = a_i`, logistic and cross-entropy `log ℓ_i = log log(1 + e^{a_i})`, and
`log ℓ = logsumexp_i log ℓ_i (− log n for the mean)`. Autograd through `log_loss` is the normalised
gradient `∇ℓ/ℓ`, exact to rounding at any loss.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = [
    "Loss",
    "Reduction",
    "check_labels",
    "log_loss",
    "log_loss_per_point",
    "log_softplus",
    "margins",
    "pairwise_margins",
]

Loss = Literal["exponential", "logistic", "cross_entropy"]
Reduction = Literal["mean", "sum"]


def check_labels(outputs: Tensor, y: Tensor) -> None:
    """Refuse labels that do not fit the outputs.

    Args:
        outputs: (n,) for a binary net, (n, C) for C classes.
        y: (n,), ±1 for a binary net, integer class indices 0 … C−1 otherwise.

    Raises:
        ValueError: wrong shape, or labels outside what is allowed.
    """
    outputs = _flat(outputs)
    if outputs.ndim not in (1, 2) or (outputs.ndim == 2 and outputs.shape[1] < 2):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}; a binary net returns (n,), a multiclass "
            "net (n, C) with C >= 2"
        )
    if y.shape != outputs.shape[:1]:
        raise ValueError(
            f"y has shape {tuple(y.shape)} for outputs of shape {tuple(outputs.shape)}; pass one "
            f"label a point, shape ({outputs.shape[0]},)"
        )
    if outputs.ndim == 1:
        if not bool(((y == 1) | (y == -1)).all()):
            raise ValueError(
                f"y holds {_some(y)}; a binary net takes labels -1 and +1 (from 0/1: 2*y - 1)"
            )
    elif y.is_floating_point() or bool(((y < 0) | (y >= outputs.shape[1])).any()):
        raise ValueError(
            f"y holds {_some(y)} ({y.dtype}); a net with {outputs.shape[1]} classes takes integer "
            f"labels 0 ... {outputs.shape[1] - 1}"
        )


def _flat(outputs: Tensor) -> Tensor:
    """(n, 1) is a binary net too."""
    return outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs


def _some(y: Tensor) -> list[float]:
    return [round(float(v), 6) for v in torch.unique(y)[:5]]


def pairwise_margins(outputs: Tensor, y: Tensor) -> Tensor:
    """`q_{ik} = f_{y_i} − f_k`, `k ≠ y_i`, shape (n, C−1); if binary `q_i = y_i f_i`, (n, 1)."""
    outputs = _flat(outputs)
    if outputs.ndim == 1:
        return (y.to(outputs.dtype) * outputs)[:, None]
    n, classes = outputs.shape
    others = torch.arange(classes - 1, device=outputs.device).expand(n, -1)
    others = others + (others >= y[:, None]).to(others.dtype)
    return outputs.gather(1, y[:, None]) - outputs.gather(1, others)


def margins(outputs: Tensor, y: Tensor) -> Tensor:
    """`q_i = min_k q_{ik}`, shape (n,): positive where the point is classified correctly."""
    return pairwise_margins(outputs, y).amin(1)


def log_softplus(a: Tensor) -> Tensor:
    """`log log(1 + e^a)`, elementwise: a for a → −∞, log a for a → ∞."""
    # Below the cut log softplus(a) = a − e^a/2 to rounding; softplus itself underflows at
    # a = −745 (float64), −103 (float32). The branches are clamped for the sake of autograd.
    cut = {torch.float64: -34.0, torch.float32: -15.0}.get(a.dtype, -5.0)
    low, high = a.clamp(max=cut), a.clamp(min=cut)
    series = a - 0.5 * low.exp()
    return torch.where(a < cut, series, torch.nn.functional.softplus(high).log())


def log_loss_per_point(outputs: Tensor, y: Tensor, loss: Loss = "cross_entropy") -> Tensor:
    """`log ℓ_i`, shape (n,).

    Args:
        outputs: (n,) or (n, C), see `check_labels`.
        y: (n,) labels.
        loss: "exponential", or "logistic" = "cross_entropy" (one formula, binary and multiclass).

    Raises:
        ValueError: an unknown loss.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"loss = {loss!r} is unknown; choose one of {list(get_args(Loss))}")
    q = pairwise_margins(outputs, y)
    a = -q[:, 0] if q.shape[1] == 1 else torch.logsumexp(-q, dim=1)
    return a if loss == "exponential" else log_softplus(a)


def log_loss(
    outputs: Tensor,
    y: Tensor,
    loss: Loss = "cross_entropy",
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """`log ℓ`, the logarithm of the mean (or the sum) of the losses; a scalar tensor.

    Its gradient is the normalised gradient `∇ℓ/ℓ`, which does not vanish as `ℓ → 0`.

    Args:
        outputs: (n,) or (n, C).
        y: (n,) labels, ±1 or class indices.
        loss: see `log_loss_per_point`.
        reduction: "mean", the convention of training, or "sum", that of the theory.

    Raises:
        ValueError: an unknown loss or reduction, or labels that do not fit (see `check_labels`).
    """
    if not torch.compiler.is_compiling():
        check_labels(outputs, y)
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction = {reduction!r}; choose one of {list(get_args(Reduction))}")
    total = torch.logsumexp(log_loss_per_point(outputs, y, loss), dim=0)
    return total - math.log(len(outputs)) if reduction == "mean" else total

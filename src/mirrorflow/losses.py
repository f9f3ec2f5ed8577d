"""Margins and losses in the log domain: nothing underflows because the loss is exp(−1e30).

With `a_i = log Σ_{k≠y_i} exp(−q_{ik})` (`−q_i` for a binary net) every loss here is a function of
`a_i`: exponential `log ℓ_i = a_i`, logistic and cross-entropy `log ℓ_i = log log(1 + e^{a_i})`, and
`log ℓ = logsumexp_i log ℓ_i (− log n for the mean)`. Autograd through `log_loss` is the normalised
gradient `∇ℓ/ℓ`, exact to rounding at any loss.

The square loss `ℓ_i = ½ Σ_c (f_{ic} − y_{ic})²` is the one that fits real targets. It has no
margins: nets that reach zero stay where they are, and which of the zeros they reach is decided by
the mirror map and the start (`exact.min_bregman`).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from mirrorflow.checks import as_choice, as_tensor
from mirrorflow.labels import as_labels, as_targets

__all__ = [
    "Loss",
    "Reduction",
    "check_labels",
    "log_loss",
    "log_loss_per_point",
    "log_softplus",
    "margins",
    "output_classes",
    "pairwise_margins",
]

Loss = Literal["exponential", "logistic", "cross_entropy", "square"]
Reduction = Literal["mean", "sum"]


def output_classes(outputs: Tensor) -> int | None:
    """None for the outputs (n,) or (n, 1) of a binary net, C for those (n, C) of C ≥ 2 classes.

    Raises:
        TypeError: not a tensor of floating-point numbers.
        ValueError: another shape.
    """
    return _classes(_outputs(outputs))


def check_labels(outputs: Tensor, y: Tensor) -> Tensor:
    """The labels as int64 on the device of the outputs, after `mirrorflow.labels.as_labels`.

    Args:
        outputs: (n,) or (n, 1) for a binary net, (n, C) for C classes.
        y: (n,), ±1 for a binary net, class indices 0 … C−1 otherwise; any integer type.

    Raises:
        TypeError: outputs or labels that are not numbers, or class indices that are floats.
        ValueError: wrong shape, or labels outside what is allowed.
    """
    return _labels(_outputs(outputs), y)


def _outputs(outputs: Tensor) -> Tensor:
    """Floats of shape (n,) for a binary net, since (n, 1) is one too, or (n, C)."""
    outputs = _floats(outputs, "outputs")
    return outputs[:, 0] if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs


def _floats(values: Tensor, name: str) -> Tensor:
    values = as_tensor(values, name)
    if not values.is_floating_point():
        return values.to(torch.get_default_dtype())
    if values.dtype.itemsize < 2:
        raise TypeError(
            f"{name} has dtype {values.dtype}, in which torch computes no exponentials; pass "
            f"{name}.float()"
        )
    return values


def _classes(outputs: Tensor) -> int | None:
    if outputs.ndim not in (1, 2) or (outputs.ndim == 2 and outputs.shape[1] < 2):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}; a binary net returns (n,), a multiclass "
            "net (n, C) with C >= 2"
        )
    return outputs.shape[1] if outputs.ndim == 2 else None


def _labels(outputs: Tensor, y: Tensor) -> Tensor:
    classes = _classes(outputs)
    try:
        return as_labels(y, classes, points=len(outputs)).to(outputs.device)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; outputs have shape {tuple(outputs.shape)}") from None


def pairwise_margins(outputs: Tensor, y: Tensor) -> Tensor:
    """`q_{ik} = f_{y_i} − f_k`, `k ≠ y_i`, shape (n, C−1); if binary `q_i = y_i f_i`, (n, 1).

    Args:
        outputs: (n,), (n, 1) or (n, C).
        y: (n,) labels.

    Raises:
        TypeError, ValueError: see `check_labels`.
    """
    outputs = _outputs(outputs)
    return _pairwise(outputs, _labels(outputs, y))


def _pairwise(outputs: Tensor, y: Tensor) -> Tensor:
    if outputs.ndim == 1:
        return (y.to(outputs.dtype) * outputs)[:, None]
    n, classes = outputs.shape
    others = torch.arange(classes - 1, device=outputs.device).expand(n, -1)
    others = others + (others >= y[:, None]).to(others.dtype)
    return outputs.gather(1, y[:, None]) - outputs.gather(1, others)


def margins(outputs: Tensor, y: Tensor) -> Tensor:
    """`q_i = min_k q_{ik}`, shape (n,): positive where the point is classified correctly.

    Args:
        outputs: (n,), (n, 1) or (n, C).
        y: (n,) labels.

    Raises:
        TypeError, ValueError: see `check_labels`.
    """
    return pairwise_margins(outputs, y).amin(1)


def log_softplus(a: Tensor) -> Tensor:
    """`log log(1 + e^a)`, elementwise: a for a → −∞, log a for a → ∞.

    Args:
        a: any shape.

    Raises:
        TypeError: not a tensor of numbers.
    """
    a = _floats(a, "a")
    # Below the cut log softplus(a) = a − e^a/2 to rounding; softplus itself underflows at
    # a = −745 (float64), −103 (float32). The branches are clamped for the sake of autograd.
    cut = {torch.float64: -34.0, torch.float32: -15.0}.get(a.dtype, -5.0)
    low, high = a.clamp(max=cut), a.clamp(min=cut)
    series = a - 0.5 * low.exp()
    return torch.where(a < cut, series, torch.nn.functional.softplus(high).log())


def log_loss_per_point(outputs: Tensor, y: Tensor, loss: Loss = "cross_entropy") -> Tensor:
    """`log ℓ_i`, shape (n,).

    Args:
        outputs: (n,), (n, 1) or (n, C), see `check_labels`.
        y: (n,) labels; for "square" real targets, (n,) or (n, C) like the outputs.
        loss: "exponential", "logistic" = "cross_entropy" (one formula, binary and multiclass), or
            "square".

    Raises:
        TypeError: outputs or labels that are not numbers, class labels for "square", or a loss
            that is not text.
        ValueError: an unknown loss, or labels that do not fit (see `check_labels`).
    """
    as_choice(loss, "loss", get_args(Loss))
    outputs = _outputs(outputs)
    if loss == "square":
        return _log_half_square(_residuals(outputs, y), per_point=True)
    q = _pairwise(outputs, _labels(outputs, y))
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
        outputs: (n,), (n, 1) or (n, C), n ≥ 1.
        y: (n,) labels, ±1 or class indices, of any integer type; real targets for "square".
        loss: see `log_loss_per_point`.
        reduction: "mean", the convention of training, or "sum", that of the theory.

    Raises:
        TypeError: outputs or labels that are not numbers, or a name that is not text.
        ValueError: an unknown loss or reduction, no points, or labels that do not fit (see
            `check_labels`).
    """
    as_choice(reduction, "reduction", get_args(Reduction))
    as_choice(loss, "loss", get_args(Loss))
    outputs = _outputs(outputs)
    if outputs.ndim and not len(outputs):
        raise ValueError("outputs have shape (0, ...): the loss of no points is not defined")
    if loss == "square":
        total = _log_half_square(_residuals(outputs, y), per_point=False)
        each = outputs
    else:
        each = log_loss_per_point(outputs, y, loss)
        total = torch.logsumexp(each, dim=0)
    return total - math.log(len(each)) if reduction == "mean" else total


def _residuals(outputs: Tensor, y: Tensor) -> Tensor:
    """`f − y`, (n, 1) or (n, C)."""
    _classes(outputs)
    targets = as_targets(y, tuple(outputs.shape)).to(outputs.device, outputs.dtype)
    return (outputs - targets).reshape(len(outputs), -1)


def _log_half_square(residuals: Tensor, *, per_point: bool) -> Tensor:
    """`log ½Σr²` by rows, or of all: −∞ with gradient 0 where every residual is zero."""
    rows = residuals if per_point else residuals.reshape(1, -1)
    # In units of the largest, since the square of a small residual leaves the floats.
    top = rows.detach().abs().amax(1)
    unit = torch.where(top > 0, top, 1.0)
    total = (rows / unit[:, None]).square().sum(1)
    zero = torch.where(top > 0, total, 1.0).log() + 2 * unit.log() - math.log(2)
    value = torch.where(top > 0, zero, -math.inf)
    return value if per_point else value[0]

"""Gradients of single margins, and of their ReLU kinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import grad, vmap

from mirrorflow.nets.evaluate import call as net_call
from mirrorflow.nets.relu_calls import ReplacedReLU

__all__ = ["Kinks", "Rows", "find_kinks", "kink_gradients", "margin_gradients", "weighted_gradient"]

_BATCH_BYTES = 1 << 27


@dataclass(frozen=True)
class Rows:
    """Margins `q_i = ⟨w_i, f(x_i)⟩` to differentiate: points (m, …) and weights (m,) or (m, C).

    `w = y` for a binary net; for `f_y − f_k` it is +1 at y and −1 at k.
    """

    x: Tensor
    weights: Tensor

    def take(self, index: Tensor | slice) -> Rows:
        """Some of the rows."""
        return Rows(self.x[index], self.weights[index])


@dataclass(frozen=True)
class Kinks:
    """Units at their kink: `row`, the ReLU `call` and the flat `unit`, (K,) each, those of the
    largest influence first; `masks` holds per call which entries are at a kink, (m, …)."""

    row: Tensor
    call: Tensor
    unit: Tensor
    masks: tuple[Tensor, ...]


def margin_gradients(
    net: nn.Module, parameters: dict[str, Tensor], rows: Rows, dtype: type[np.floating[Any]]
) -> NDArray[Any]:
    """`∇q_i`, (m, d) flattened in the order of `parameters`, batch by batch."""
    return _gradients(net, parameters, rows, None, dtype)


def weighted_gradient(
    net: nn.Module, parameters: dict[str, Tensor], rows: Rows
) -> NDArray[np.float64]:
    """`Σ_i ∇⟨w_i, f(x_i)⟩`, (d,), in one backward pass."""
    leaves = {k: p.detach().requires_grad_() for k, p in parameters.items()}
    out = net_call(net, leaves, rows.x).reshape(rows.weights.shape)
    grads = torch.autograd.grad((out * rows.weights).sum(), list(leaves.values()))
    flat: NDArray[np.float64] = torch.cat([g.reshape(-1) for g in grads]).cpu().numpy()
    return flat


def kink_gradients(
    net: nn.Module,
    parameters: dict[str, Tensor],
    rows: Rows,
    kinks: Kinks,
    dtype: type[np.floating[Any]],
    limit: int,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.intp]]:
    """`∇q_i` with the derivative 0 at every kink, (m, d); for every kink what setting its
    derivative alone to 1 adds, (K, d), if that is not zero (relative to 1e-9); and its row.

    A ReLU whose input is zero for any weights, such as one on a blank patch, adds nothing. The
    strongest `limit + 1` of the others are returned, so that the caller sees if there are more.
    """
    off = tuple(torch.zeros(mask.shape, dtype=torch.float64) for mask in kinks.masks)
    base = _gradients(net, parameters, rows, (kinks.masks, off), dtype)
    sizes = np.sqrt(np.einsum("ij,ij->i", base, base, dtype=np.float64))
    parts, owners, count = [base[:0]], [np.zeros(0, dtype=np.intp)], 0
    step = 256
    for start in range(0, len(kinks.row), step):
        row, call, unit = (t[start : start + step] for t in (kinks.row, kinks.call, kinks.unit))
        masks = tuple(mask[row] for mask in kinks.masks)
        on = tuple(torch.zeros(mask.shape, dtype=torch.float64) for mask in masks)
        for number, values in enumerate(on):
            mine = torch.nonzero(call == number)[:, 0]
            values.reshape(len(row), -1)[mine, unit[mine]] = 1.0
        owner = row.numpy()
        added = _gradients(net, parameters, rows.take(row), (masks, on), dtype) - base[owner]
        real = np.einsum("ij,ij->i", added, added, dtype=np.float64) > (1e-9 * sizes[owner]) ** 2
        parts.append(added[real])
        owners.append(owner[real])
        count += int(real.sum())
        if count > limit:
            break
    return base, np.concatenate(parts)[: limit + 1], np.concatenate(owners)[: limit + 1]


def find_kinks(
    net: nn.Module, parameters: dict[str, Tensor], rows: Rows, tolerance: float
) -> Kinks:
    """ReLU inputs that are zero, up to `tolerance` times the layer's largest input at that point.

    Units without influence on the margin (`∂q/∂h = 0` relative to 1e-9) are no kinks.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def record(_: int, z: Tensor) -> Tensor:
        h = torch.where(z > 0, z, torch.zeros_like(z))
        inputs.append(z.detach())
        outputs.append(h)
        return h

    leaves = {k: p.detach().requires_grad_() for k, p in parameters.items()}
    with ReplacedReLU(record):
        out = net_call(net, leaves, rows.x)
    q = (out.reshape(rows.weights.shape) * rows.weights).reshape(len(rows.x), -1).sum(1)
    live = [i for i, h in enumerate(outputs) if h.requires_grad and len(h) == len(rows.x)]
    if not live:
        return _no_kinks(outputs)
    slopes = torch.autograd.grad(q.sum(), [outputs[i] for i in live], allow_unused=True)
    masks, found = [torch.zeros(h.shape, dtype=torch.bool) for h in outputs], []
    for i, slope in zip(live, slopes, strict=True):
        if slope is None:
            continue
        z = inputs[i].reshape(len(rows.x), -1).abs()
        influence = slope.reshape(len(rows.x), -1).abs() * z.amax(1, keepdim=True)
        scale = q.detach().abs().clamp(min=1e-300)[:, None]
        at = (z <= tolerance * z.amax(1, keepdim=True)) & (influence > 1e-9 * scale)
        row, unit = torch.nonzero(at, as_tuple=True)
        strength = (influence / scale)[row, unit]
        found.append((row, torch.full_like(row, i), unit, strength))
        masks[i] = at.reshape(outputs[i].shape).cpu()
    if not found:
        return _no_kinks(outputs)
    row, call, unit, strength = (torch.cat(p).cpu() for p in zip(*found, strict=True))
    order = torch.argsort(strength, descending=True, stable=True)
    return Kinks(row[order], call[order], unit[order], tuple(masks))


def _no_kinks(outputs: list[Tensor]) -> Kinks:
    empty = torch.zeros(0, dtype=torch.long)
    return Kinks(
        empty, empty, empty, tuple(torch.zeros(h.shape, dtype=torch.bool) for h in outputs)
    )


def _gradients(
    net: nn.Module,
    parameters: dict[str, Tensor],
    rows: Rows,
    kinks: tuple[Sequence[Tensor], Sequence[Tensor]] | None,
    dtype: type[np.floating[Any]],
) -> NDArray[Any]:
    size = sum(p.numel() for p in parameters.values())
    calls = len(kinks[0]) if kinks else 0
    device = rows.x.device

    def single(params: dict[str, Tensor], x: Tensor, w: Tensor, *given: Tensor) -> Tensor:
        def rule(call: int, z: Tensor) -> Tensor:
            mask, on = given[call][None], given[calls + call][None]
            return torch.where(mask, on * z, torch.where(z > 0, z, torch.zeros_like(z)))

        if given:
            with ReplacedReLU(rule):
                out = net_call(net, params, x[None])
        else:
            out = net_call(net, params, x[None])
        value: Tensor = (out.reshape(w.shape) * w).sum()
        return value

    given: list[Tensor] = [*kinks[0], *kinks[1]] if kinks else []
    batched = vmap(grad(single), in_dims=(None, 0, 0, *[0] * len(given)))
    result = np.empty((len(rows.x), size), dtype=dtype)
    step = max(1, min(512, _BATCH_BYTES // (8 * size)))
    by_point = False
    for start in range(0, len(rows.x), step):
        part = slice(start, start + step)
        x, w = rows.x[part], rows.weights[part]
        extra = [t[part].to(device) for t in given]
        if not by_point:
            try:
                grads = batched(parameters, x, w, *extra)
            except RuntimeError:  # operations without a batching rule, or data-dependent branches
                by_point = True
        if by_point:
            each = [
                grad(single)(parameters, x[i], w[i], *(t[i] for t in extra)) for i in range(len(x))
            ]
            grads = {k: torch.stack([g[k] for g in each]) for k in parameters}
        flat = torch.cat([grads[k].reshape(len(x), -1) for k in parameters], dim=1)
        result[part] = flat.detach().cpu().numpy()
    return result

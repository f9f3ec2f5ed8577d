"""The learning rate of a map that moves the net as far as a given rate of SGD or AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from mirrorflow.checks import as_choice, as_number
from mirrorflow.maps import MapLike
from mirrorflow.optim.mirror_descent import MirrorDescent
from mirrorflow.optim.sharded import inner
from mirrorflow.optim.step_size import solve_step
from mirrorflow.optim.update import Update

__all__ = ["match_lr"]

_WITHIN = 1.0001


@torch.no_grad()
def match_lr(
    params: Iterable[Any],
    lr: float,
    *,
    mirror_map: MapLike | None = None,
    like: Literal["sgd", "adamw"] = "sgd",
) -> float:
    """The step s of a map whose first update does as much as that of another optimizer.

    With `Δ(s) = θ − ∇R*(∇R(θ) − s·d)` over the whole net, the larger of the two steps with

        ‖Δ(s)‖₂ = lr·‖d‖₂    (as long)    and    ⟨g, Δ(s)⟩ = ½·lr·⟨g, d⟩    (half the decrease),

    found by bisection, without any network evaluation. The second counts for p > 2, where the few
    entries near zero make up the length but do little for the loss. Call it after the first
    `backward()`; nothing is moved.

    Args:
        params: as for `MirrorDescent`, with gradients.
        lr: the rate that is known to work, > 0.
        mirror_map: as for `MirrorDescent`.
        like: "sgd", `d = g`, for `MirrorDescent`; "adamw", `d = g/(|g| + 1e-8)`, for `MirrorAdamW`.

    Reduces to: lr for `Quadratic()`.

    Does not promise: the best rate of the map; where it was measured (docs/optimizers.md) the
    best was never smaller than this and mostly at most three times larger.

    Source: measured for this library.

    Raises:
        ValueError: no gradients, all of them zero, a wrong lr or like.
        TypeError: lr is not a number, like is not text, params or mirror_map as `MirrorDescent`.
    """
    lr = as_number(lr, "lr", above=0)
    like = as_choice(like, "like", ("sgd", "adamw"))
    probe = MirrorDescent(params, 1.0, mirror_map=mirror_map)
    updates, gradients = [], []
    for p, group in probe.with_gradient():
        g = p.grad.to(torch.promote_types(p.dtype, torch.float32))  # type: ignore[union-attr]
        d = g if like == "sgd" else g / (g.abs() + 1e-8)
        updates.append(Update(p, p.detach().to(g.dtype), d, group))
        gradients.append(g)
    length = _norm([u.direction for u in updates])
    if not 0 < length < math.inf:
        raise ValueError(
            f"params have a gradient of norm {length}; match_lr needs one that is finite and not "
            "zero: call it after loss.backward()"
        )
    if not 0 < lr * length < math.inf:
        raise ValueError(
            f"lr = {lr} times the gradient norm {length} of params is not a length; choose a "
            "smaller lr, or a larger one"
        )

    def change(s: float) -> float:
        return _norm([u.moved(s) - u.x for u in updates])

    def decrease(s: float) -> float:
        moves = (u.x - u.moved(s) for u in updates)
        return sum(inner(g, move) for g, move in zip(gradients, moves, strict=True))

    wanted = 0.5 * lr * sum(inner(g, u.direction) for g, u in zip(gradients, updates, strict=True))
    as_long = solve_step(change, lr, lr * length, within=_WITHIN)
    return max(as_long, solve_step(decrease, as_long, wanted, within=_WITHIN))


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(t)) ** 2 for t in tensors))

"""The learning rate of a map that moves the net as far as a given rate of SGD or AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from mirrorflow.maps import MapLike
from mirrorflow.optim.checks import require_at_least_zero
from mirrorflow.optim.mirror_descent import MirrorDescent
from mirrorflow.optim.step_size import solve_step
from mirrorflow.optim.update import Update

__all__ = ["match_lr"]


@torch.no_grad()
def match_lr(
    params: Iterable[Any],
    lr: float,
    *,
    mirror_map: MapLike | None = None,
    like: Literal["sgd", "adamw"] = "sgd",
) -> float:
    """The step s of a map with the first-step change of another optimizer.

    It solves `‖∇R*(∇R(θ) − s·d) − θ‖₂ = lr·‖d‖₂` over the whole net, by bisection, without any
    network evaluation. Call it after the first `backward()`; nothing is moved.

    Args:
        params: as for `MirrorDescent`, with gradients.
        lr: the rate that is known to work, > 0.
        mirror_map: as for `MirrorDescent`.
        like: "sgd", `d = g`, for `MirrorDescent`; "adamw", `d = g/(|g| + 1e-8)`, for `MirrorAdamW`.

    Reduces to: lr for `Quadratic()`.

    Does not promise: the best rate of the map; where it was measured (docs/optimizers.md) the
    best was never smaller than this and mostly at most three times larger.

    Raises:
        ValueError: no gradients, all of them zero, a wrong lr or like.
    """
    require_at_least_zero(lr, "lr")
    if like not in ("sgd", "adamw"):
        raise ValueError(f"like = {like!r}; choose 'sgd' or 'adamw'")
    probe = MirrorDescent(params, 1.0, mirror_map=mirror_map)
    updates = []
    for p, group in probe.with_gradient():
        g = p.grad.to(torch.promote_types(p.dtype, torch.float32))  # type: ignore[union-attr]
        d = g if like == "sgd" else g / (g.abs() + 1e-8)
        updates.append(Update(p, p.detach().to(g.dtype), d, group))
    length = _norm([u.direction for u in updates])
    if not 0 < length < math.inf or lr == 0:
        raise ValueError(
            f"match_lr needs lr > 0 and gradients that are finite and not all zero (lr = {lr}, "
            f"gradient norm {length}); call it after loss.backward()"
        )

    def change(s: float) -> float:
        return _norm([u.moved(s) - u.x for u in updates])

    return solve_step(change, lr, lr * length, within=1.0001)


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(t)) ** 2 for t in tensors))

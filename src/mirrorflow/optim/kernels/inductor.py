"""The fused step on a GPU: `rules.mirror_step`, compiled by inductor (Triton) once per map."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from mirrorflow.maps import MirrorMap
from mirrorflow.optim.rules import Decay, mirror_step

if TYPE_CHECKING:
    from mirrorflow.optim.update import Update

__all__ = ["generated_step"]

DEVICES = {"cuda": has_triton}


def generated_step(update: Update, lr: float | Tensor) -> bool:
    """Step x in place, one pass over memory for map and weight decay; False if it cannot be done.

    Sizes are dynamic and lr is a tensor, so that neither other parameters nor a scheduler compile
    anything anew.
    """
    pieces = (update.x, update.direction, update.denominator)
    possible = (
        update.group["mirror_map"].separable
        and type(update.x) in (Tensor, torch.nn.Parameter)
        and all(t is None or t.is_contiguous() for t in pieces)
        and update.x.device.type in DEVICES
        and not torch.compiler.is_compiling()
        and DEVICES[update.x.device.type]()
    )
    if not possible:
        return False
    group = update.group
    step = _compiled(group["mirror_map"], float(group["weight_decay"]), group["decay"])
    # Flat, and without the base that a view would drag along: its rank is compiled in.
    x, direction, denominator = (None if t is None else t.view(-1).data for t in pieces)
    scalars = (torch.as_tensor(v, dtype=torch.float64) for v in (lr, update.correction))
    try:
        step(x, direction, denominator, *scalars)
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        return False  # it did not compile: nothing was changed
    if update.x is not update.parameter:
        update.parameter.copy_(update.x)
    return True


@functools.cache
def _compiled(mirror_map: MirrorMap, weight_decay: float, decay: Decay) -> Callable[..., None]:
    def step(
        x: Tensor, direction: Tensor, denominator: Tensor | None, lr: Tensor, correction: Tensor
    ) -> None:
        x.copy_(
            mirror_step(
                mirror_map,
                x,
                direction,
                lr,
                weight_decay=weight_decay,
                decay=decay,
                denominator=denominator,
                correction=correction,
            )
        )

    return torch.compile(step, dynamic=True)

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


def generated_step(update: Update, lr: float | Tensor) -> str | None:
    """Step x in place, one pass over memory for map and weight decay.

    Sizes are dynamic and lr is a tensor, so that neither other parameters nor a scheduler compile
    anything anew.

    Returns:
        None, or why it cannot be done, as the end of a sentence; then nothing was changed.
    """
    pieces = (update.x, update.direction, update.denominator)
    device = update.x.device.type
    if not update.group["mirror_map"].separable:
        return f"is stepped by {update.group['mirror_map']!r}, which does not act entry by entry"
    if type(update.x) not in (Tensor, torch.nn.Parameter):
        return f"is a {type(update.x).__name__}"
    if not all(t is None or t.is_contiguous() for t in pieces):
        return f"is not contiguous (strides {update.x.stride()})"
    if device not in DEVICES or not DEVICES[device]():
        return f"is on {update.x.device}, for which no code can be generated here"
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
        return f"is stepped by code that did not compile ({str(error).splitlines()[0]})"
    if update.x is not update.parameter:
        update.parameter.copy_(update.x)
    return None


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

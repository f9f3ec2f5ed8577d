"""Which way a step goes: the kernels where they pay, and an error where they were asked for."""

from __future__ import annotations

from typing import Any, NoReturn

from mirrorflow.checks import as_flag
from mirrorflow.errors import MirrorFlowError
from mirrorflow.optim.kernels import found, known
from mirrorflow.optim.update import Update

__all__ = ["PAYS", "as_compiled", "refuse", "require_kernels", "wants_kernels"]

# From so many weights on the kernels are worth ten seconds of building: a step then saves 4 ms,
# and the time is back after 2,500 steps (docs/performance.md). The number decides alone, so that a
# run that goes on takes the way that it took, whether or not the kernels are built by then.
PAYS = 1 << 15


def as_compiled(value: Any) -> bool | None:
    """The option `compiled`: None, True or False."""
    return None if value is None else as_flag(value, "compiled")


def wants_kernels(compiled: bool | None, weights: int) -> bool:
    """Whether the kernels are to step a net of so many weights."""
    return weights >= PAYS if compiled is None else compiled


def require_kernels(group: dict[str, Any], obstacle: str | None) -> None:
    """What `compiled=True` promises, before the first step.

    Args:
        group: the options; parameters elsewhere than on the CPU are not looked at.
        obstacle: why the optimizer cannot keep the promise with these options, or None.

    Raises:
        ValueError: there is no such kernel.
        MirrorFlowError: there is, but it cannot be had here.
    """
    if not any(p.is_cpu for p in group["params"]):
        return
    if not known(group["mirror_map"]):
        obstacle = f"{group['mirror_map']!r} has none"
    if obstacle is not None:
        raise ValueError(
            f"compiled = True asks for kernels, but {obstacle}; pass compiled=None, which takes "
            "them where there are some"
        )
    reason = found()
    if isinstance(reason, str):
        raise MirrorFlowError(f"compiled = True asks for kernels, but {reason}")


def refuse(update: Update, reason: str) -> NoReturn:
    """With `compiled=True`: a parameter that no kernel can step.

    Raises:
        TypeError: always; it says why.
    """
    raise TypeError(
        f"compiled = True asks for kernels, but a parameter of shape "
        f"{tuple(update.parameter.shape)} {reason}; pass compiled=None, which takes them where "
        "they fit"
    )

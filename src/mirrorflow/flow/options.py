"""What belongs together in a call of `mirror_flow` is one object each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mirrorflow.checks import as_integer, as_number, shown

__all__ = ["KKT", "Exact", "Explicit", "Implicit", "Krylov", "LogLog", "Smooth"]

_TEMPERATURE = 1e-7
_LONGEST = 2.0  # a step in log Q


def _temperature(value: float) -> float:
    temperature = as_number(value, "temperature")
    if not 1e-12 <= temperature <= 1e-2:
        raise ValueError(
            f"temperature = {temperature} is outside [1e-12, 1e-2]: below, margins that differ by "
            "rounding compete; above, the limit is blurred"
        )
    return temperature


def _longest(value: float | None) -> float | None:
    return None if value is None else as_number(value, "max_step", above=0, most=_LONGEST)


@dataclass(frozen=True)
class Implicit:
    """Primal-dual SDIRK with a dense Newton iteration, for any time.

    Args:
        order: of the Runge-Kutta method, 1 to 4.
        temperature: the softmax over margins is never sharper than this share of the smallest
            margin; the margin of the limit is then off by about half of it, relatively.
        max_step: largest growth of `log Q` in a step; None is `0.4 (tol/1e-4)^(1/4)`, at which
            values between steps are as accurate as those at steps.

    Raises:
        TypeError, ValueError: a value outside what is allowed.
    """

    order: int = 3
    temperature: float = _TEMPERATURE
    max_step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", as_integer(self.order, "order", least=1, most=4))
        object.__setattr__(self, "temperature", _temperature(self.temperature))
        object.__setattr__(self, "max_step", _longest(self.max_step))


@dataclass(frozen=True)
class Krylov(Implicit):
    """The same equations by Newton-Krylov, without a Jacobian or Hessian array: large nets.

    The arguments are those of `Implicit`.
    """


@dataclass(frozen=True)
class Explicit:
    """Dormand-Prince on `du/dτ = J(x)ᵀ p`: large nets and short times, tolerances to 1e-13.

    Args:
        temperature: as in `Implicit`.
        max_step: as in `Implicit`.

    Raises:
        TypeError, ValueError: a value outside what is allowed.
    """

    temperature: float = _TEMPERATURE
    max_step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", _temperature(self.temperature))
        object.__setattr__(self, "max_step", _longest(self.max_step))


@dataclass(frozen=True)
class Smooth:
    """A "relu" net is followed as the "smooth_relu" net with this `eps`.

    `relu` in a module of other layers (the convolutional nets, your own) is followed as
    `(z + √(z² + eps² m))/2`, m the mean of z² over the features of a point. `eps = 0` takes such a
    module as it is, kinks and all, where implicit steps may end.

    Raises:
        TypeError, ValueError: eps outside [0, 1).
    """

    eps: float = 1e-2

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", as_number(self.eps, "eps", least=0, below=1))


@dataclass(frozen=True)
class Exact:
    """A two-layer "relu" net with one output, without smoothing.

    At a kink the derivative in [0, 1] is an unknown of the stage, so sliding modes are followed.
    """


@dataclass(frozen=True)
class KKT:
    """End as soon as `natural_epsilon`, `mean_excess` and `natural_slack` are all below `tol`.

    Raises:
        TypeError, ValueError: tol outside (0, 1).
    """

    tol: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "tol", as_number(self.tol, "tol", above=0, below=1))


@dataclass(frozen=True)
class LogLog:
    """The time `t = exp(exp(value))`, for times beyond `exp(1e308)`.

    Raises:
        TypeError, ValueError: no finite number.
    """

    value: float

    def __post_init__(self) -> None:
        value = as_number(self.value, "value", infinite=True)
        if not math.isfinite(value):
            raise ValueError(f"LogLog({shown(self.value)}) is not a time; pass a finite number")
        object.__setattr__(self, "value", value)

"""The one list of maps that tests run over: a new map is added here.

`SEPARABLE` are even, `BLOCK` act on whole tensors, `POSITIVE` have a domain of their own. `plain`
leaves out what a test cannot take; `kinds` is the first of each class, for tests that are slow.
"""

from __future__ import annotations

from typing import TypeVar

from mirrorflow import maps
from mirrorflow.maps import MirrorMap, SeparableMap

M = TypeVar("M", bound=MirrorMap)

SEPARABLE: list[SeparableMap] = [
    maps.Quadratic(),
    maps.Power(1.1),
    maps.Power(1.5),
    maps.Power(3),
    maps.Power(4.7),
    maps.HyperbolicEntropy(0.1),
    maps.HyperbolicEntropy(1e-3),
    maps.Logarithmic(0.1),
    maps.Mixed(4.0, 1.0, 1.0),
    maps.Mixed(1.3, 0.5, 2.0),
    maps.Cosh(0.7),
    maps.Exponential(),
    maps.DoubleExponential(),
    maps.Scaled(maps.Power(3), 2.5),
    maps.Custom(gradient=lambda x: x + x**3, name="x+x**3"),
]
BLOCK: list[MirrorMap] = [
    maps.PNorm(1.5),
    maps.PNorm(3),
    maps.Spectral(maps.Power(1.5)),
    maps.Spectral(maps.Cosh()),
]
POSITIVE: list[MirrorMap] = [maps.NegativeEntropy(), maps.SimplexEntropy()]
REAL: list[MirrorMap] = [*SEPARABLE, *BLOCK]
ALL: list[MirrorMap] = [*REAL, *POSITIVE]


def plain(some: list[M], *without: type[MirrorMap]) -> list[M]:
    """The maps that are of none of these classes."""
    return [each for each in some if type(each) not in without]


def kinds(some: list[M]) -> list[M]:
    """The first of each class."""
    return list({type(each): each for each in reversed(some)}.values())[::-1]

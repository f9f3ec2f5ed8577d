"""Geometry: mirror maps and their horizon functions."""

from mirrorflow.maps.assignment import MapLike, assign
from mirrorflow.maps.base import MirrorMap, SeparableMap
from mirrorflow.maps.cosh import Cosh
from mirrorflow.maps.double_exponential import DoubleExponential
from mirrorflow.maps.exponential import Exponential
from mirrorflow.maps.horizon import Horizon, LpHorizon
from mirrorflow.maps.hyperbolic_entropy import HyperbolicEntropy
from mirrorflow.maps.logarithmic import Logarithmic
from mirrorflow.maps.mixed import Mixed
from mirrorflow.maps.parse import parse_map
from mirrorflow.maps.power import Power
from mirrorflow.maps.quadratic import Quadratic

__all__ = [
    "Cosh",
    "DoubleExponential",
    "Exponential",
    "Horizon",
    "HyperbolicEntropy",
    "Logarithmic",
    "LpHorizon",
    "MapLike",
    "MirrorMap",
    "Mixed",
    "Power",
    "Quadratic",
    "SeparableMap",
    "assign",
    "parse_map",
]

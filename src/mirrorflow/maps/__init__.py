"""Geometry: mirror maps and their horizon functions."""

from mirrorflow.maps.assignment import MapLike, assign
from mirrorflow.maps.base import MirrorMap, SeparableMap
from mirrorflow.maps.catalog import Entry, catalog, describe
from mirrorflow.maps.cosh import Cosh
from mirrorflow.maps.custom import Custom
from mirrorflow.maps.double_exponential import DoubleExponential
from mirrorflow.maps.entropy import NegativeEntropy, SimplexEntropy
from mirrorflow.maps.estimate import HorizonEstimate, estimate_growth, estimate_horizon
from mirrorflow.maps.exponential import Exponential
from mirrorflow.maps.finite import finite_gauge
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import Horizon, LpHorizon
from mirrorflow.maps.hyperbolic_entropy import HyperbolicEntropy
from mirrorflow.maps.level import LevelHorizon
from mirrorflow.maps.logarithmic import Logarithmic
from mirrorflow.maps.mixed import Mixed
from mirrorflow.maps.over_tensors import HorizonLike, MaxOverTensors
from mirrorflow.maps.parse import as_map, parse_map
from mirrorflow.maps.pnorm import PNorm
from mirrorflow.maps.power import Power
from mirrorflow.maps.quadratic import Quadratic
from mirrorflow.maps.scaled import Scaled
from mirrorflow.maps.schatten import SchattenHorizon
from mirrorflow.maps.spectral import Spectral

__all__ = [
    "Cosh",
    "Custom",
    "DoubleExponential",
    "Entry",
    "Exponential",
    "Horizon",
    "HorizonEstimate",
    "HorizonLike",
    "HyperbolicEntropy",
    "LevelHorizon",
    "Logarithmic",
    "LpHorizon",
    "MapLike",
    "MaxOverTensors",
    "MirrorMap",
    "Mixed",
    "NegativeEntropy",
    "PNorm",
    "Power",
    "Quadratic",
    "RadialGrowth",
    "Scaled",
    "SchattenHorizon",
    "SeparableMap",
    "SimplexEntropy",
    "Spectral",
    "as_map",
    "assign",
    "catalog",
    "describe",
    "estimate_growth",
    "estimate_horizon",
    "finite_gauge",
    "parse_map",
]

"""Exact answers to hold training and flows against."""

from mirrorflow.exact.closed_forms import diagonal_linear_flow, one_point_direction
from mirrorflow.exact.interpolation import (
    Interpolant,
    InterpolationCertificate,
    interpolation_certificate,
    min_bregman,
)
from mirrorflow.exact.local import local_two_layer_max_margin
from mirrorflow.exact.max_margin import MarginBounds, Solution, max_margin
from mirrorflow.exact.one_point import one_point_flow
from mirrorflow.exact.two_layer import TwoLayerSolution, two_layer_max_margin

__all__ = [
    "Interpolant",
    "InterpolationCertificate",
    "MarginBounds",
    "Solution",
    "TwoLayerSolution",
    "diagonal_linear_flow",
    "interpolation_certificate",
    "local_two_layer_max_margin",
    "max_margin",
    "min_bregman",
    "one_point_direction",
    "one_point_flow",
    "two_layer_max_margin",
]

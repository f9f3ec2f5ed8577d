"""Exact answers to hold training and flows against."""

from mirrorflow.exact.max_margin import Solution, max_margin
from mirrorflow.exact.one_point import one_point_flow

__all__ = ["Solution", "max_margin", "one_point_flow"]

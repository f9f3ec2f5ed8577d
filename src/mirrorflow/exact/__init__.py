"""Exact answers to hold training and flows against."""

from mirrorflow.exact.max_margin import Solution, max_margin

__all__ = ["Solution", "max_margin"]

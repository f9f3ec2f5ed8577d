"""Measurements: pure functions of a net, its mirror map and data, returning frozen records."""

from mirrorflow.diagnostics.balance import Balance, Drift, balance, drift
from mirrorflow.diagnostics.features import Features, HiddenFeatures, WeightFeatures, features
from mirrorflow.diagnostics.margin import Margin, margin
from mirrorflow.diagnostics.structure import Layer, Structure, Units, structure

__all__ = [
    "Balance",
    "Drift",
    "Features",
    "HiddenFeatures",
    "Layer",
    "Margin",
    "Structure",
    "Units",
    "WeightFeatures",
    "balance",
    "drift",
    "features",
    "margin",
    "structure",
]

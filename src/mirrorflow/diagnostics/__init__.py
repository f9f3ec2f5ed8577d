"""Measurements: pure functions of a net, its mirror map and data, returning frozen records."""

from mirrorflow.diagnostics.balance import Balance, Drift, balance, drift
from mirrorflow.diagnostics.certificate import Certificate, Rung
from mirrorflow.diagnostics.features import Features, HiddenFeatures, WeightFeatures, features
from mirrorflow.diagnostics.kkt import certify
from mirrorflow.diagnostics.margin import Margin, margin
from mirrorflow.diagnostics.structure import Layer, Structure, Units, structure

__all__ = [
    "Balance",
    "Certificate",
    "Drift",
    "Features",
    "HiddenFeatures",
    "Layer",
    "Margin",
    "Rung",
    "Structure",
    "Units",
    "WeightFeatures",
    "balance",
    "certify",
    "drift",
    "features",
    "margin",
    "structure",
]

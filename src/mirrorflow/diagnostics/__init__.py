"""Measurements: pure functions of a net, its mirror map and data, returning frozen records."""

from mirrorflow.diagnostics.balance import Balance, Drift, balance, drift
from mirrorflow.diagnostics.features import Features, HiddenFeatures, WeightFeatures, features
from mirrorflow.diagnostics.growth import Growth, Law, fit_growth
from mirrorflow.diagnostics.kkt.certificate import Certificate, CertificateFit, Rung
from mirrorflow.diagnostics.kkt.certify import certify
from mirrorflow.diagnostics.laws import Prediction, predict, residual_scale
from mirrorflow.diagnostics.margin import Margin, margin
from mirrorflow.diagnostics.monotone import Energy, Monotone, check_monotone, energy
from mirrorflow.diagnostics.profile import MarginProfile, margin_profile
from mirrorflow.diagnostics.structure import Layer, Structure, Units, structure

__all__ = [
    "Balance",
    "Certificate",
    "CertificateFit",
    "Drift",
    "Energy",
    "Features",
    "Growth",
    "HiddenFeatures",
    "Law",
    "Layer",
    "Margin",
    "MarginProfile",
    "Monotone",
    "Prediction",
    "Rung",
    "Structure",
    "Units",
    "WeightFeatures",
    "balance",
    "certify",
    "check_monotone",
    "drift",
    "energy",
    "features",
    "fit_growth",
    "margin",
    "margin_profile",
    "predict",
    "residual_scale",
    "structure",
]

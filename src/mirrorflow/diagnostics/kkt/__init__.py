"""How near a network is to a KKT point of the max-margin problem of its horizon."""

from mirrorflow.diagnostics.kkt.certificate import Certificate, Rung
from mirrorflow.diagnostics.kkt.certify import certify

__all__ = ["Certificate", "Rung", "certify"]

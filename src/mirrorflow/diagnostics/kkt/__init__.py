"""How near a network is to a KKT point of the max-margin problem of its horizon."""

from mirrorflow.diagnostics.kkt.certificate import Certificate, CertificateFit, Rung
from mirrorflow.diagnostics.kkt.certify import certify

__all__ = ["Certificate", "CertificateFit", "Rung", "certify"]

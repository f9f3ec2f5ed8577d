"""The fused C++ step: one pass over memory for direction, weight decay and map."""

from mirrorflow.optim.kernels.build import library
from mirrorflow.optim.kernels.fused import Options, fused_step, supports

__all__ = ["Options", "fused_step", "library", "supports"]

"""The fused C++ step: one pass over memory for direction, weight decay and map."""

from mirrorflow.optim.kernels.build import library
from mirrorflow.optim.kernels.fused import Options, fused_step, supports
from mirrorflow.optim.kernels.inductor import generated_step

__all__ = ["Options", "fused_step", "generated_step", "library", "supports"]

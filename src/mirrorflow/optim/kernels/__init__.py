"""The fused C++ step: one pass over memory for direction, weight decay and map."""

from mirrorflow.optim.kernels.build import library
from mirrorflow.optim.kernels.fused import Options, fits, fused_step, has_kernel, supports
from mirrorflow.optim.kernels.inductor import generated_step

__all__ = ["Options", "fits", "fused_step", "generated_step", "has_kernel", "library", "supports"]

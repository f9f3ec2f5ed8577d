"""The fused C++ step: one pass over memory for direction, weight decay and map."""

from mirrorflow.optim.kernels.build import found, library
from mirrorflow.optim.kernels.fused import (
    Options,
    fused_sizes,
    fused_step,
    fused_trial,
    has_kernel,
    is_dense,
    known,
    laid_out_as,
    misfit,
)
from mirrorflow.optim.kernels.inductor import generated_step

__all__ = [
    "Options",
    "found",
    "fused_sizes",
    "fused_step",
    "fused_trial",
    "generated_step",
    "has_kernel",
    "is_dense",
    "known",
    "laid_out_as",
    "library",
    "misfit",
]

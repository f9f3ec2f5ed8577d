"""Discrete time: mirror descent on any network, as torch optimizers."""

from mirrorflow.optim.mirror_descent import MirrorDescent
from mirrorflow.optim.step_size import LossScaled

__all__ = ["LossScaled", "MirrorDescent"]

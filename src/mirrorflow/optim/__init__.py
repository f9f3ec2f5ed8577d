"""Discrete time: mirror descent on any network, as torch optimizers."""

from mirrorflow.optim.match_lr import match_lr
from mirrorflow.optim.mirror_adamw import MirrorAdamW
from mirrorflow.optim.mirror_descent import MirrorDescent
from mirrorflow.optim.step_size import RelativeStep

__all__ = ["MirrorAdamW", "MirrorDescent", "RelativeStep", "match_lr"]

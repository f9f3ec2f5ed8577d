"""Discrete time: mirror descent on any network, as torch optimizers."""

from mirrorflow.optim.match_lr import match_lr
from mirrorflow.optim.mirror_adamw import MirrorAdamW
from mirrorflow.optim.mirror_descent import MirrorDescent
from mirrorflow.optim.param_groups import ParamGroups, param_groups
from mirrorflow.optim.step_size import RelativeStep

__all__ = [
    "MirrorAdamW",
    "MirrorDescent",
    "ParamGroups",
    "RelativeStep",
    "match_lr",
    "param_groups",
]

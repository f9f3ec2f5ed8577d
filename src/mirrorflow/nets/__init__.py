"""Networks that are positively homogeneous in their parameters, each declaring its degree."""

from mirrorflow.nets.activation import Activation
from mirrorflow.nets.base import HomogeneousNet, Junction
from mirrorflow.nets.degree import Degree, check_degree
from mirrorflow.nets.linear import Linear
from mirrorflow.nets.mlp import MLP, TwoLayer

__all__ = [
    "MLP",
    "Activation",
    "Degree",
    "HomogeneousNet",
    "Junction",
    "Linear",
    "TwoLayer",
    "check_degree",
]

"""Networks that are positively homogeneous in their parameters, each declaring its degree."""

from mirrorflow.nets.activation import Activation
from mirrorflow.nets.base import HomogeneousNet, Junction
from mirrorflow.nets.circular import Circular
from mirrorflow.nets.cnn import CNN, VGG
from mirrorflow.nets.convolution import ConvLayer, ConvNet
from mirrorflow.nets.degree import Degree, check_degree
from mirrorflow.nets.diagonal import Diagonal
from mirrorflow.nets.linear import Linear
from mirrorflow.nets.mlp import MLP, TwoLayer
from mirrorflow.nets.residual import ResidualNet
from mirrorflow.nets.weights_file import load_weights

__all__ = [
    "CNN",
    "MLP",
    "VGG",
    "Activation",
    "Circular",
    "ConvLayer",
    "ConvNet",
    "Degree",
    "Diagonal",
    "HomogeneousNet",
    "Junction",
    "Linear",
    "ResidualNet",
    "TwoLayer",
    "check_degree",
    "load_weights",
]

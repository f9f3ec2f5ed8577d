"""On what: seeded synthetic sets, the digits of scikit-learn, a user's own arrays."""

from mirrorflow.data.base import Dataset, check_points
from mirrorflow.data.digits import digits
from mirrorflow.data.load import SOURCES, load
from mirrorflow.data.synthetic import blobs, one_point, random_labels, teacher

__all__ = [
    "SOURCES",
    "Dataset",
    "blobs",
    "check_points",
    "digits",
    "load",
    "one_point",
    "random_labels",
    "teacher",
]

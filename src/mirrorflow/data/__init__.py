"""On what: seeded synthetic sets, the digits of scikit-learn, vision sets, a user's own arrays."""

from mirrorflow.data.augment import crop_flip
from mirrorflow.data.base import Dataset, check_points
from mirrorflow.data.digits import digits
from mirrorflow.data.fetch import fetch
from mirrorflow.data.files import VISION, cache_folder, check_file, find, locate
from mirrorflow.data.fingerprint import fingerprint
from mirrorflow.data.images import Images
from mirrorflow.data.load import SOURCES, load
from mirrorflow.data.synthetic import blobs, one_point, random_labels, sparse_targets, teacher
from mirrorflow.data.vision import cifar10, fashion_mnist, mnist

__all__ = [
    "SOURCES",
    "VISION",
    "Dataset",
    "Images",
    "blobs",
    "cache_folder",
    "check_file",
    "check_points",
    "cifar10",
    "crop_flip",
    "digits",
    "fashion_mnist",
    "fetch",
    "find",
    "fingerprint",
    "load",
    "locate",
    "mnist",
    "one_point",
    "random_labels",
    "sparse_targets",
    "teacher",
]

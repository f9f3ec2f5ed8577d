"""From a trained net to a sparse one, by torch's own tools: look, prune, train on, keep."""

from mirrorflow.sparse.finalize import finalize
from mirrorflow.sparse.prune import PrunedLayer, Pruning, prune
from mirrorflow.sparse.report import LayerSparsity, Sparsity, report

__all__ = [
    "LayerSparsity",
    "PrunedLayer",
    "Pruning",
    "Sparsity",
    "finalize",
    "prune",
    "report",
]

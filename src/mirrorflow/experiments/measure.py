"""One row of the metrics: everything that is measured of a net while it trains."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from mirrorflow.data import Dataset
from mirrorflow.diagnostics import balance, drift, features, margin
from mirrorflow.losses import Loss, log_loss, margins
from mirrorflow.maps import MapLike
from mirrorflow.nets import HomogeneousNet

__all__ = ["Meter"]


class Meter:
    """Measures a net on its data against its own start.

    Args:
        net: the net at its start.
        data: training and test set.
        mirror_map: the geometry of margins and balance.
        loss: of `log10_loss`, the mean over training points.
    """

    def __init__(self, net: HomogeneousNet, data: Dataset, mirror_map: MapLike, loss: Loss) -> None:
        self.start = copy.deepcopy(net)
        self.data, self.mirror_map, self.loss = data, mirror_map, loss
        self.balance = balance(net, mirror_map)

    @torch.no_grad()
    def __call__(self, net: HomogeneousNet) -> dict[str, Any]:
        """One row; keys of hidden layers and tensors end in their position, from 0 on.

        Returns:
            `log10_loss`, `train_accuracy`, `train_errors`, `test_accuracy`, `min_margin`
            (`min_i q_i`), `q_margin`, `smoothed_margin`, `log_gauge`, `balance_drift`,
            `weight_participation` (`(Σ|w|)²/(N Σw²)` over all weights), `weights_above` (share
            above 1e-2 of the largest of its tensor), `active_share` (of units a point, first
            hidden layer) and the measures of `Features` layer by layer.
        """
        data = self.data
        outputs = net(data.x)
        errors = int((margins(outputs, data.y) <= 0).sum())
        tested = (
            float((margins(net(data.x_test), data.y_test) > 0).double().mean())
            if len(data.x_test)
            else math.nan
        )
        found = margin(net, data.x, data.y, self.mirror_map)
        moved = drift(self.balance, balance(net, self.mirror_map))
        row = {
            "log10_loss": float(log_loss(outputs.double(), data.y, self.loss)) / math.log(10),
            "train_accuracy": 1 - errors / len(data.x),
            "train_errors": errors,
            "test_accuracy": tested,
            "min_margin": found.q_min,
            "q_margin": found.margin,
            "smoothed_margin": found.smoothed,
            "log_gauge": found.log_gauge,
            "balance_drift": moved.worst,
            **_weights([p.detach() for p in net.parameters()]),
        }
        if not net.junctions:
            return row
        measured = features(net, data.x, initial=self.start)
        for position, layer in enumerate(measured.hidden.values()):
            for name in (
                "alive",
                "zero_activations",
                "participation",
                "effective_rank",
                "cka_movement",
            ):
                row[f"{name}_{position}"] = getattr(layer, name)
        for position, tensor in enumerate(measured.weights.values()):
            row[f"hoyer_{position}"] = tensor.hoyer
        row["active_share"] = 1 - row["zero_activations_0"]
        return row


def _weights(tensors: list[Tensor]) -> dict[str, float]:
    # Scaled by the largest entry: at loss 1e-1000000 squares of weights leave float32.
    peak = max(float(p.abs().max()) for p in tensors) or 1.0
    scaled = [p.double().abs() / peak for p in tensors]
    total = sum(float(p.sum()) for p in scaled)
    squares = sum(float(p.square().sum()) for p in scaled)
    count = sum(p.numel() for p in scaled)
    above = sum(int((p > 1e-2 * p.max()).sum()) for p in scaled)
    return {
        "weight_participation": total**2 / (count * squares) if squares else 0.0,
        "weights_above": above / count,
    }

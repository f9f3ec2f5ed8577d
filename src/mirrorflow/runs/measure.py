"""One row of the metrics: everything that is measured of a net while it trains."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from mirrorflow.data import Dataset
from mirrorflow.diagnostics import balance, certify, drift, features
from mirrorflow.diagnostics.geometry import geometry
from mirrorflow.errors import DivergedError
from mirrorflow.losses import Loss, log_loss, pairwise_margins
from mirrorflow.maps import MapLike
from mirrorflow.nets import HomogeneousNet

__all__ = ["Meter"]

_FEATURE_POINTS = 1000
_ACTIVATIONS = 1 << 21  # numbers that the largest hidden layer may hold at a time
_AT_ONCE = 4096
_CLOSEST = 1000  # points of the smallest margins that are remembered for a certificate


class Meter:
    """Measures a net on its data against its own start, a batch of points at a time.

    Args:
        net: the net at its start.
        data: training and test set.
        mirror_map: the geometry of margins and balance.
        loss: of `log10_loss`, the mean over training points.
        points: how many training points (and at most as many test points) a row is measured on,
            evenly spaced in the set; None is all of them. Features are measured on at most 1000,
            or on all of a set of up to 4096 with points = None.
    """

    def __init__(
        self,
        net: HomogeneousNet,
        data: Dataset,
        mirror_map: MapLike,
        loss: Loss,
        points: int | None = None,
    ) -> None:
        self.start = copy.deepcopy(net)
        self.data, self.mirror_map, self.loss = data, mirror_map, loss
        n = len(data.x)
        self.points = n if points is None else min(points, n)
        few = points is None and n <= _AT_ONCE
        self.feature_points = n if few else min(self.points, _FEATURE_POINTS)
        self.test_points = len(data.x_test) if points is None else min(points, len(data.x_test))
        self.balance = balance(net, mirror_map)
        with torch.no_grad():
            hidden = net.activations(data.x[:1])
        self.batch = max(1, min(_AT_ONCE, _ACTIVATIONS // max([1, *(h.numel() for h in hidden)])))
        # Multiplications: of the net on one point; of the features on one point, and once (Gram
        # matrices in float64, some ten passes over the activations, eigenvalues).
        positions = [h[0, 0].numel() for h in hidden] + [1]
        self.forward = sum(
            p.numel() * count for p, count in zip(net.parameters(), positions, strict=False)
        )
        wide = [(h.shape[1], h[0, 0].numel()) for h in hidden]
        each = 2 * self.forward + sum(2 * m * m * (k + 3) + 200 * m * k for m, k in wide)
        self.feature_cost = self.feature_points * each + sum(10 * m**3 for m, _ in wide)
        self.size = sum(p.numel() for p in net.parameters())
        self.start_gauge = self._log_gauge(net)
        self.closest = torch.zeros(0, dtype=torch.int64)  # points of the last row, nearest first

    def cost(self, points: int, test_points: int) -> int:
        """Multiplications, roughly, of a row on so many points.

        One step of training takes three times `forward` for each point of its batch.
        """
        return (points + test_points) * self.forward + self.feature_cost

    def certificate_cost(self, margins: int) -> int:
        """Multiplications, roughly, of a certificate on so many margins: their gradients, and some
        thousand passes over them (measured 300 to 1500, by the map), beside what is fixed.

        An entry of a pass counts three times, a choice: it waits for the memory, which the
        multiplications of a training step do not.
        """
        return 150_000_000 + margins * (3000 * self.size + 12 * self.forward)

    @torch.no_grad()
    def __call__(
        self, net: HomogeneousNet, points: int | None = None, test_points: int | None = None
    ) -> dict[str, Any]:
        """One row; keys of hidden layers and tensors end in their position, from 0 on.

        Args:
            net: the net as it is now.
            points: training points to measure on, in place of `self.points`; features stay on
                their subset.
            test_points: test points, likewise.

        Returns:
            `log10_loss`, `train_accuracy`, `train_errors`, `test_accuracy`, `min_margin`
            (`min_i q_i`), `q_margin`, `smoothed_margin`, `log_gauge` (`log Q`), `norm_growth`
            (`log Q − log Q` at the start), `balance_drift`, `weight_participation`
            (`(Σ|w|)²/(N Σw²)` over all weights), `weights_above` (share above 1e-2 of the largest
            of its tensor), `weights_above_1e-3`, `active_share` (of units a point, first hidden
            layer), the measures of `Features` layer by layer and tensor by tensor, and on how many
            `points`, `test_points` and `feature_points` all that was measured. With the square loss
            what is of margins or classes is NaN, and `log10_test_loss` stands beside.

        Raises:
            DivergedError: the net returns NaN or infinity.
        """
        data = self.data
        points = points or self.points
        test_points = test_points or self.test_points
        outputs, y = self._outputs(net, data.x, data.y, points)
        tests = None
        if test_points:
            tests = self._outputs(net, data.x_test, data.y_test, test_points)
        moved = drift(self.balance, balance(net, self.mirror_map))
        row = {
            "log10_loss": float(log_loss(outputs, y, self.loss)) / math.log(10),
            **(
                self._fit(net, tests)
                if self.loss == "square"
                else self._classification(net, outputs, y, tests)
            ),
            "balance_drift": moved.worst,
            **_weights([p.detach() for p in net.parameters()]),
            "points": points,
            "test_points": test_points,
            "feature_points": self.feature_points,
        }
        return {**row, **self._features(net)}

    def _classification(
        self, net: HomogeneousNet, outputs: Tensor, y: Tensor, tests: tuple[Tensor, Tensor] | None
    ) -> dict[str, float]:
        q = pairwise_margins(outputs, y)
        points = len(q)
        self.closest = self._closest(q, points)
        errors = int((q.amin(1) <= 0).sum())
        tested = math.nan
        if tests is not None:
            tested = float((pairwise_margins(*tests).amin(1) > 0).double().mean())
        return {
            "train_accuracy": 1 - errors / points,
            "train_errors": errors,
            "test_accuracy": tested,
            **self._margins(net, q),
        }

    def _fit(self, net: HomogeneousNet, tests: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        names = ("train_accuracy", "train_errors", "test_accuracy", "min_margin", "q_margin")
        log_gauge = self._log_gauge(net)
        tested = math.nan if tests is None else float(log_loss(*tests, "square")) / math.log(10)
        return {
            "log10_test_loss": tested,
            **dict.fromkeys((*names, "smoothed_margin"), math.nan),
            "log_gauge": log_gauge,
            "norm_growth": log_gauge - self.start_gauge,
        }

    def certificate(self, net: HomogeneousNet, points: int) -> dict[str, Any]:
        """`epsilon` and `delta` of the KKT certificate on `points` evenly spaced training points,
        `certified` (how many margins are in the fit) and `certificate` ("points", or why there is
        none); NaN where the net does not separate them."""
        n = len(self.data.x)
        points = min(points, n)
        return self._certify(net, torch.arange(points) * n // points, 2000, "points")

    def certificate_of_closest(self, net: HomogeneousNet, margins: int) -> dict[str, Any]:
        """The same with multipliers on the `margins` smallest margins of the last row's points
        only: then epsilon is at least what it is with all of them."""
        return self._certify(net, self.closest[:margins], margins, "closest")

    def _certify(self, net: HomogeneousNet, at: Tensor, margins: int, what: str) -> dict[str, Any]:
        x, y = self.data.x[at], self.data.y[at]
        found = certify(
            net, x, y, self.mirror_map, max_margins=margins, memory=1.0, batch_size=self.batch
        )
        return {
            "epsilon": found.epsilon,
            "delta": found.delta,
            "certified": found.fit.considered,
            "certificate": what if found.separated else "not separated",
        }

    def _closest(self, q: Tensor, points: int) -> Tensor:
        chosen = _spread(len(self.data.x), points)
        near = q.amin(1).topk(min(_CLOSEST, points), largest=False).indices.cpu()
        return near if chosen is None else chosen[near]

    def _outputs(
        self, net: HomogeneousNet, x: Tensor, y: Tensor, points: int
    ) -> tuple[Tensor, Tensor]:
        """Outputs in float64 and labels, on `points` of the points."""
        chosen = _spread(len(x), points)
        parts = []
        for start in range(0, points, self.batch):
            at = slice(start, start + self.batch)
            parts.append(net(x[at] if chosen is None else x[chosen[at]]).double())
        outputs = torch.cat(parts)
        if not bool(torch.isfinite(outputs).all()):
            raise DivergedError(
                "the net returns NaN or infinity; use lr='auto' or a smaller lr. The last "
                "checkpoint is kept"
            )
        return outputs, y if chosen is None else y[chosen]

    def _margins(self, net: HomogeneousNet, q: Tensor) -> dict[str, float]:
        # What diagnostics.margin gives, without evaluating the net again.
        log_gauge = self._log_gauge(net)
        least = float(q.min())
        scale = -net.degree * log_gauge
        excess = float(torch.logsumexp(-(q - least).reshape(-1), 0))
        return {
            "min_margin": least,
            "q_margin": _times_exp(least, scale),
            "smoothed_margin": _times_exp(least - excess, scale),
            "log_gauge": log_gauge,
            "norm_growth": log_gauge - self.start_gauge,
        }

    def _log_gauge(self, net: HomogeneousNet) -> float:
        parameters = {name: p.detach() for name, p in net.named_parameters()}
        shape = geometry(net, self.mirror_map, self.data.x[:1])
        return shape.log_gauge(shape.log_gauges(parameters))

    def _features(self, net: HomogeneousNet) -> dict[str, float]:
        x = self.data.x
        chosen = _spread(len(x), self.feature_points)
        measured = features(
            net, x if chosen is None else x[chosen], initial=self.start, batch_size=self.batch
        )
        row = {}
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
            row[f"above_{position}"] = tensor.above
        if measured.hidden:
            row["active_share"] = 1 - row["zero_activations_0"]
        return row


def _spread(n: int, points: int) -> Tensor | None:
    """Indices of `points` evenly spaced points out of n; None is all of them."""
    return None if points == n else torch.arange(points) * n // points


def _times_exp(value: float, exponent: float) -> float:
    """`value·e^exponent`, also where the exponential alone would leave the float range."""
    if value == 0:
        return 0.0
    log = math.log(abs(value)) + exponent
    return math.copysign(math.exp(log) if log < 709 else math.inf, value)


def _weights(tensors: list[Tensor]) -> dict[str, float]:
    # Scaled by the largest entry: at loss 1e-1000000 squares of weights leave float32.
    peak = max(float(p.abs().max()) for p in tensors) or 1.0
    scaled = [p.double().abs() / peak for p in tensors]
    total = sum(float(p.sum()) for p in scaled)
    squares = sum(float(p.square().sum()) for p in scaled)
    count = sum(p.numel() for p in scaled)
    above = [sum(int((p > level * p.max()).sum()) for p in scaled) for level in (1e-2, 1e-3)]
    return {
        "weight_participation": total**2 / (count * squares) if squares else 0.0,
        "weights_above": above[0] / count,
        "weights_above_1e-3": above[1] / count,
    }

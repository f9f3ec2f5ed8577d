"""Long loss-normalised runs come within the predicted residual, for every map."""

from __future__ import annotations

import math

import pytest
import torch

from mirrorflow.diagnostics import certify, residual_scale
from mirrorflow.exact import max_margin
from mirrorflow.maps import (
    Cosh,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    Mixed,
    Power,
    Quadratic,
)
from mirrorflow.nets import Linear


def train(mirror_map, x, y, steps):
    """Mirror descent on log ℓ; the step is halved until no margin moves by more than 1."""
    z = y[:, None] * x
    w, eta = torch.full((x.shape[1],), 1e-3), 1.0
    for _ in range(steps):
        q = z @ w
        g = torch.softmax(-q, 0) @ z
        while float((z @ (new := mirror_map.step(w, -eta * g)) - q).abs().max()) > 1:
            eta /= 2
        w, eta = new, 1.1 * eta
    return w


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mirror_map", "steps", "seen"),
    [
        (Quadratic(), 10_000, 2e-5),
        (Power(1.5), 10_000, 7e-4),
        (Power(3), 10_000, 3e-4),
        (HyperbolicEntropy(1e-2), 10_000, 1e-3),
        (Logarithmic(1e-2), 10_000, 1e-3),
        (Cosh(), 10_000, 5e-2),
        (Exponential(), 10_000, 5e-2),
        (Mixed(3.0), 1_000, 6e-3),  # its inverse is found by iteration
    ],
    ids=repr,
)
def test_training_ends_within_the_predicted_residual(mirror_map, steps, seen):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 10, generator=g)
    y = torch.sign(x @ torch.randn(10, generator=g))
    net = Linear(10)
    with torch.no_grad():
        net.weight.copy_(train(mirror_map, x, y, steps))
    found = certify(net, x, y, mirror_map)
    worst = max(found.epsilon, found.delta, found.slack)
    log_q = math.log(found.margin) + found.log_gauge
    assert worst < 2 * residual_scale(mirror_map, found.log_gauge, log_q)
    assert worst == pytest.approx(seen, rel=0.5)  # the table of docs/certificates.md
    truth = max_margin(x, y, mirror_map.horizon())
    assert 0.9 * truth.margin < found.margin <= truth.margin * (1 + 1e-9)

"""Mirror descent is the explicit Euler step of mirror flow: it converges to it at order one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from every_map import REAL, kinds, plain
from scipy.integrate import solve_ivp
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorDescent

# Those whose inverse is a formula: SciPy asks for it some thousand times.
MAPS = kinds(plain(REAL, maps.Spectral, maps.DoubleExponential, maps.Mixed, maps.Custom))
X = torch.tensor([[1.0, 2.0, -0.5], [0.3, -1.0, 1.5]], dtype=torch.float64)
START = torch.tensor([0.8, -0.6, 1.1], dtype=torch.float64)
TIME = 1.0


def gradient(w: torch.Tensor) -> torch.Tensor:
    """Of the exponential loss of a linear net."""
    return -(torch.exp(-X @ w)[:, None] * X).sum(0)


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_mirror_descent_converges_to_the_flow_at_order_one(mirror_map):
    def field(_, u):
        return -gradient(mirror_map.to_primal(torch.tensor(u))).numpy()

    exact = solve_ivp(
        field, (0, TIME), mirror_map.to_dual(START).numpy(), method="DOP853", rtol=1e-12, atol=1e-12
    ).y[:, -1]
    errors = []
    for steps in (128, 256, 512):
        p = nn.Parameter(START.clone())
        opt = MirrorDescent([p], TIME / steps, mirror_map=mirror_map)
        for _ in range(steps):
            p.grad = gradient(p.detach())
            opt.step()
        errors.append(np.linalg.norm(mirror_map.to_dual(p.detach()).numpy() - exact))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders == pytest.approx(1.0, abs=0.1)

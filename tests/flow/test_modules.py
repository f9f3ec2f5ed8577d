"""Modules with ReLU: smoothed where they stand, for nets without a form of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mirrorflow import maps
from mirrorflow.flow import mirror_flow
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.smoothed_relu import smoothed_relu
from mirrorflow.nets import CNN, ResidualNet

FORMS = {
    "torch.relu": torch.relu,
    "method": lambda z: z.relu(),
    "functional": functional.relu,
    "in place": lambda z: functional.relu(z.clone(), inplace=True),
    "module": nn.ReLU(),
}


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(-30.0, 30.0),
    eps=st.floats(1e-3, 0.5),
    shape=st.sampled_from([(3, 4), (2, 3, 2, 2), (5, 1), (5,)]),
    form=st.sampled_from(sorted(FORMS)),
)
def test_smooth_relu_of_a_tensor(
    seed: int, scale: float, eps: float, shape: tuple[int, ...], form: str
) -> None:
    """Of degree 1, within `eps rms / 2` of relu, by any name; and gone outside the context."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, generator=g, dtype=torch.float64)
    with smoothed_relu(eps):
        smooth, scaled = FORMS[form](z), FORMS[form](math.exp(scale) * z)
    torch.testing.assert_close(scaled, math.exp(scale) * smooth, rtol=1e-12, atol=0.0)
    own = z.ndim > 1 and z[0].numel() > 1
    mean = z.square().mean(tuple(range(1, z.ndim)) if own else None, keepdim=own)
    apart = smooth - z.clamp(min=0.0)
    assert (apart > 0).all()
    assert (apart <= 0.5 * eps * mean.sqrt() * (1 + 1e-9)).all()
    torch.testing.assert_close(FORMS[form](z), z.clamp(min=0.0))


def test_a_point_without_signal_has_a_gradient() -> None:
    z = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    with smoothed_relu(0.01):
        torch.relu(z).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


class Plain(nn.Module):
    """Two layers written by hand."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.inner = nn.Parameter(torch.randn(4, 2, generator=g, dtype=torch.float64))
        self.outer = nn.Parameter(torch.randn(4, generator=g, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ self.inner.T) @ self.outer


@pytest.mark.slow
@pytest.mark.parametrize("mirror_map", [maps.Quadratic(), maps.HyperbolicEntropy(0.1)], ids=repr)
def test_a_module_with_relu_converges(mirror_map: maps.MirrorMap) -> None:
    """With its kinks, steps ended at log t = 1; the end is a KKT point of the smoothed module."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(8, 2, generator=g, dtype=torch.float64)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    net = Plain()
    before = net.inner.detach().clone()
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=1e20, max_steps=600)
    assert flow.outcome == "converged"
    assert torch.equal(net.inner, before)
    with torch.no_grad():
        net.inner.copy_(torch.from_numpy(flow.direction[-1, :8]).reshape(4, 2))
        net.outer.copy_(torch.from_numpy(flow.direction[-1, 8:]))
        exact = float((y * net(x)).min())
        with smoothed_relu(1e-2):
            smooth = float((y * net(x)).min())
    assert flow.margin[-1] == pytest.approx(smooth, rel=1e-7)
    assert exact == pytest.approx(smooth, rel=0.1)


@pytest.mark.parametrize("kind", ["cnn", "residual"])
def test_convolutional_nets_keep_their_balance(kind: str) -> None:
    """Of whole layers, since a point's scale is shared by the features of a layer."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, 4, 4, generator=g, dtype=torch.float64)
    y = torch.where(torch.arange(6) % 2 == 0, 1.0, -1.0)
    net = (
        CNN((1, 4, 4), (2,), (3,), pool="stride", generator=g)
        if kind == "cnn"
        else ResidualNet((1, 4, 4), (2,), 1, generator=g)
    ).double()
    own = net_margins(net, x, y, 1e-2)
    theta = flat_parameters(net)[own.order]
    work = theta * own.pull(theta, np.ones(len(own.point)))
    assert len(own.junctions) > 1
    # d E_in/k = d E_out along the flow, whatever the map, since dE = <theta, du>
    assert np.abs(own.imbalance(work)).max() < 1e-12 * np.abs(work).sum()

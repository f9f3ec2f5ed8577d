"""Exact ReLU kinks: sliding modes against smoothed flows, certificates and the convex bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.claims.flows import set_direction
from mirrorflow.diagnostics import certify
from mirrorflow.exact import two_layer_max_margin
from mirrorflow.flow import Exact, Explicit, Krylov, Smooth, mirror_flow
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.exact_relu import KinkedMargins
from mirrorflow.nets import MLP, TwoLayer


def problem(seed: int = 0, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=g)
    return x, torch.sign(torch.randn(n, generator=g))


def relu_net(m: int, seed: int = 0) -> TwoLayer:
    g = torch.Generator().manual_seed(seed + 100)
    net = TwoLayer(2, m, "relu", bias=True, generator=g)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return net


def test_margins_and_derivatives_are_those_of_the_net() -> None:
    x, y = problem()
    net = relu_net(6)
    own = net_margins(net, x, y, 1e-2, exact=True)
    assert isinstance(own, KinkedMargins)
    theta = flat_parameters(net)[own.order]
    q, jac = own.jacobian(theta)
    net_q = y * net(x)
    rows = []
    for value in net_q:
        rows.append(
            torch.cat(
                [
                    g.ravel()
                    for g in torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
                ]
            )
        )
    np.testing.assert_allclose(q, net_q.detach().numpy(), atol=1e-14)
    np.testing.assert_allclose(own.values(theta), q, atol=0)
    np.testing.assert_allclose(jac, torch.stack(rows).numpy()[:, own.order], atol=1e-14)
    c, v = (
        np.random.default_rng(0).normal(size=len(q)),
        np.random.default_rng(1).normal(size=own.size),
    )
    np.testing.assert_allclose(own.pull(theta, c), jac.T @ c, atol=1e-13)
    np.testing.assert_allclose(own.push(theta, v), jac @ v, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("mirror_map", [maps.Quadratic(), maps.HyperbolicEntropy(0.1)], ids=repr)
def test_smoothed_flows_tend_to_the_exact_one(mirror_map: maps.MirrorMap) -> None:
    """Explicit integration of the smoothed flow, another code path, at eps = 1e-2 and 1e-3."""
    x, y = problem(3)
    net = relu_net(4, 3)
    exact = mirror_flow(net, x, y, mirror_map, log_t_end=3.0, relu=Exact(), tol=1e-5)
    apart = []
    for eps in (1e-2, 1e-3):
        smooth = mirror_flow(
            net, x, y, mirror_map, log_t_end=3.0, relu=Smooth(eps), stepper=Explicit(), tol=1e-5
        )  # fmt: skip
        apart.append(float(np.abs(smooth.direction[-1] - exact.direction[-1]).max()))
    assert apart[1] < 1e-3
    assert apart[1] < 0.2 * apart[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "mirror_map",
    [maps.Quadratic(), maps.Power(1.5), maps.Power(3.0), maps.HyperbolicEntropy(0.01)],
    ids=repr,
)
def test_the_end_is_a_kkt_point_with_units_on_kinks(mirror_map: maps.MirrorMap) -> None:
    x, y = problem()
    net = relu_net(20)
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=1e60, relu=Exact())
    assert flow.stats.reason == "log_t_end was reached"
    set_direction(net, torch.from_numpy(flow.direction[-1]))
    certificate = certify(net, x, y, mirror_map)
    assert certificate.fit.kinks > 0
    assert max(certificate.epsilon, certificate.delta, certificate.slack) < 2e-3
    assert certificate.margin == pytest.approx(flow.margin[-1], rel=1e-5)
    if mirror_map == maps.Quadratic():
        bound = two_layer_max_margin(x, y, bias=True)
        assert flow.margin[-1] <= bound.upper_bound * (1 + 1e-6)
        # and a smoothed flow ends O(eps) from it
        smooth = mirror_flow(net=relu_net(20), x=x, y=y, mirror_map=mirror_map, log_t_end=1e60)
        assert 1e-4 < abs(smooth.margin[-1] / flow.margin[-1] - 1) < 3e-2


def test_what_exact_kinks_do_not_do_is_refused() -> None:
    x, y = problem()
    q = maps.Quadratic()
    for net in (
        MLP((2, 4, 4, 1), "relu"),
        TwoLayer(2, 4, "smooth_relu"),
        torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Flatten(0)),
    ):
        with pytest.raises(ValueError, match="TwoLayer nets with activation"):
            mirror_flow(net, x, y, q, log_t_end=1.0, relu=Exact())
    for stepper in (Explicit(), Krylov()):
        with pytest.raises(ValueError, match="needs stepper = Implicit"):
            mirror_flow(relu_net(4), x, y, q, log_t_end=1.0, relu=Exact(), stepper=stepper)
    with pytest.raises(ValueError, match=r"does not hold for Cosh\(scale=1"):
        mirror_flow(relu_net(4), x, y, maps.Cosh(1.0), log_t_end=1.0, relu=Exact())

"""Diagonal and circular nets: the predictor, the degree, and what training prefers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from mirrorflow.data import random_labels
from mirrorflow.diagnostics import balance
from mirrorflow.flow import mirror_flow
from mirrorflow.nets import Circular, Diagonal, check_degree


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", [Diagonal, Circular])
def test_a_linear_model_of_the_declared_degree(
    kind: type[Diagonal] | type[Circular], depth: int
) -> None:
    net = kind(7, depth, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(net(x), x @ net.predictor)
    found = check_degree(net, x)
    assert found.total == net.degree == depth
    assert found.layers == net.layer_degrees
    assert net.binary
    hidden = net.activations(x)
    assert len(hidden) == depth - 1
    if hidden:
        last = hidden[-1].reshape(5, 7) @ list(net.weights)[-1]
        torch.testing.assert_close(last, net(x))


def test_the_circular_predictor_by_hand() -> None:
    net = Circular(6, 2, generator=torch.Generator().manual_seed(0)).double()
    first, second = (w.detach().numpy() for w in net.weights)
    # β[m] = Σ_k w_2[k] w_1[m − k mod 6]
    want = [sum(second[k] * first[(m - k) % 6] for k in range(6)) for m in range(6)]
    np.testing.assert_allclose(net.predictor.detach(), want, rtol=1e-12)
    x = np.arange(6.0)
    hidden = [sum(first[j] * x[(k + j) % 6] for j in range(6)) for k in range(6)]
    mine = net.activations(torch.from_numpy(x)[None])[0].detach()
    np.testing.assert_allclose(mine[0, 0], hidden, rtol=1e-12)


def test_every_feature_of_a_diagonal_net_balances() -> None:
    net = Diagonal(4, 2, generator=torch.Generator().manual_seed(0)).double()
    found = balance(net, "quadratic").units["weights.0"]
    first, second = (w.detach() for w in net.weights)
    torch.testing.assert_close(found, (first**2 - second**2) / 2)


def test_a_diagonal_net_ends_at_the_linear_program() -> None:
    data = random_labels(4, 6, seed=1)
    net = Diagonal(6, 2, init_scale=0.5, generator=torch.Generator().manual_seed(1)).double()
    flow = mirror_flow(net, data.x, data.y, "quadratic", log_t_end=1e8)
    first, second = (p.detach() for p in flow.net().parameters())
    beta = first * second
    rows = data.x * data.y[:, None].double()
    a = rows.numpy()
    least = linprog(np.ones(12), A_ub=-np.hstack([a, -a]), b_ub=-np.ones(4)).fun
    margin = float((rows @ beta).min() / beta.abs().sum())
    assert margin == pytest.approx(1 / least, rel=1e-3)


@pytest.mark.parametrize("kind", [Diagonal, Circular])
def test_bad_sizes_are_named(kind: type[Diagonal] | type[Circular]) -> None:
    with pytest.raises(ValueError, match="depth = 0"):
        kind(3, 0)
    with pytest.raises(TypeError, match="d = 2.5"):
        kind(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="features"):
        kind(3)(torch.ones(2, 4))

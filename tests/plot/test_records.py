"""Certificates, features, weights, growth and maps: what is drawn is what the records hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import mirrorflow as mf
from mirrorflow import maps, nets, plot
from mirrorflow.diagnostics import Growth, Law


@pytest.fixture(scope="module")
def certificate():
    x = torch.tensor([[1.0, 2.0], [2.0, 1.0], [-1.0, -1.0], [-3.0, -2.0]], dtype=torch.float64)
    y = torch.tensor([1, 1, -1, -1])
    net = nets.Linear(2).double()
    exact = mf.max_margin(x, y, maps.Quadratic().horizon())
    with torch.no_grad():
        (p,) = net.parameters()
        p.copy_(torch.as_tensor(exact.weights).reshape(p.shape))
    return mf.certify(net, x, y, "quadratic")


def test_multipliers_are_areas_and_heights(certificate) -> None:
    ax = certificate.plot()
    dots = ax.collections[-1]
    shares = np.sort((certificate.multipliers / certificate.multipliers.sum()).numpy())[::-1]
    shares = shares[shares > 1e-6]
    assert len(shares) == len(certificate.support) >= 1
    assert np.asarray(dots.get_offsets())[:, 1] == pytest.approx(shares)
    assert dots.get_sizes() == pytest.approx(1600 * shares)
    names = [int(text.get_text()) for text in ax.texts]
    assert names == certificate.support.tolist()
    assert ax.get_xlabel() == f"points by their multiplier ({len(shares)} of 4 carry one)"
    assert len(plot.certificate(certificate, count=1).texts) == 1


def test_the_tradeoff(certificate) -> None:
    ax = certificate.plot("tradeoff")
    rungs = certificate.fit.tradeoff
    assert len(rungs) >= 1
    x, y = ax.lines[0].get_data()
    assert list(x) == [max(r.delta, 1e-16) for r in rungs]
    assert list(y) == [max(r.epsilon, 1e-16) for r in rungs]
    assert ax.lines[1].get_ydata()[0] == max(certificate.epsilon, 1e-16)


def test_a_certificate_without_multipliers(certificate) -> None:
    bad = dataclasses.replace(certificate, separated=False, misclassified=2)
    with pytest.raises(ValueError, match="2 of 4 points are not separated"):
        bad.plot()
    with pytest.raises(TypeError, match="certified = 3 is a int"):
        plot.certificate(3)
    with pytest.raises(ValueError, match="show = 'all' is unknown"):
        certificate.plot("all")


def net(seed: int) -> nets.MLP:
    return nets.MLP((4, 6, 5, 3), generator=torch.Generator().manual_seed(seed))


def test_sparsity_by_layer_of_two_nets() -> None:
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    measured = {name: mf.features(net(k), x) for k, name in enumerate(("a", "b"))}
    for measure in ("participation", "effective_rank"):
        ax = plot.features(measured, measure)
        for line, each in zip(ax.lines, measured.values(), strict=True):
            values = [getattr(layer, measure) for layer in each.hidden.values()]
            assert list(line.get_xdata()) == values
        assert [t.get_text() for t in ax.get_yticklabels()] == ["weights.0", "weights.1"]
    ax = plot.features(measured["a"], "hoyer")
    assert list(ax.lines[0].get_xdata()) == [w.hoyer for w in measured["a"].weights.values()]
    assert ax.get_ylim() == (2.5, -0.5)  # the first layer at the top


def test_the_report_of_a_pruned_net() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4))
    ax = plot.features(mf.sparse.report(model), "zeros")
    assert list(ax.lines[0].get_xdata()) == [0.75, 0.0]
    with pytest.raises(ValueError, match="measure = 'hoyer' is unknown"):
        plot.features(mf.sparse.report(model), "hoyer")


def test_features_that_do_not_fit() -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    one = mf.features(net(0), x)
    other = mf.features(nets.MLP((4, 6, 3)), x)
    with pytest.raises(ValueError, match="compare nets of the same layers"):
        plot.features({"a": one, "b": other})
    with pytest.raises(ValueError, match="pass initial=net_at_start"):
        plot.features(one, "cka_movement")
    with pytest.raises(TypeError, match="measured = 3 is a int"):
        plot.features(3)
    with pytest.raises(ValueError, match="measured is empty"):
        plot.features({})


def test_the_strongest_units_first_each_over_its_largest_weight() -> None:
    weights = torch.zeros(3, 4)
    weights[0, 0], weights[1, 1], weights[2, 3] = 1.0, -4.0, 2.0
    ax = plot.weights(weights, count=2, columns=2)
    sheet = np.asarray(ax.images[0].get_array().filled(np.nan))
    assert sheet.shape == (2, 5)
    assert sheet[:, :2].tolist() == [[0, -1], [0, 0]]
    assert sheet[:, 3:].tolist() == [[0, 0], [0, 1]]
    assert np.isnan(sheet[:, 2]).all()


def test_weights_of_nets() -> None:
    biased = nets.MLP((9, 2, 1), bias=True, generator=torch.Generator().manual_seed(0))
    sheet = plot.weights(biased).images[0].get_array()
    assert sheet.shape == (3, 7)
    own = biased.weights[0].detach()[:, :-1].reshape(2, 3, 3)
    strongest = own[own.reshape(2, -1).norm(dim=1).argmax()]
    assert np.asarray(sheet[:, :3]) == pytest.approx((strongest / strongest.abs().max()).numpy())
    assert plot.weights(nn.Conv2d(3, 4, 5)).images[0].get_array().shape == (5, 23)
    assert plot.weights(torch.ones(1, 6), shape=(2, 3)).images[0].get_array().shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"net": 3}, TypeError, "net = 3 is a int"),
        ({"net": nn.ReLU()}, ValueError, "no weight with two dimensions"),
        ({"net": torch.ones(2, 5)}, ValueError, "5 weights a unit, which is no square"),
        ({"net": torch.ones(2, 4), "shape": (3, 2)}, ValueError, "shape = \\(3, 2\\) is not"),
        ({"net": torch.ones(2, 4), "shape": 2}, TypeError, "shape = 2"),
        ({"net": torch.zeros(2, 4)}, ValueError, "NaN, infinite, or all 0"),
        ({"net": torch.ones(2, 4), "count": 0}, ValueError, "count = 0"),
    ],
)
def test_weights_that_are_no_images(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        plot.weights(**arguments)


def fit(measured: float, predicted: float, correction: float = 0.1) -> Growth:
    laws = [
        Law(name, measured + k, measured + k - 0.2, measured + k + 0.3, predicted, correction, 0.0)
        for k, name in enumerate(("first", "second"))
    ]
    return Growth(tuple(laws), "fine", 230.0, 50, 0.0)


def test_growth_measured_beside_predicted() -> None:
    ax = plot.growth({"a": fit(0.5, 0.6), "b": fit(0.7, 0.8)})
    assert [t.get_text() for t in ax.get_yticklabels()] == ["first", "second"]
    names = [t.get_text() for t in ax.get_legend().get_texts()]
    assert names == ["predicted, limit", "predicted, here", "a", "b"]
    singles = [line for line in ax.lines if len(line.get_xdata()) == 1]
    by_marker = {
        marker: [line.get_xdata()[0] for line in singles if line.get_marker() == marker]
        for marker in ("|", "s")
    }
    assert by_marker["|"] == [0.6, 0.6, 0.8, 0.8]
    assert by_marker["s"] == [0.7, 1.7]
    circles = [x.get_xdata()[0] for x in singles if x.get_fillstyle() == "none"]
    assert circles == pytest.approx([0.7, 0.7, 0.9, 0.9])
    ends = ax.containers[0].lines[2][0].get_segments()[0]
    assert ends[:, 0] == pytest.approx([0.3, 0.8])


def test_growth_that_was_refused() -> None:
    refused = Growth((), "too early: t = 1e10", 230.0, 3, 0.0)
    with pytest.raises(ValueError, match="fits has no laws to draw: too early"):
        plot.growth(refused)
    with pytest.raises(TypeError, match="fits\\['a'\\] = 3 is a int"):
        plot.growth({"a": 3})


def test_potentials_and_dual_maps() -> None:
    ax = plot.potential(["power(3)", maps.Quadratic()])
    x, y = ax.lines[0].get_data()
    assert np.asarray(y) == pytest.approx(np.abs(np.asarray(x)) ** 3)
    x, y = plot.dual("cosh").lines[0].get_data()
    assert np.asarray(y) == pytest.approx(np.sinh(np.asarray(x)) / np.sinh(1.0))
    with pytest.raises(ValueError, match="no even function"):
        plot.potential("spectral(cosh)")
    with pytest.raises(ValueError, match="mirror_maps is empty"):
        plot.dual([])
    with pytest.raises(TypeError, match="mirror_maps = 3 is a int"):
        plot.dual(3)
    with pytest.raises(TypeError, match="mirror_maps holds 3"):
        plot.potential([3])


def test_the_unit_ball_of_the_limit() -> None:
    ax = plot.unit_ball("power(3)")
    x, y = (np.asarray(v) for v in ax.lines[-1].get_data())
    assert np.abs(x) ** 3 + np.abs(y) ** 3 == pytest.approx(np.ones(len(x)))
    with pytest.raises(mf.MirrorFlowError):
        plot.unit_ball("simplex_entropy")

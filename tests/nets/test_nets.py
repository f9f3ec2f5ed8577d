"""Networks: degree, Euler's identity, activations and the check that explains what broke."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mirrorflow.errors import NotHomogeneousError
from mirrorflow.nets import (
    CNN,
    MLP,
    VGG,
    ConvLayer,
    ConvNet,
    HomogeneousNet,
    Linear,
    ResidualNet,
    TwoLayer,
    check_degree,
)

NETS = {
    "linear": lambda: Linear(4),
    "linear with bias, classes": lambda: Linear(4, 3, bias=True),
    "two-layer relu": lambda: TwoLayer(4, 6),
    "two-layer smooth": lambda: TwoLayer(4, 6, "smooth_relu", bias=True),
    "two-layer relu2": lambda: TwoLayer(4, 6, "relu2", classes=3),
    "mlp": lambda: MLP((4, 6, 5, 3)),
    "mlp smooth": lambda: MLP((4, 6, 5, 1), "smooth_relu", bias=True),
    "mlp relu2": lambda: MLP((4, 6, 5, 1), "relu2"),
    "deep linear": lambda: MLP((4, 6, 5, 2), "linear"),
}


@pytest.mark.parametrize("name", NETS)
def test_declared_degree_is_the_measured_one(name: str) -> None:
    net, x = NETS[name](), torch.randn(7, 4)
    measured = check_degree(net, x)
    assert measured.total == net.degree
    assert measured.layers == net.layer_degrees
    assert net.training


@pytest.mark.parametrize("name", NETS)
def test_eulers_identity_holds_layer_by_layer(name: str) -> None:
    net, x = NETS[name](), torch.randn(7, 4)
    out = net(x)
    weights = torch.randn_like(out)
    (weights * out).sum().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None
        euler = (p.grad * p).sum()
        assert euler.item() == pytest.approx(
            net.layer_degrees[key] * (weights * out).sum().item(), rel=1e-10, abs=1e-12
        )


@given(st.floats(0.01, 100), st.floats(1e-4, 1.0), st.integers(0, 10_000))
def test_smooth_relu_is_homogeneous_and_close_to_relu(c: float, eps: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    smooth, exact = TwoLayer(3, 5, "smooth_relu", eps), TwoLayer(3, 5)
    exact.load_state_dict(smooth.state_dict())
    x = torch.randn(4, 3, generator=g)
    h, hc = smooth.activations(x)[0], smooth.activations(c * x)[0]
    torch.testing.assert_close(hc, c * h, rtol=1e-12, atol=0)
    bound = 0.5 * eps * x.norm(dim=1)[:, None] * smooth.weights[0].norm(dim=1)
    difference = h - exact.activations(x)[0]
    assert bool(((difference > 0) & (difference <= bound * (1 + 1e-12))).all())


def test_smooth_relu_keeps_its_digits_where_the_unit_is_off() -> None:
    net = TwoLayer(1, 1, "smooth_relu", 1e-6)
    with torch.no_grad():
        net.weights[0].fill_(-1.0)
    # (z + √(z²+s))/2 with z = −1, s = 1e-12 is s/4 (1 − s/4 + …), not a difference of ones.
    assert net.activations(torch.ones(1, 1))[0].item() == pytest.approx(2.5e-13, rel=1e-11)


def test_bias_is_the_weight_of_a_constant_input() -> None:
    net = TwoLayer(2, 3, bias=True)
    assert net.weights[0].shape == (3, 3)
    x = torch.randn(5, 2)
    by_hand = torch.relu(x @ net.weights[0][:, :2].T + net.weights[0][:, 2]) @ net.weights[1][0]
    torch.testing.assert_close(net(x), by_hand)


def test_junctions_name_incoming_and_outgoing_weights() -> None:
    net = MLP((4, 6, 5, 1))
    assert [(j.incoming, j.outgoing, j.units) for j in net.junctions] == [
        ("weights.0", "weights.1", 6),
        ("weights.1", "weights.2", 5),
    ]
    assert [tuple(a.shape) for a in net.activations(torch.randn(3, 4))] == [(3, 6), (3, 5)]


def test_seeded_start_is_the_same_in_both_precisions() -> None:
    one = MLP((4, 6, 1), generator=torch.Generator().manual_seed(3))
    torch.set_default_dtype(torch.float32)
    other = MLP((4, 6, 1), generator=torch.Generator().manual_seed(3))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.float(), b)


@pytest.mark.parametrize(
    ("net", "cause"),
    [
        (nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)), "BatchNorm1d"),
        (nn.Sequential(nn.Linear(4, 5, bias=False), nn.LayerNorm(5)), "LayerNorm"),
        (
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
            r": 2\.bias is a bias[^;]*$",
        ),
        (
            nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False)),
            r"1 is a Tanh, which is not",
        ),
        (
            nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2, bias=False)),
            r": 1 is a GELU, which is not positively homogeneous\. Use",
        ),
        (
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)),
            r": 2\.bias is a bias[^;]*; 4\.bias is a bias[^;]*$",
        ),
    ],
)
def test_check_degree_names_what_breaks_it(net: nn.Module, cause: str) -> None:
    with pytest.raises(NotHomogeneousError, match=cause):
        check_degree(net.double(), torch.randn(6, 4))


def test_check_degree_leaves_the_net_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)).double()
    net[2].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(NotHomogeneousError):
        check_degree(net, torch.randn(6, 4))
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_check_degree_measures_a_users_module() -> None:
    net: nn.Module = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 2, bias=False),
    )
    found = check_degree(net.double(), torch.randn(6, 1, 6, 6))
    assert found.total == 2
    assert found.layers == {"0.weight": 1, "4.weight": 1}


def test_check_degree_refuses_nan_and_zero_outputs() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\) is empty or holds NaN"):
        check_degree(Linear(4), torch.full((2, 4), torch.nan))
    with pytest.raises(ValueError, match=r"does not take points of shape \(2, 3\)"):
        check_degree(nn.Linear(4, 1, bias=False).double(), torch.ones(2, 3))
    with pytest.raises(TypeError, match="x is a list"):
        check_degree(Linear(4), [[1.0] * 4])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"net = <function .* is not a network"):
        check_degree(lambda x: x, torch.ones(2, 3))  # type: ignore[arg-type]
    broken = Linear(4)
    with torch.no_grad():
        broken.weight.fill_(torch.nan)
    with pytest.raises(NotHomogeneousError, match="NaN"):
        check_degree(broken, torch.ones(2, 4))
    with pytest.raises(NotHomogeneousError, match="zero on every point"):
        check_degree(Linear(4), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Linear(0), ValueError, "d = 0"),
        (lambda: Linear(2.0), TypeError, r"d = 2\.0"),  # type: ignore[arg-type]
        (lambda: Linear(2, 1), ValueError, "classes = 1"),
        (lambda: TwoLayer(2, 0), ValueError, "m = 0"),
        (lambda: TwoLayer(2, 3, "gelu"), ValueError, "'gelu' is unknown"),  # type: ignore[arg-type]
        (lambda: TwoLayer(2, 3, "smooth_relu", 0.0), ValueError, r"eps = 0\.0"),
        (lambda: MLP((3,)), ValueError, "no layer"),
        (lambda: MLP((3, 2), init_scale=0.0), ValueError, "init_scale"),
    ],
)
def test_bad_arguments_are_named(make, error, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=text):
        make()


def test_wrong_points_are_named() -> None:
    net: HomogeneousNet = TwoLayer(4, 3)
    with pytest.raises(ValueError, match=r"\(7, 3\).*takes 4"):
        net(torch.randn(7, 3))
    with pytest.raises(TypeError, match="int64"):
        net(torch.ones(7, 4, dtype=torch.int64))


JUNK = (None, "abc", [], {}, object(), 1j, math.nan, math.inf, -1, 0, 1e300, 10**30, True, (1, 2))
MAKE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "Linear": lambda k: Linear(**{"d": 3, **k}),
    "TwoLayer": lambda k: TwoLayer(**{"d": 3, "m": 2, **k}),
    "MLP": lambda k: MLP(**{"sizes": (3, 2, 1), **k}),
    "CNN": lambda k: CNN(**{"image": (1, 4, 4), "channels": (2,), "hidden": (2,), **k}),
    "VGG": lambda k: VGG(**{"image": (1, 4, 4), "width": 0.02, **k}),
    "ResidualNet": lambda k: ResidualNet(**{"image": (1, 4, 4), "channels": (2,), **k}),
    "ConvNet": lambda k: ConvNet(**{"image": (1, 4, 4), "layers": [ConvLayer(2)], **k}),
}
ARGUMENTS = {
    "Linear": "d classes bias generator",
    "TwoLayer": "d m activation eps classes bias init_scale generator",
    "MLP": "sizes activation eps bias init_scale generator",
    "CNN": "image channels hidden classes kernel pool init_scale generator",
    "VGG": "image depth width hidden classes pool init_scale generator",
    "ResidualNet": "image channels blocks classes init_scale generator",
    "ConvNet": "image layers hidden classes kernel global_pool init_scale generator",
}


@pytest.mark.parametrize(
    ("name", "argument"), [(name, a) for name, all_ in ARGUMENTS.items() for a in all_.split()]
)
def test_every_bad_argument_of_a_net_is_named(name: str, argument: str) -> None:
    messages = []
    for bad in JUNK:
        try:
            MAKE[name]({argument: bad})
        except (ValueError, TypeError) as error:
            messages.append(str(error))
    assert [m for m in messages if argument not in m] == []
    assert len(messages) >= 8


def test_numpy_sizes_are_sizes() -> None:
    net = MLP(np.array([3, 4, 1]), eps=np.float32(0.5), bias=np.bool_(True))  # type: ignore[arg-type]
    assert net.sizes == (3, 4, 1)
    assert all(type(size) is int for size in net.sizes)
    assert type(Linear(np.int64(3)).d) is int  # type: ignore[arg-type]


def test_a_net_beyond_the_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"sizes makes a weight .* memory"):
        MLP((2**31 - 1, 2**31 - 1))


def test_points_of_another_precision_are_named() -> None:
    with pytest.raises(
        TypeError, match=r"x is of torch\.float32, the weights are of torch\.float64"
    ):
        TwoLayer(4, 3)(torch.randn(7, 4, dtype=torch.float32))
    with pytest.raises(ValueError, match="x = 1 has no dimension of points"):
        TwoLayer(1, 3)(torch.tensor(1.0))


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "a", True, [], 1j, 2])
def test_the_tolerance_of_the_check_is_checked(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="rtol"):
        check_degree(Linear(4), torch.randn(3, 4), rtol=bad)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_the_degree_of_outputs_whose_squares_leave_the_float_range(scale: float) -> None:
    net = Linear(4)
    with torch.no_grad():
        net.weight.mul_(scale)
    assert check_degree(net, torch.randn(5, 4)).total == 1


def test_a_normalisation_is_refused_in_single_precision_too() -> None:
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)).float()
    with pytest.raises(NotHomogeneousError, match="1 is a BatchNorm1d"):
        check_degree(net, 100 * torch.randn(64, 4))


def test_a_frozen_bias_is_named() -> None:
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2))
    net[2].bias.requires_grad_(False)
    with pytest.raises(NotHomogeneousError, match=r"2\.bias is a frozen bias"):
        check_degree(net, torch.randn(6, 4))


def test_points_that_are_indices_stay_so_for_an_embedding() -> None:
    net = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 1, bias=False))
    found = check_degree(net, torch.tensor([[0, 1], [5, 6]]))
    assert found.layers == {"0.weight": 1, "2.weight": 1}

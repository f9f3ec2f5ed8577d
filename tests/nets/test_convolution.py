"""Convolutional nets: degree, units, balance along training, and starts that keep the signal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from mirrorflow import maps
from mirrorflow.diagnostics import balance, drift, features
from mirrorflow.losses import log_loss
from mirrorflow.nets import CNN, VGG, ConvLayer, ConvNet, ResidualNet, check_degree
from mirrorflow.optim import MirrorDescent, RelativeStep

IMAGE = (2, 8, 8)
NETS: dict[str, Callable[[], ConvNet]] = {
    "cnn": lambda: CNN(IMAGE, (3, 4), (5,), classes=3),
    "cnn max, binary": lambda: CNN(IMAGE, (3, 4), (), pool="max"),
    "cnn stride, odd map": lambda: CNN((2, 7, 5), (3, 4, 2), (5, 4), pool="stride", kernel=5),
    "vgg11": lambda: VGG(IMAGE, 11, width=1 / 32, classes=3),
    "vgg16 with two hidden": lambda: VGG(IMAGE, 16, width=1 / 32, hidden=(8, 8), classes=3),
    "residual": lambda: ResidualNet(IMAGE, (3, 4), 2, classes=3),
}
DEGREES = [4, 3, 6, 9, 16, 10]


@pytest.fixture(params=list(zip(NETS, DEGREES, strict=True)), ids=lambda p: p[0])
def case(request: pytest.FixtureRequest) -> tuple[ConvNet, float]:
    name, degree = request.param
    torch.manual_seed(1)
    return NETS[name](), degree


def test_declared_degree_is_the_measured_one(case: tuple[ConvNet, float]) -> None:
    net, degree = case
    measured = check_degree(net, torch.randn(5, *net.image))
    assert measured.total == net.degree == degree
    assert measured.layers == net.layer_degrees


def test_eulers_identity_holds_tensor_by_tensor_and_unit_by_unit(
    case: tuple[ConvNet, float],
) -> None:
    net, _ = case
    out = net(torch.randn(5, *net.image))
    value = (out * torch.randn_like(out)).sum()
    value.backward()
    products = {}
    for name, p in net.named_parameters():
        assert p.grad is not None
        products[name] = p.detach() * p.grad
        assert float(products[name].sum()) == pytest.approx(value.item(), rel=1e-9)
    assert len(net.junctions) == len(products) - 1
    for j in net.junctions:
        into, out_of = products[j.incoming], products[j.outgoing]
        # Written out here, independently of diagnostics: what enters a unit leaves it.
        left = into.flatten(1).sum(1)
        if out_of.ndim == 4:
            right = out_of.sum((0, 2, 3))
        else:
            right = out_of.reshape(len(out_of), j.units, j.repeat).sum((0, 2))
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


def test_activations_are_those_of_the_units(case: tuple[ConvNet, float]) -> None:
    net, _ = case
    x = torch.randn(5, *net.image)
    hidden = net.activations(x)
    assert [h.shape[1] for h in hidden] == [j.units for j in net.junctions]
    for layer, h in zip(net.layers, hidden, strict=False):
        assert bool((h[:, : layer.channels - layer.linear] >= 0).all())
        if layer.linear:
            assert bool((h[:, layer.channels - layer.linear :] < 0).any())
    measured = features(net, x)
    assert list(measured.hidden) == [j.incoming for j in net.junctions]


def test_a_cnn_is_the_sequential_that_it_says() -> None:
    net = CNN((1, 9, 6), (3, 4), (5,), classes=2)
    plain = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5, bias=False),
        nn.ReLU(),
        nn.Linear(5, 2, bias=False),
    )
    with torch.no_grad():
        for p, q in zip(plain.parameters(), net.parameters(), strict=True):
            p.copy_(q)
    x = torch.randn(6, 1, 9, 6)
    torch.testing.assert_close(net(x), plain(x))
    chosen = maps.Power(3)
    ours, theirs = balance(net, chosen), balance(plain, chosen)
    for a, b in zip(ours.units.values(), theirs.units.values(), strict=True):
        torch.testing.assert_close(a, b)
    assert list(ours.layers.values()) == pytest.approx(list(theirs.layers.values()))


def test_vgg_has_the_published_channels() -> None:
    convolutions = {
        11: [64, 128, 256, 256, 512, 512, 512, 512],
        16: [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
    }
    for depth, channels in convolutions.items():
        net = VGG((3, 32, 32), depth, width=1 / 16, classes=10)  # type: ignore[arg-type]
        assert [len(w) for w in net.weights] == [c // 16 for c in channels] + [10]
        assert net.positions == 1
    # On 28×28 the maps go 28, 14, 7, 3, 1, and a single pixel is not pooled.
    small = VGG((1, 28, 28), 11, width=1 / 64, classes=10)
    assert small.positions == 1
    assert small(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_a_residual_block_starts_as_an_identity_plus_a_branch() -> None:
    net = ResidualNet((2, 6, 6), (5,), 1, classes=2)
    with torch.no_grad():
        x = torch.randn(4, 2, 6, 6)
        stem, hidden, end = net.activations(x)
        assert hidden.shape[1] == 10
        branch = functional.conv2d(hidden[:, :5], net.weights[2][:, :5], padding=1)
        expected = torch.relu(branch + stem)
        skipped = functional.conv2d(hidden[:, 5:], net.weights[2][:, 5:], padding=1)
    off = float((end - expected).norm() / expected.norm())
    assert 0 < off < 0.3  # the small noise on the skip path
    torch.testing.assert_close(end, torch.relu(branch + skipped))
    # A plain identity would not do: its sum with a branch has no degree.
    assert net.degree == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNN((3, 32, 32), (8, 16), classes=10),
        lambda: VGG((3, 32, 32), 16, width=1 / 8, classes=10),
        lambda: VGG((3, 32, 32), 16, width=1 / 8, classes=10, pool="avg"),
        lambda: ResidualNet((3, 32, 32), (8, 16), 1, classes=10),
        lambda: ResidualNet((3, 32, 32), (8, 16), 6, classes=10),
    ],
    ids=["cnn", "vgg16", "vgg16 avg", "residual 6", "residual 26"],
)
def test_the_start_keeps_the_signal_at_any_depth(make: Callable[[], ConvNet]) -> None:
    net = make()
    # Smooth images, as photographs are: noise would be averaged away by the pooling.
    x = functional.interpolate(torch.randn(16, 3, 4, 4), size=32, mode="bilinear")
    x = (x - x.mean()) / x.std()
    with torch.no_grad():
        sizes = [float(h.square().mean().sqrt()) for h in net.activations(x)]
        assert 0.1 < float(net(x).square().mean().sqrt()) < 10
    assert min(sizes) > 0.2
    assert max(sizes) < 8


def test_the_padding_is_counted_in_the_start() -> None:
    deep = ConvNet((4, 2, 2), [ConvLayer(16)] * 8, classes=2)
    assert deep.fan_in[1:8] == [16 * 4.0] * 7  # 2 of 3 taps in each direction, not 3
    naive = 9 / 4
    with torch.no_grad():
        last = deep.activations(torch.randn(64, 4, 2, 2))[-1].square().mean()
    assert 0.2 < float(last) < 5
    assert float(last) / naive**8 < 0.01  # what the usual fan_in would leave


@pytest.mark.parametrize(
    "mirror_map", [maps.Quadratic(), maps.HyperbolicEntropy(0.1), maps.Power(3)], ids=repr
)
@pytest.mark.parametrize("name", ["cnn", "residual"])
def test_balance_per_channel_drifts_less_with_smaller_steps(
    name: str, mirror_map: maps.MirrorMap
) -> None:
    g = torch.Generator().manual_seed(3)
    make = {
        "cnn": lambda: CNN((1, 6, 6), (3,), (4,), classes=3, generator=g),
        "residual": lambda: ResidualNet((1, 6, 6), (3, 4), 1, classes=3, generator=g),
    }[name]
    start = make()
    x, y = torch.randn(12, 1, 6, 6, generator=g), torch.arange(12) % 3

    def moved(lr: float, steps: int) -> tuple[float, float]:
        net = make()
        net.load_state_dict(start.state_dict())
        before = balance(net, mirror_map)
        optimizer = MirrorDescent(net.parameters(), lr, mirror_map=mirror_map)
        for _ in range(steps):
            optimizer.zero_grad()
            log_loss(net(x), y).exp().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        length = sum(
            (p - q).square().sum().item()
            for p, q in zip(net.parameters(), start.parameters(), strict=True)
        )
        return drift(before, balance(net, mirror_map)).worst, length**0.5

    (coarse, length), (fine, _) = (moved(0.004 / k, 20 * k) for k in (1, 4))
    assert length > 0.02, "the net has hardly moved, so the test would show nothing"
    assert 3 < coarse / fine < 5


@pytest.mark.parametrize(
    ("make", "eta"),
    [
        (lambda g: CNN(IMAGE, (8, 8), (16,), classes=3, generator=g), 0.01),
        (lambda g: VGG(IMAGE, 16, width=1 / 8, classes=3, generator=g), 0.003),
        (lambda g: ResidualNet(IMAGE, (8, 8), 2, classes=3, generator=g), 0.01),
    ],
    ids=["cnn", "vgg16", "residual"],
)
def test_training_fits_without_normalisation(
    make: Callable[[torch.Generator], ConvNet], eta: float
) -> None:
    g = torch.Generator().manual_seed(0)
    x = functional.interpolate(torch.randn(24, 2, 4, 4, generator=g), size=8, mode="bilinear")
    x, y = x / x.std(), torch.arange(24) % 3
    net = make(g)
    optimizer = MirrorDescent(net.parameters(), RelativeStep(eta), mirror_map=maps.Quadratic())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = log_loss(net(x), y)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    for _ in range(120):
        optimizer.step(closure)
    assert bool((net(x).argmax(1) == y).all())
    assert log_loss(net(x), y).item() < -1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: CNN((28, 28)), ValueError, "image"),
        (lambda: CNN(IMAGE, ()), ValueError, "channels is empty"),
        (lambda: CNN(IMAGE, kernel=4), ValueError, "kernel = 4"),
        (lambda: CNN(IMAGE, pool="mean"), ValueError, "'mean'"),  # type: ignore[arg-type]
        (lambda: CNN(IMAGE, (3, 0)), ValueError, r"channels\[1\] = 0"),
        (lambda: CNN(IMAGE, classes=1), ValueError, "classes = 1"),
        (lambda: CNN(IMAGE, init_scale=-1.0), ValueError, "init_scale"),
        (lambda: VGG(IMAGE, 13), ValueError, "depth = 13"),  # type: ignore[arg-type]
        (lambda: VGG(IMAGE, width=0.0), ValueError, "width"),
        (lambda: ResidualNet(IMAGE, ()), ValueError, "channels is empty"),
        (lambda: ResidualNet(IMAGE, blocks=0), ValueError, "blocks = 0"),
        (lambda: ConvNet(IMAGE, [ConvLayer(2, linear=3)]), ValueError, "linear = 3"),
    ],
)
def test_bad_arguments_are_named(make, error, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=text):
        make()


def test_wrong_points_are_named() -> None:
    net = CNN(IMAGE, (3,), ())
    with pytest.raises(ValueError, match=r"\(4, 2, 8, 7\).*\(n, 2, 8, 8\)"):
        net(torch.randn(4, 2, 8, 7))
    with pytest.raises(TypeError, match="uint8"):
        net(torch.zeros(4, *IMAGE, dtype=torch.uint8))


def test_seeded_start_is_the_same_in_both_precisions() -> None:
    for make in (CNN, VGG, ResidualNet):
        one = make(IMAGE, generator=torch.Generator().manual_seed(3))
        torch.set_default_dtype(torch.float32)
        other = make(IMAGE, generator=torch.Generator().manual_seed(3))
        torch.set_default_dtype(torch.float64)
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a.float(), b, rtol=3e-7, atol=1e-9)

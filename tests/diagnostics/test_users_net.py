"""Nets as people have them: what a diagnostic may not change, and what it has to read rightly."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from mirrorflow.diagnostics import balance, certify, drift, energy, features, margin, structure
from mirrorflow.errors import NotHomogeneousError
from mirrorflow.maps import HyperbolicEntropy, Power, Quadratic
from mirrorflow.nets import MLP, TwoLayer, check_degree

Q = Quadratic()


def points(n: int = 12, d: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return x, torch.where(x[:, 0] > 0, 1, -1)


def linear(a: int, b: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(a, b, bias=bias)


def twice() -> nn.Sequential:
    torch.manual_seed(1)
    h = linear(5, 5)
    return nn.Sequential(linear(4, 5), nn.ReLU(), h, nn.ReLU(), h, nn.ReLU(), linear(5, 1))


def tied() -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        linear(4, 5), nn.ReLU(), linear(5, 5), nn.ReLU(), linear(5, 5), nn.ReLU(), linear(5, 1)
    )
    net[4].weight = net[2].weight
    return net


class TwoNames(nn.Module):
    """One parameter under two names, and attributes that the forward pass leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))
        self.b = self.a
        self.out = nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = torch.relu(torch.relu(x @ self.a) @ self.b)
        return self.last @ self.out


NETS: dict[str, Callable[[], nn.Module]] = {
    "module twice": twice,
    "tied": tied,
    "two names": TwoNames,
    "nested": lambda: nn.Sequential(nn.Sequential(linear(4, 5), nn.Dropout(0.0)), linear(5, 1)),
    "declared": lambda: TwoLayer(4, 5, generator=torch.Generator().manual_seed(3)),
}
CALLS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "check_degree": lambda n, x, y: check_degree(n, x),
    "structure": lambda n, x, y: structure(n, x),
    "margin": lambda n, x, y: margin(n, x, y, Q),
    "certify": lambda n, x, y: certify(n, x, y, Q),
    "balance": lambda n, x, y: balance(n, Q, x=x),
    "features": lambda n, x, y: features(n, x),
    "energy": lambda n, x, y: energy(n, Q, x=x),
}


def state(net: nn.Module) -> list[Any]:
    tensors = [*net.named_parameters(remove_duplicate=False), *net.named_buffers()]
    return [
        [(k, id(t), t.requires_grad, id(t.grad), t._version) for k, t in tensors],
        [(k, m.training, len(m._forward_hooks), sorted(vars(m))) for k, m in net.named_modules()],
        [id(m) for m in net.modules()],
        id(getattr(net, "last", None)),
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NETS)
def test_the_net_stays_object_for_object(name: str, call: str) -> None:
    net, (x, y) = NETS[name](), points()
    net.register_forward_hook(lambda module, args, out: None)
    net(x).sum().backward()
    values = [p.clone() for p in net.parameters()]
    before = state(net)
    for data in ((x, y), (x[:, :2], y), (x, 5 * y)):  # the last two are refused by some
        with contextlib.suppress(ValueError, TypeError):
            CALLS[call](net, *data)
        assert state(net) == before
    assert all(torch.equal(a, b) for a, b in zip(values, net.parameters(), strict=True))


@pytest.mark.parametrize("make", [twice, tied])
def test_a_weight_that_is_used_twice_counts_twice(make: Callable[[], nn.Sequential]) -> None:
    net, (x, y) = make(), points()
    found = structure(net)
    assert found.degree == check_degree(net, x).total == 4
    assert {layer.name: layer.degree for layer in found.layers} == check_degree(net, x).layers
    assert [layer.degree for layer in found.layers] == [1, 2, 1]
    with torch.no_grad():
        q, size = (y * net(x)[:, 0]).min(), sum(p.square().sum() for p in net.parameters()) ** 0.5
    measured = margin(net, x, y, Q)
    assert measured.degree == 4
    assert measured.margin == pytest.approx(float(q / size**4), rel=1e-12)
    assert list(features(net, x).hidden) == ["0.weight", "2.weight", "4.weight"]
    h = torch.relu(net[:5](x))
    last = features(net, x).hidden["4.weight"]
    assert last.zero_activations == pytest.approx(float((h == 0).double().mean()))
    strengths = net[2].weight.norm(dim=1) * net[6].weight[0].abs()
    torch.testing.assert_close(last.strengths, strengths.detach())


@pytest.mark.parametrize("mirror_map", [Q, HyperbolicEntropy(0.5), Power(3)], ids=repr)
def test_balance_with_a_shared_weight_along_the_flow(mirror_map) -> None:  # type: ignore[no-untyped-def]
    net, (x, y) = twice(), points()
    with torch.no_grad():  # positive points and weights: no unit meets its kink
        x = x.abs() + 0.1
        for p in net.parameters():
            p.abs_().add_(0.05)
    weights = list(net.parameters())

    def slope(duals: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            for p, u in zip(weights, duals, strict=True):
                p.copy_(mirror_map.to_primal(u))
        loss = torch.exp(-0.1 * y * net(x)[:, 0]).mean()
        return [-g for g in torch.autograd.grad(loss, weights)]

    u = [mirror_map.to_dual(p.detach()) for p in weights]
    before, step = balance(net, mirror_map), 2e-3
    for _ in range(40):  # the classical Runge-Kutta method
        k1 = slope(u)
        k2 = slope([a + 0.5 * step * k for a, k in zip(u, k1, strict=True)])
        k3 = slope([a + 0.5 * step * k for a, k in zip(u, k2, strict=True)])
        k4 = slope([a + step * k for a, k in zip(u, k3, strict=True)])
        u = [
            a + step / 6 * (p + 2 * q + 2 * r + s)
            for a, p, q, r, s in zip(u, k1, k2, k3, k4, strict=True)
        ]
    slope(u)
    after = balance(net, mirror_map)
    assert list(before.layers) == ["0.weight", "2.weight", "6.weight"]
    assert list(before.units) == ["0.weight"]
    moved = [abs(after.layers[k] - before.layers[k]) for k in before.layers]
    assert min(moved) > 1e-3
    assert float(after.units["0.weight"].abs().min()) > 1e-3
    found = drift(before, after)
    assert found.absolute_layers < 1e-5 * max(moved)
    assert found.absolute_units < 1e-5 * max(moved)


def test_a_weight_at_the_input_and_inside_has_no_unit_balance() -> None:
    a, b = linear(3, 3), linear(3, 3)
    net = nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), a)
    found = balance(net, Q)
    assert found.layers["0.weight"] == pytest.approx(float(a.weight.detach().square().sum()) / 4)
    assert found.units == {}


def frozen_last() -> nn.Sequential:
    torch.manual_seed(4)
    net = nn.Sequential(linear(4, 6), nn.LeakyReLU(0.3), linear(6, 1))
    net[2].weight.requires_grad_(False)
    return net


def test_frozen_parameters_are_constants() -> None:
    net, (x, y) = frozen_last(), points()
    found = check_degree(net, x)
    assert (found.total, found.layers, found.fixed) == (1, {"0.weight": 1}, ("2.weight",))
    assert structure(net).layers == structure(copy.deepcopy(net), x).layers
    with torch.no_grad():
        right = float((y * net(x)[:, 0]).min() / net[0].weight.norm())
    measured = margin(net, x, y, Q)
    assert measured.margin == pytest.approx(right, rel=1e-12)
    assert (measured.degree, measured.fixed) == (1, ("2.weight",))
    by_name = margin(net, x, y, {"0.weight": Q})
    both = margin(net, x, y, {"0.weight": Q, "2.weight": Power(3)})
    assert by_name.margin == both.margin == measured.margin
    balanced = balance(net, Q)
    assert list(balanced.layers) == ["0.weight"]
    assert balanced.layers["0.weight"] == pytest.approx(
        float(net[0].weight.detach().square().sum()) / 2
    )
    assert (balanced.units, balanced.fixed) == ({}, ("2.weight",))
    assert energy(net, Q).degree == 1
    assert list(features(net, x).hidden) == ["0.weight"]


def test_the_certificate_of_a_frozen_net_is_that_of_the_trained_layer() -> None:
    net, (x, y) = frozen_last(), points(6)
    # With the gates of these weights f is linear in W: q_i = <W, G_i>.
    with torch.no_grad():
        hidden = x @ net[0].weight.T
        gates = torch.where(hidden > 0, 1.0, 0.3) * net[2].weight
        g = y[:, None, None] * gates[:, :, None] * x[:, None, :]
        for _ in range(3):  # towards the mean of the G_i, which separates
            net[0].weight.copy_(g.mean(0))
            hidden = x @ net[0].weight.T
            gates = torch.where(hidden > 0, 1.0, 0.3) * net[2].weight
            g = y[:, None, None] * gates[:, :, None] * x[:, None, :]
    q = (g * net[0].weight.detach()).sum((1, 2))
    assert float(q.min()) > 0
    found = certify(net, x, y, Q)
    assert found.degree == 1
    assert found.margin == pytest.approx(float(q.min() / net[0].weight.detach().norm()), rel=1e-12)
    from scipy.optimize import nnls

    theta = (net[0].weight / net[0].weight.norm()).detach().reshape(-1).numpy()
    residual = nnls(g.reshape(6, -1).T.numpy(), theta)[1]
    loose = certify(net, x, y, Q, band=1e6)
    assert loose.epsilon == pytest.approx(residual, rel=1e-6)
    assert residual > 1e-3


def test_frozen_features_may_be_anything_and_frozen_biases_behind_trained_weights_not() -> None:
    x, y = points()
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), linear(5, 3), nn.ReLU(), linear(3, 1))
    net[0].requires_grad_(False)
    assert structure(net).degree == structure(net, x).degree == check_degree(net, x).total == 2
    assert margin(net, x, y, Q).fixed == ("0.weight", "0.bias")
    net = nn.Sequential(linear(4, 5), nn.ReLU(), nn.Linear(5, 1))
    net[2].bias.requires_grad_(False)
    for call in ("check_degree", "margin", "certify", "balance"):
        with pytest.raises(NotHomogeneousError, match=r"2\.bias is a frozen bias"):
            CALLS[call](net, x, y)
    with torch.no_grad():
        net[2].bias.zero_()
    assert margin(net, x, y, Q).degree == check_degree(net, x).total == 2
    assert list(balance(net, Q).units) == ["0.weight"]


@pytest.mark.parametrize("call", [c for c in CALLS if c != "features"])
def test_a_net_with_nothing_trained_is_refused(call: str) -> None:
    for make in NETS.values():
        net = make().requires_grad_(False)
        with pytest.raises(ValueError, match=r"all parameters of net are frozen.*requires_grad"):
            CALLS[call](net, *points())


def _pruned(net: nn.Sequential) -> None:
    prune.l1_unstructured(net[0], "weight", amount=0.5)


def _pruned_twice(net: nn.Sequential) -> None:
    _pruned(net)
    prune.random_unstructured(net[0], "weight", amount=0.2)


COMPUTED: dict[str, tuple[Callable[[nn.Sequential], Any], str]] = {
    "pruned": (_pruned, r"prune\.remove\(net\.0, 'weight'\)"),
    "pruned twice": (_pruned_twice, r"prune\.remove\(net\.0, 'weight'\)"),
    "weight_norm": (
        lambda n: parametrizations.weight_norm(n[0]),
        r"remove_parametrizations\(net\.0, 'weight'\)",
    ),
    "spectral_norm": (
        lambda n: parametrizations.spectral_norm(n[0]),
        r"remove_parametrizations\(net\.0, 'weight'\)",
    ),
    "orthogonal": (
        lambda n: parametrizations.orthogonal(n[0]),
        r"remove_parametrizations\(net\.0, 'weight'\)",
    ),
    "old weight_norm": (lambda n: nn.utils.weight_norm(n[0]), r"remove_weight_norm\(net\.0"),
    "old spectral_norm": (lambda n: nn.utils.spectral_norm(n[0]), r"remove_spectral_norm\(net\.0"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_are_refused_with_the_call_that_ends_them(kind: str, call: str) -> None:
    change, cure = COMPUTED[kind]
    net = nn.Sequential(linear(4, 5), nn.ReLU(), linear(5, 1))
    change(net)
    with pytest.raises(ValueError, match=rf"'weight' of net\.0 is computed.*{cure}"):
        CALLS[call](net, *points())


def test_after_the_cure_the_effective_weights_are_measured() -> None:
    net, (x, y) = nn.Sequential(linear(4, 5), nn.ReLU(), linear(5, 1)), points()
    _pruned(net)
    effective = net[0].weight.detach().clone()
    prune.remove(net[0], "weight")
    size = (effective.square().sum() + net[2].weight.detach().square().sum()).sqrt()
    least = (y * net(x).detach()[:, 0]).min()
    assert margin(net, x, y, Q).margin == pytest.approx(float(least / size**2), rel=1e-12)


def test_a_result_of_the_last_pass_does_not_stop_the_copy() -> None:
    net, (x, y) = TwoNames(), points()
    net(x)
    assert net.last is not None
    assert net.last.grad_fn is not None
    assert margin(net, x, y, Q).degree == 3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("call", CALLS)
def test_the_grad_mode_of_the_caller_does_not_matter(call: str, mode: Any) -> None:
    net, (x, y) = twice(), points()
    with torch.no_grad():
        y = torch.where(net(x)[:, 0] > 0, 1, -1)
    expected = CALLS[call](net, x, y)
    with mode():
        inside = CALLS[call](net, x.clone(), y.clone())
    assert repr(inside) == repr(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_precision_is_measured_in_doubles(dtype: torch.dtype) -> None:
    net, (x, y) = twice().to(dtype), points()
    x = x.to(dtype)
    exact = margin(copy.deepcopy(net).double(), x.double(), y, Q)
    found = margin(net, x, y, Q)
    assert (found.degree, found.margin) == (4, exact.margin)
    assert check_degree(net, x).total == 4
    assert features(net, x).hidden["4.weight"].units == 5


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


class Noise(Pair):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.inner(x) + 1e-3 * torch.randn(len(x), 1)


@pytest.mark.parametrize("call", ["check_degree", "margin", "certify"])
def test_what_no_margin_can_be_measured_of_is_refused(call: str) -> None:
    x, y = points()
    with pytest.raises(TypeError, match="net returns a tuple"):
        CALLS[call](Pair(), x, y)
    with pytest.raises(ValueError, match="net draws random numbers"):
        CALLS[call](Noise(), x, y)
    norm = nn.Sequential(nn.BatchNorm1d(4, affine=False), linear(4, 1))
    if call != "check_degree":
        with pytest.raises(ValueError, match=r"0 is a BatchNorm1d in train mode.*net\.eval"):
            CALLS[call](norm, x, y)
    CALLS[call](norm.eval(), x, y)


def test_features_follow_the_units_through_reshapes() -> None:
    x = torch.randn(9, 16, generator=torch.Generator().manual_seed(5))
    net = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 3, 3, bias=False),
        nn.Flatten(),
        nn.ReLU(),
        linear(12, 6),
        nn.ReLU(),
        nn.Unflatten(1, (2, 3)),
        nn.Conv1d(2, 1, 3, bias=False),
        nn.Flatten(),
    )
    found = features(net, x)
    assert {k: h.units for k, h in found.hidden.items()} == {"1.weight": 3, "4.weight": 2}
    h = net[:4](x).detach()
    assert found.hidden["1.weight"].zero_activations == float((h == 0).double().mean())
    values = torch.linalg.svdvals(h.reshape(9, 3, 4).movedim(1, 2).reshape(-1, 3))
    p = values / values.sum()
    rank = math.exp(float(-(p * p.log()).sum()))
    assert found.hidden["1.weight"].effective_rank == pytest.approx(rank, rel=1e-9)
    into = net[4].weight.detach().reshape(2, -1).norm(dim=1)
    out = net[7].weight.detach()[0].norm(dim=1)
    torch.testing.assert_close(found.hidden["4.weight"].strengths, into * out)
    # A unit scaled by c, and its outgoing weights by 1/c: the net does not see it.
    before = net(x)
    with torch.no_grad():
        net[4].weight[:3].mul_(2)
        net[7].weight[:, 0].div_(2)
    torch.testing.assert_close(net(x), before)


def test_features_of_sequences_have_units_last() -> None:
    x = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(6))
    net = nn.Sequential(linear(4, 5), nn.ReLU(), linear(5, 1))
    h = net[:2](x).detach().reshape(-1, 5)
    p = torch.linalg.svdvals(h)
    p = p / p.sum()
    rank = math.exp(float(-(p * p.log()).sum()))
    assert features(net, x).hidden["0.weight"].effective_rank == pytest.approx(rank, rel=1e-9)


class Own(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


@pytest.mark.parametrize(
    ("net", "reader"),
    [
        (nn.Sequential(linear(4, 5), nn.PReLU(), linear(5, 1)), "2.weight"),
        (nn.Sequential(linear(4, 5), nn.Tanh(), linear(5, 1)), "2.weight"),
        (Own(linear(4, 5), linear(5, 1)), "1.weight"),
        (nn.Sequential(Own(linear(4, 5)), linear(5, 1)), "1.weight"),
    ],
)
def test_features_of_what_cannot_be_read_off_are_those_of_its_readers(
    net: nn.Module, reader: str
) -> None:
    found = features(net, points()[0])
    assert found.readers
    assert {name: h.units for name, h in found.hidden.items()} == {reader: 5}


def test_features_are_never_silently_empty() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        features(nn.Sequential(nn.Identity()), points()[0])
    for alone in (
        nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 4, 1, groups=2)),
        nn.Sequential(nn.BatchNorm1d(4)),
    ):
        found = features(alone, points()[0])
        assert found.hidden == {}  # there are none
        assert all(w.hoyer >= 0 for w in found.weights.values())


def test_a_net_that_declares_its_weights_but_no_hidden_layers_has_no_features() -> None:
    class Silent(MLP):
        junctions = ()  # type: ignore[assignment]

    with pytest.raises(TypeError, match="declares no hidden layers"):
        features(Silent((4, 5, 1)), points()[0])


def test_a_declared_net_with_tied_weights_adds_their_degrees() -> None:
    net, (x, _) = MLP((4, 5, 5, 5, 1), generator=torch.Generator().manual_seed(7)), points()
    net.weights[2] = net.weights[1]
    assert structure(net).degree == check_degree(net, x).total == 4
    assert [(k.name, k.degree) for k in structure(net).layers] == [
        ("weights.0", 1), ("weights.1", 2), ("weights.3", 1)
    ]  # fmt: skip
    assert list(balance(net, Q).units) == ["weights.0"]


@pytest.mark.parametrize("call", ["margin", "certify", "features", "check_degree"])
def test_arrays_are_points_and_labels(call: str) -> None:
    net, (x, y) = twice(), points()
    with torch.no_grad():
        y = torch.where(net(x)[:, 0] > 0, 1, -1)
    assert repr(CALLS[call](net, x.numpy(), y.numpy())) == repr(CALLS[call](net, x, y))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [None, 0, -1, 1.5, "abc", True, math.nan, [], 1j])
def test_batch_sizes_are_checked(bad: Any) -> None:
    net, (x, y) = twice(), points()
    for call in (lambda: margin(net, x, y, Q, batch_size=bad),
                 lambda: features(net, x, batch_size=bad)):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match="batch_size"):
            call()

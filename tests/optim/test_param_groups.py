"""Who gets which map and which rate: by kind of module, once each, for any module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from mirrorflow import diagnostics, maps
from mirrorflow.nets import MLP
from mirrorflow.optim import MirrorAdamW, MirrorDescent, RelativeStep, match_lr, param_groups
from mirrorflow.roles import roles
from mirrorflow.sparse import prune

SPARSE = maps.HyperbolicEntropy(1e-3)


class RMSNorm(nn.Module):
    """A normalisation of somebody's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt() * self.weight


class Experts(nn.Module):
    """Own arrays: three matrices in one, a table of positions, a class token, a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(3, 4, 4))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, 4))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.norm = RMSNorm(4)


def kinds(net: nn.Module) -> dict[str, str]:
    return {role.name: role.kind for role in roles(net)}


def test_torch_modules_by_kind() -> None:
    net = nn.ModuleDict(
        {
            "linear": nn.Linear(3, 1),
            "conv": nn.Conv2d(1, 1, 1),
            "up": nn.ConvTranspose1d(2, 3, 3),
            "bn": nn.BatchNorm2d(2),
            "group": nn.GroupNorm(1, 2),
            "layer": nn.LayerNorm((3, 2)),
            "attention": nn.MultiheadAttention(4, 2, add_bias_kv=True),
            "lstm": nn.LSTM(2, 3),
            "table": nn.Embedding(5, 4),
            "slope": nn.PReLU(2),
        }
    )
    assert kinds(net) == {
        "linear.weight": "weight",
        "linear.bias": "bias",
        "conv.weight": "weight",
        "conv.bias": "bias",
        "up.weight": "weight",
        "up.bias": "bias",
        "bn.weight": "normalisation",
        "bn.bias": "normalisation",
        "group.weight": "normalisation",
        "group.bias": "normalisation",
        "layer.weight": "normalisation",
        "layer.bias": "normalisation",
        "attention.in_proj_weight": "weight",
        "attention.in_proj_bias": "bias",
        "attention.bias_k": "bias",
        "attention.bias_v": "bias",
        "attention.out_proj.weight": "weight",
        "attention.out_proj.bias": "bias",
        "lstm.weight_ih_l0": "weight",
        "lstm.weight_hh_l0": "weight",
        "lstm.bias_ih_l0": "bias",
        "lstm.bias_hh_l0": "bias",
        "table.weight": "embedding",
        "slope.weight": "scalar",
    }


def test_modules_of_ones_own_by_shape_and_name() -> None:
    assert kinds(Experts()) == {
        "matrices": "weight",
        "pos_embed": "embedding",
        "cls_token": "embedding",
        "gamma": "scalar",
        "temperature": "scalar",
        "norm.weight": "normalisation",
    }


def test_weight_norm_has_a_direction_and_lengths() -> None:
    new = parametrizations.weight_norm(nn.Linear(3, 4))
    assert [role.kind for role in roles(new)] == ["bias", "scalar", "weight"]
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Linear(3, 4))
    assert kinds(old) == {"bias": "bias", "weight_g": "scalar", "weight_v": "weight"}


def test_our_own_nets_have_weights() -> None:
    assert set(kinds(MLP((2, 3, 1))).values()) == {"weight"}


def tied() -> nn.Module:
    net = nn.ModuleDict({"head": nn.Linear(4, 6, bias=False), "table": nn.Embedding(6, 4)})
    net["head"].weight = net["table"].weight
    net["body"] = nn.Linear(4, 4)
    return net


def test_tied_weights_stand_once_and_are_an_embedding() -> None:
    groups = param_groups(tied(), SPARSE, 0.1)
    assert [[name for name, _ in group["params"]] for group in groups] == [
        ["body.weight"],
        ["head.weight", "body.bias"],
    ]


def test_every_trained_parameter_is_in_one_group() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16)
    net.linear1.weight.requires_grad_(False)
    groups = param_groups(net, SPARSE, 0.1)
    listed = [p for group in groups for _, p in group["params"]]
    assert len({id(p) for p in listed}) == len(listed)
    assert {id(p) for p in listed} == {id(p) for p in net.parameters() if p.requires_grad}
    assert "not trained" in str(groups)
    assert "linear1.weight" in str(groups).splitlines()[-1]


def test_the_rate_of_the_rest_moves_a_typical_entry_alike() -> None:
    """1/R'' of asinh(x/β) is √(x² + β²); two tensors, by hand."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, 4.0], [5.0, 0.0]]))  # σ² = 50/3
        net[1].weight.copy_(torch.tensor([[1.0, 1.0]]))  # σ = 1
    beta = 0.5
    groups = param_groups(net, maps.HyperbolicEntropy(beta), 0.1)
    first = math.sqrt(50 / 3)  # zeros do not count: they may be pruned
    expected = 0.1 * (math.hypot(first, beta) + math.hypot(1.0, beta)) / 2
    assert groups[1]["lr"] == pytest.approx(expected, rel=1e-12)
    cubic = param_groups(net, maps.Power(3), 0.1, other=maps.Cosh(2.0))
    biases = [p.detach().square().mean().sqrt() for p in (net[0].bias, net[1].bias)]
    slow = sum(1 / math.cosh(float(b) / 2) for b in biases) / 2
    ours = (1 / (2 * first) + 1 / 2) / 2  # r(x) = |x|³/3
    assert groups[1]["mirror_map"] == maps.Quadratic()
    assert cubic[1]["lr"] == pytest.approx(0.1 * ours / slow, rel=1e-12)


def test_one_relative_step_weights_the_other_map() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    for lr in ("auto", RelativeStep(0.01, "linear", 10)):
        number = param_groups(net, SPARSE, 1.0)
        groups = param_groups(net, SPARSE, lr)
        weight = groups[1]["mirror_map"].weight
        assert weight == pytest.approx(1 / number[1]["lr"], rel=1e-12)
        opt = MirrorDescent(groups, lr)
        before = [p.detach().clone() for p in net.parameters()]
        net(torch.randn(8, 2)).square().sum().backward()
        opt.step()
        for k, (p, q) in enumerate(zip(net.parameters(), before, strict=True)):
            # BatchNorm takes the mean away, and with it the gradient of the bias before it.
            assert k == 1 or not torch.equal(p, q)
        net.zero_grad()


def test_both_groups_step_as_two_optimizers_do() -> None:
    def loss(net: nn.Module) -> Tensor:
        return net(torch.linspace(-1, 1, 12).reshape(6, 2)).square().sum()

    def build() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 1))

    together, apart = build(), build()
    opt = MirrorAdamW(param_groups(together, SPARSE, 0.1, other_lr=0.01), weight_decay=0.1)
    weights = [apart[0].weight, apart[3].weight]
    rest = [apart[0].bias, *apart[1].parameters(), apart[3].bias]
    two = [
        MirrorAdamW(weights, 0.1, mirror_map=SPARSE, weight_decay=0.1),
        torch.optim.AdamW(rest, 0.01, weight_decay=0.1),
    ]
    for _ in range(5):
        for net, optimizers in ((together, [opt]), (apart, two)):
            net.zero_grad()
            loss(net).backward()
            for each in optimizers:
                each.step()
    for p, q in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.equal(p, q)


def test_torch_optimizers_take_the_groups() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    groups = param_groups(net, maps.Quadratic(), 0.1, other_lr=0.2)
    opt = torch.optim.SGD(groups, 1.0)
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.2]
    groups = param_groups(net, SPARSE, 0.1, other_lr=0.2)
    assert [group["lr"] for group in torch.optim.AdamW(groups).param_groups] == [0.1, 0.2]


def test_a_mapping_decides_by_name_layer_type_and_pattern() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3), nn.Linear(3, 1)
    )
    mapping = {
        nn.Linear: maps.Power(1.5),
        nn.BatchNorm2d: "power(3)",
        "3": maps.Power(1.2),
        "4.bias": maps.Power(4),
    }
    got = {
        name: group["mirror_map"]
        for group in param_groups(net, mapping, 0.1, other_lr=0.1)
        for name, _ in group["params"]
    }
    assert got == {
        "0.weight": maps.Quadratic(),  # no key covers it
        "0.bias": maps.Quadratic(),
        "1.weight": maps.Power(3),
        "1.bias": maps.Power(3),
        "3.weight": maps.Power(1.2),  # a layer wins over a type
        "3.bias": maps.Quadratic(),  # a layer or a type speaks of its weight
        "4.weight": maps.Power(1.5),
        "4.bias": maps.Power(4),
    }
    with pytest.raises(ValueError, match="covers no parameter"):
        param_groups(net, {nn.Linear: SPARSE, nn.GRU: SPARSE}, 0.1)
    with pytest.raises(TypeError, match="int"):
        param_groups(net, {1: SPARSE}, 0.1)


def test_types_are_keys_wherever_the_net_is_known() -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False))
    mapping = {nn.Linear: maps.Power(1.5)}
    assert maps.assign(mapping, net) == dict.fromkeys(["0.weight", "2.weight"], maps.Power(1.5))
    x, y = torch.randn(6, 2), torch.tensor([1, -1, 1, -1, 1, -1])
    by_type = diagnostics.margin(net, x, y, mapping)
    assert by_type.margin == diagnostics.margin(net, x, y, maps.Power(1.5)).margin != 0
    with pytest.raises(TypeError, match=r"param_groups\(net, mirror_map, lr\)"):
        MirrorDescent(net.named_parameters(), 0.1, mirror_map=mapping)
    opt = MirrorDescent(net.named_parameters(), 0.1, mirror_map=maps.assign(mapping, net))
    assert opt.param_groups[0]["mirror_map"] == maps.Power(1.5)


def test_the_inner_and_the_more_special_type_wins() -> None:
    class Own(nn.Linear):
        pass

    net = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2), "own": Own(2, 2), "b": nn.Linear(2, 2)})
    mapping = {
        nn.Module: maps.Quadratic(),
        nn.Linear: maps.Power(1.5),
        Own: maps.Power(4),
        nn.MultiheadAttention: maps.Power(3),
        "b.*": maps.Cosh(),
    }
    got = maps.assign({k: v for k, v in mapping.items() if k != "b.*"}, net)
    assert got["a.in_proj_weight"] == maps.Power(3)
    assert got["a.out_proj.weight"] == maps.Power(1.5)  # a Linear inside the attention
    assert got["own.weight"] == maps.Power(4)
    assert got["b.weight"] == maps.Power(1.5)
    patterns = {"*": SPARSE, nn.Linear: maps.Power(1.5)}
    assert maps.assign(patterns, net)["b.weight"] == maps.Power(1.5)


def test_match_lr_gives_every_group_its_own() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 2))
    groups = param_groups(net, SPARSE, 1.0)
    with pytest.raises(ValueError, match="backward"):
        groups.match_lr(0.1)
    assert groups[0]["lr"] == 1.0
    net(torch.randn(9, 4)).square().sum().backward()
    assert groups.match_lr(0.1) is groups
    weights = [net[0].weight, net[3].weight]
    assert groups[0]["lr"] == match_lr(weights, 0.1, mirror_map=SPARSE)
    assert groups[1]["lr"] == pytest.approx(0.1, rel=1e-3)  # SGD's own, up to the bisection


def test_the_table_says_who_got_what() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    groups = param_groups(net, SPARSE, 0.1, other_lr=0.02)
    lines = str(groups).splitlines()
    assert lines[0].split() == ["group", "map", "lr", "kind", "in", "tensors", "entries", "which"]
    assert lines[1].split() == ["0", repr(SPARSE), "0.1", "weight", "Conv2d", "1", "72", "0.weight"]
    assert lines[2].split() == ["weight", "Linear", "1", "16", "3.weight"]
    rest = ["1", "Quadratic()", "0.02", "bias", "Conv2d", "1", "8", "0.bias"]
    assert lines[3].split() == rest
    opt = MirrorDescent(groups)
    assert str(groups).splitlines() == lines  # the optimizer has rewritten the dicts
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.02]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"net": nn.Linear}, TypeError, "net = the class Linear"),
        ({"net": nn.LayerNorm(3)}, ValueError, "no trained weights of layers"),
        ({"net": nn.LazyLinear(3)}, ValueError, "no shape yet"),
        ({"mirror_map": "cubic"}, ValueError, "mirror_map: .*cubic"),
        ({"other": "cubic"}, ValueError, "other: .*cubic"),
        ({"other": 3}, TypeError, "other = 3"),
        ({"lr": -1.0}, ValueError, "lr = -1"),
        ({"lr": "fast"}, ValueError, "lr = 'fast'"),
        ({"lr": None}, TypeError, "lr = None"),
        ({"other_lr": math.nan}, ValueError, "other_lr = nan"),
        ({"lr": "auto", "other_lr": 0.1}, ValueError, "other_lr = 0.1 beside lr = 'auto'"),
        ({"lr": "auto", "other": maps.PNorm(3)}, ValueError, "does not act entry by entry"),
        ({"mirror_map": maps.Spectral(maps.Power(3))}, ValueError, "pass other_lr"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    given = {"net": nn.Linear(2, 2), "mirror_map": SPARSE, "lr": 0.1, **arguments}
    with pytest.raises(error, match=text):
        param_groups(**given)


def test_a_map_that_cannot_hold_a_parameter_names_it() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).float()
    with pytest.raises(ValueError, match=r"Cosh\(scale=0.01\) cannot hold 1.weight.*param_groups"):
        MirrorDescent(net.named_parameters(), 0.1, mirror_map=maps.Cosh(0.01))
    with torch.no_grad():
        net[0].weight.mul_(0.01)
    groups = param_groups(net, maps.Cosh(0.01), 0.1, other_lr=0.1)
    MirrorDescent(groups)  # the cure that it names
    # Half precision computes in float32, which holds cosh(80).
    MirrorDescent(
        [nn.Parameter(torch.ones(2, dtype=torch.float16))], 0.1, mirror_map=maps.Cosh(1 / 80)
    )


def test_a_group_has_one_map_and_a_rate_is_never_forgotten() -> None:
    p = nn.Parameter(torch.ones(2))
    for cls in (MirrorDescent, MirrorAdamW):
        with pytest.raises(TypeError, match="a group has one map"):
            cls([{"params": [("a", p)], "mirror_map": {"a": SPARSE}}], 0.1)
        with pytest.raises(ValueError, match="lr is missing.*'auto'"):
            cls([p], mirror_map=SPARSE)
        with pytest.raises(ValueError, match="lr is missing"):
            cls(
                [{"params": [p], "lr": 0.1}, {"params": [nn.Parameter(torch.ones(1))]}],
                mirror_map=SPARSE,
            )
        with pytest.raises(ValueError, match="torch's fused kernels know no mirror map"):
            cls([p], 0.1, mirror_map=SPARSE, fused=True)
        assert cls([p], 0.1, mirror_map=SPARSE, fused=False).param_groups[0].get("fused") is None


def test_a_state_from_before_pruning_fits_after_it() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    keys = {"0.weight": SPARSE, nn.Linear: maps.Power(1.5)}

    def build() -> MirrorAdamW:
        return MirrorAdamW(param_groups(net, keys, 0.1))

    opt = build()
    net(torch.ones(5, 3)).square().sum().backward()
    opt.step()
    prune(net, 0.5)
    after = build()
    after.load_state_dict(opt.state_dict())
    assert after.param_groups[0]["param_names"] == ["0.weight"]
    (before,) = (opt.state[p]["exp_avg"] for p in opt.param_groups[0]["params"])
    assert torch.equal(after.state[net[0].weight_orig]["exp_avg"], before)
    assert bool(before.any())


def test_a_state_of_adamw_gets_the_maps_of_the_groups() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    groups = param_groups(net, SPARSE, 0.1, other_lr=0.2)
    theirs = torch.optim.AdamW([{"params": [p for _, p in g["params"]]} for g in groups], lr=0.3)
    net(torch.ones(5, 3)).square().sum().backward()
    theirs.step()
    ours = MirrorAdamW(groups)
    ours.load_state_dict(theirs.state_dict())
    assert [g["mirror_map"] for g in ours.param_groups] == [SPARSE, maps.Quadratic()]
    assert [g["lr"] for g in ours.param_groups] == [0.3, 0.3]  # the saved rate, as in torch

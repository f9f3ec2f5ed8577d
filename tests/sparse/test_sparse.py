"""Report, prune, train under the mask, finalize, load without this library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from every_map import REAL, kinds, plain
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent, param_groups
from mirrorflow.sparse import finalize, prune, report


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn(self.conv(x)))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Residual(4),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def images() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    return torch.randn(12, 1, 6, 6, generator=g), torch.arange(12) % 3


def weights(net: nn.Module) -> dict[str, Tensor]:
    """What acts, by torch's own attributes."""
    found = {}
    for path, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            found[f"{path}.weight"] = module.weight.detach().clone()
    return found


def test_the_report_counts() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2), nn.Embedding(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.0, -0.01, 0.0, 1e-3], [1.0, 1.0, 1.0, -1.0]]))
        net[2].weight.fill_(0.0)
    found = report(net)
    first, table = found.layers
    assert (first.name, first.shape, first.entries, first.zeros) == ("0.weight", (2, 4), 8, 1)
    assert first.above_1e2 == 5 / 8
    assert first.above_1e3 == 6 / 8  # 1e-3 is half a thousandth of the largest
    total = 2 + 0.01 + 1e-3 + 4
    assert first.participation == pytest.approx(total**2 / (8 * (4 + 1e-4 + 1e-6 + 4)), rel=1e-12)
    assert (table.kind, table.zeros, table.participation, table.above_1e3) == ("embedding", 4, 0, 0)
    assert (found.entries, found.zeros, found.rest) == (12, 5, 6)
    lines = str(found).splitlines()
    assert lines[1].split() == ["0.weight", "2x4", "8", "12.5%", "75.0%", "62.5%", "0.565"]
    assert lines[-2].split()[:5] == ["all", "layers", "12", "41.7%", "50.0%"]
    assert lines[-1].startswith("6 entries of normalisation")


def test_the_report_of_tiny_weights_in_single_precision() -> None:
    net = nn.Linear(3, 1, bias=False).float()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1e-30, 1e-30, -1e-30]]))
    (layer,) = report(net).layers
    assert layer.participation == pytest.approx(1.0, rel=1e-6)


@given(share=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_one_ranking_as_in_torch(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = cnn(), cnn()
    theirs.load_state_dict(ours.state_dict())
    done = prune(ours, share)
    pairs = [(m, "weight") for m in theirs.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    count = int(share * sum(m.weight.numel() for m, _ in pairs))
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=count)
    for name, w in weights(theirs).items():
        assert torch.equal(weights(ours)[name], w), name
    assert done.masked == count
    assert done.share == count / done.entries
    assert set(done.skipped.values()) == {"bias", "normalisation"}


def test_the_same_share_of_each_layer() -> None:
    ours, theirs = cnn(), cnn()
    theirs.load_state_dict(ours.state_dict())
    prune(ours, 0.6, "layer")
    for module in theirs.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            torch_prune.l1_unstructured(module, "weight", int(0.6 * module.weight.numel()))
    for name, w in weights(theirs).items():
        assert torch.equal(weights(ours)[name], w), name


def test_two_of_four_along_the_inputs() -> None:
    net = nn.ModuleDict(
        {
            "linear": nn.Linear(8, 3),
            "conv": nn.Conv2d(4, 2, 3),
            "up": nn.ConvTranspose2d(4, 5, 2),
            "gray": nn.Conv2d(1, 4, 3),
        }
    )
    before = {name: module.weight.detach().clone() for name, module in net.items()}
    done = prune(net, 0.5, "2:4")
    assert done.share == 0.5
    assert done.skipped["gray.weight"] == "1 inputs are no multiple of 4"
    for name, dim in (("linear", 1), ("conv", 1), ("up", 0)):
        old = before[name].movedim(dim, -1).reshape(-1, 4)
        new = net[name].weight.detach().movedim(dim, -1).reshape(-1, 4)
        for a, b in zip(old, new, strict=True):
            kept = sorted(range(4), key=lambda k: -float(a[k].abs()))[:2]
            expected = torch.zeros(4)
            expected[kept] = a[kept]
            assert torch.equal(b, expected)
    assert torch.equal(net["gray"].weight, before["gray"])
    with pytest.raises(ValueError, match="pass 0.5"):
        prune(net, 0.6, "2:4")


def test_what_is_skipped() -> None:
    net = cnn()
    done = prune(net, 0.5, skip=["0", nn.Linear])
    assert [layer.name for layer in done.layers] == ["3.conv.weight"]
    assert done.skipped["0.weight"] == done.skipped["6.weight"] == "asked for"
    assert "dense, normalisation: 1.weight ... 3.bn.bias (4)" in str(done)
    with pytest.raises(ValueError, match="skip names 'fc'"):
        prune(net, 0.5, skip=["fc"])
    with pytest.raises(ValueError, match="no weights of layers to prune"):
        prune(net, 0.5, skip=["*"])


def test_pruned_again_no_entry_comes_back() -> None:
    net = cnn()
    first = prune(net, 0.5)
    zero = {name: w == 0 for name, w in weights(net).items()}
    with torch.no_grad():  # as if training had made them large behind the mask
        for name, p in net.named_parameters():
            if name.endswith("_orig"):
                p.add_(torch.where(p == 0, 100.0, 0.0))
    second = prune(net, 0.8)
    assert second.masked == int(0.8 * second.entries)
    assert [layer.before for layer in second.layers] == [layer.masked for layer in first.layers]
    for name, w in weights(net).items():
        assert bool((w == 0)[zero[name]].all())
    assert prune(net, 0.1).masked == second.masked
    assert report(net).zeros == second.masked


ALL_MAPS = kinds(plain(REAL, maps.Custom))


@pytest.mark.parametrize("mirror_map", ALL_MAPS, ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda p, m: MirrorDescent(p, 0.1, mirror_map=m, momentum=0.9, weight_decay=0.1),
        lambda p, m: MirrorDescent(p, 0.1, mirror_map=m, nesterov=True, momentum=0.5),
        lambda p, m: MirrorDescent(p, 0.05, mirror_map=m, weight_decay=0.5, decay="dual"),
        lambda p, m: MirrorAdamW(p, 0.02, mirror_map=m, weight_decay=0.1),
        lambda p, m: MirrorDescent(p, "auto", mirror_map=m),
    ],
    ids=["momentum and decay", "nesterov", "dual decay", "adamw", "auto"],
)
def test_zeros_stay_zero_in_training(mirror_map: maps.MirrorMap, make: Any) -> None:
    """The optimizer is older than the mask, so that its momentum knows the masked entries."""
    torch.manual_seed(2)
    net, (x, y) = cnn(), images()
    opt = make(list(net.parameters()), mirror_map)

    def step() -> float:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return float(loss.detach())

    for _ in range(3):
        step()
    prune(net, 0.7)
    before = weights(net)
    kept = {name: w != 0 for name, w in before.items()}
    for _ in range(5):
        step()
        net(x)
        for name, w in weights(net).items():
            assert not bool(w[~kept[name]].any()), name
    after = weights(net)
    assert all(not torch.equal(after[name], before[name]) for name in after)
    plain = finalize(net)
    for name, w in weights(net).items():
        assert not bool(w[~kept[name]].any()), name
    assert plain.zeros >= sum(int((~k).sum()) for k in kept.values())


def test_finalize_gives_the_net_back() -> None:
    net, (x, _) = cnn(), images()
    names = [name for name, _ in net.named_parameters()]
    state = list(net.state_dict())
    prune(net, 0.9)
    assert [n.removesuffix("_orig") for n, _ in net.named_parameters()] == names
    net.eval()
    masked = net(x).detach()
    found = finalize(net)
    assert [name for name, _ in net.named_parameters()] == names
    assert sorted(net.state_dict()) == sorted(state)
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert torch.equal(net(x), masked)
    assert found.zeros == int(0.9 * found.entries)
    again = cnn().eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), masked)
    assert finalize(net) == found  # without masks nothing happens


def test_masks_of_torch_are_finalized_too() -> None:
    net = cnn()
    torch_prune.random_unstructured(net[0], "weight", 0.5)
    torch_prune.random_unstructured(net[0], "weight", 0.5)
    assert finalize(net).zeros == 18 + 9


def test_attention_trains_under_its_masks() -> None:
    """torch never calls out_proj, so that its hook alone would leave a stale weight."""
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 4, 8)
    done = prune(net, 0.5)
    assert {layer.name for layer in done.layers} == {
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "linear2.weight",
    }
    opt = MirrorDescent(param_groups(net, maps.HyperbolicEntropy(1e-2), 0.5))
    mask = net.self_attn.out_proj.weight_mask.clone()
    before = net.self_attn.out_proj.weight.detach().clone()
    for _ in range(3):
        opt.zero_grad()
        net(x)[..., 0].mean().backward()
        opt.step()
    net.eval()
    value = net(x)
    w = net.self_attn.out_proj.weight.detach()
    assert torch.equal(w, net.self_attn.out_proj.weight_orig.detach() * mask)
    assert not torch.equal(w, before)
    finalize(net)
    torch.testing.assert_close(net(x), value)
    plain = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(plain(x), value)


def test_recurrent_and_tied_weights() -> None:
    lstm = nn.LSTM(4, 4)
    prune(lstm, 0.5)
    lstm(torch.randn(3, 4))[0].sum().backward()
    assert int((lstm.weight_ih_l0 == 0).sum() + (lstm.weight_hh_l0 == 0).sum()) == 64
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    assert prune(net, 0.5).entries == 9
    assert net["a"].weight_orig is net["b"].weight_orig
    assert torch.equal(net["a"].weight_mask, net["b"].weight_mask)
    finalize(net)
    assert net["a"].weight is net["b"].weight
    assert int((net["b"].weight == 0).sum()) == 4


def test_computed_weights_are_refused_with_the_cure() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="remove_parametrizations"):
        prune(net, 0.5)
    assert [layer.name for layer in prune(net, 0.5, skip=["0"]).layers] == ["1.weight"]
    assert report(net).entries == 12 + 8


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"net": "net"}, TypeError, "net = 'net' is not a network"),
        ({"share": 1.0}, ValueError, "share = 1"),
        ({"share": "half"}, TypeError, "share = 'half'"),
        ({"scope": "all"}, ValueError, "scope = 'all'"),
        ({"skip": "0"}, TypeError, "skip = '0'"),
        ({"skip": [3]}, TypeError, "skip holds 3"),
        ({"net": nn.LayerNorm(3)}, ValueError, "no weights of layers"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        prune(**{"net": cnn(), "share": 0.5, **arguments})


def test_nan_is_named() -> None:
    net = cnn()
    with torch.no_grad():
        net[0].weight[0] = float("nan")
    for call in (report, lambda n: prune(n, 0.5)):
        with pytest.raises(ValueError, match="'0.weight' holds NaN"):
            call(net)
    with pytest.raises(ValueError, match="no weights"):
        report(nn.ReLU())


def test_the_saved_net_loads_without_this_library(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).float()
    prune(net, 0.75)
    finalize(net)
    net.eval()
    torch.save(net.state_dict(), tmp_path / "sparse.pt")
    expected = net(torch.ones(1, 4, dtype=torch.float32)).tolist()
    code = (
        "import sys, torch\nfrom torch import nn\n"
        "net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))\n"
        "net.load_state_dict(torch.load('sparse.pt', weights_only=True))\n"
        "assert 'mirrorflow' not in sys.modules\n"
        "print(net.eval()(torch.ones(1, 4)).tolist())\n"
        "print(sum(int((m.weight == 0).sum()) for m in net if isinstance(m, nn.Linear)))"
    )
    bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        text=True,
        check=True,
    )
    value, zeros = done.stdout.splitlines()
    assert value == str(expected)
    assert zeros == str(int(0.75 * 48))


def test_a_masked_net_goes_on_from_its_state() -> None:
    net, (x, _) = cnn().eval(), images()
    prune(net, 0.8)
    other = cnn().eval()
    prune(other, 0.1)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    assert report(other) == report(net)
    assert report(other).share == pytest.approx(0.8, abs=1e-2)


def tied() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    net[1].weight = net[0].weight
    return net


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize(
    "call", [lambda net: prune(net, 0.5), finalize, report], ids=["prune", "finalize", "report"]
)
def test_a_mask_at_one_of_two_tied_places_is_refused(call: Any, at: int) -> None:
    """The two layers differ then: one mask for both would change what the net says."""
    net, x = tied(), torch.randn(4, 8)
    torch_prune.l1_unstructured(net[at], "weight", 0.5)
    before = net(x)
    with pytest.raises(ValueError, match="has a mask at 1 of its 2 places"):
        call(net)
    assert torch.equal(net(x), before)


def test_shares_count_what_an_earlier_mask_keeps_out() -> None:
    net = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    prune(net, 0.5)
    found = prune(net, 0.6, skip=["0.weight"])
    zeros = sum(int((layer.weight == 0).sum()) for layer in net)  # type: ignore[operator, arg-type]
    assert found.share_of_all == zeros / 200 > 0.5


@pytest.mark.parametrize(("share", "masked"), [(0.29, 29), (0.57, 57), (0.58, 58), (0.999, 99)])
def test_the_share_is_the_number_that_was_written(share: float, masked: int) -> None:
    assert prune(nn.Linear(100, 1, bias=False), share).masked == masked

"""Weights as people save them, in the net that they were saved from."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mirrorflow.errors import RunError
from mirrorflow.nets import load_weights


def blank(width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=False)
    )


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return dict(blank().state_dict())


def same(net: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    mine = list(net.state_dict().values())
    return all(torch.equal(a, b) for a, b in zip(mine, state.values(), strict=True))


PREFIXES = ["module.", "_orig_mod.", "model.", "net."]


@pytest.mark.parametrize(
    "prefix",
    ["", *PREFIXES, *map("".join, itertools.permutations(PREFIXES, 2)), "module._orig_mod.model."],
)
def test_prefixes_in_any_order(prefix: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({prefix + k: v for k, v in state.items()}, tmp_path / "w.pt")
    net = blank()
    assert not same(net, state)
    load_weights(net, tmp_path / "w.pt")
    assert same(net, state)


@pytest.mark.parametrize("place", ["model_state_dict", "state_dict", "model", "net"])
def test_places(place: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    inner = {"module." + k: v for k, v in state.items()}
    for saved in (
        {place: inner, "epoch": 3, "optimizer_state_dict": {"state": {0: torch.ones(2)}}},
        {place: inner, "loss": torch.tensor(0.5)},
        {"state_dict": {place: inner}},
    ):
        torch.save(saved, tmp_path / "w.pt")
        net = blank()
        load_weights(net, tmp_path / "w.pt")
        assert same(net, state)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_torchs_own_wrappers(state: dict[str, torch.Tensor]) -> None:
    net = blank()
    net.load_state_dict(state)
    for wrapped in (nn.DataParallel(net), torch.compile(net), torch.compile(nn.DataParallel(net))):
        fresh = blank()
        load_weights(fresh, wrapped.state_dict())  # type: ignore[attr-defined]
        assert same(fresh, state)
        load_weights(wrapped, state)  # type: ignore[arg-type]  # the net may be the wrapped one


def test_wrapped_parts_of_a_net(state: dict[str, torch.Tensor]) -> None:
    inside = {
        k.replace("0.", "0._orig_mod.").replace("2.", "2.module."): v for k, v in state.items()
    }
    net = blank()
    load_weights(net, inside)
    assert same(net, state)


def test_a_net_whose_own_names_begin_like_wrappers(state: dict[str, torch.Tensor]) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = blank()

    for prefix in ("", "model.", "module.model.", "module."):
        net = Held()
        load_weights(net, {prefix + k: v for k, v in state.items()})
        assert same(net, state)


def test_names_and_shapes_are_listed_as_torch_lists_them(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    net = blank()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    wrong = {"module.0.weight": state["0.weight"], "module.3.weight": state["2.weight"]}
    torch.save({"model": wrong}, tmp_path / "w.pt")
    with pytest.raises(RunError, match="does not fit the net") as caught:
        load_weights(net, tmp_path / "w.pt")
    text = str(caught.value)
    assert 'Missing key(s) in state_dict: "2.weight".' in text
    assert 'Unexpected key(s) in state_dict: "3.weight".' in text
    assert "under model" in text
    assert "\n" not in text
    with pytest.raises(RunError) as caught:
        load_weights(net, dict(blank(5).state_dict()))
    assert "size mismatch for 0.weight: copying a param with shape torch.Size([5, 3])" in str(
        caught.value
    )
    with pytest.raises(RunError, match=r"0\.weight has dtype torch\.int64"):
        load_weights(net, {**state, "0.weight": state["0.weight"].long()})
    assert same(net, before)  # all or nothing


def test_two_different_nets_in_one_file_are_not_guessed(state: dict[str, torch.Tensor]) -> None:
    other = {k: v + 1 for k, v in state.items()}
    with pytest.raises(RunError, match="different weights under state_dict and model"):
        load_weights(blank(), {"model": state, "state_dict": other})
    net = blank()
    load_weights(net, {"model": state, "state_dict": dict(state)})
    assert same(net, state)


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(blank(), "whole.pt")
    with pytest.raises(RunError, match=r"pickled module.*Sequential.*net\.state_dict\(\)"):
        load_weights(blank(), "whole.pt")
    torch.save(Trap(), "trap.pt")
    with pytest.raises(RunError, match=r"net\.state_dict\(\)"):
        load_weights(blank(), "trap.pt")
    assert not Path("touched").exists()


def test_damaged_and_foreign_files_are_named(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    bad = tmp_path / "bad.pt"
    for content in (b"", b"no weights", good[: len(good) // 2], good[:10], good[::-1]):
        bad.write_bytes(content)
        with pytest.raises(RunError, match=r"bad\.pt does not fit the net"):
            load_weights(blank(), bad)
    for saved in ([1, 2], {}, {"epoch": 3}, torch.ones(3), {1: torch.ones(2)}, {"model": 3}):
        torch.save(saved, bad)
        with pytest.raises(RunError, match=r"bad\.pt does not fit the net"):
            load_weights(blank(), bad)
    with pytest.raises(RunError, match="cannot be read"):
        load_weights(blank(), tmp_path / "absent.pt")
    with pytest.raises(RunError, match="cannot be read"):
        load_weights(blank(), tmp_path)
    with pytest.raises(TypeError, match="source = 3"):
        load_weights(blank(), 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="net = 'net' is not a network"):
        load_weights("net", bad)  # type: ignore[arg-type]

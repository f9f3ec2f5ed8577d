"""Denormal numbers are flushed where steps are made, and nowhere else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mirrorflow.runs import RunConfig, train
from mirrorflow.runs.denormals import flushed_denormals

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormals"
)

CONFIG = RunConfig(
    data="teacher",
    data_options={"n": 40, "d": 4, "n_test": 20},
    net="two_layer",
    net_options={"hidden": [16]},
    loss="logistic",
    steps=50,
)


def flushes() -> bool:
    return float(torch.tensor(1e-40, dtype=torch.float32) * 1) == 0


@pytest.mark.parametrize("before", [False, True])
def test_what_held_before_holds_afterwards(before: bool) -> None:
    torch.set_flush_denormal(before)
    try:
        with flushed_denormals():
            assert flushes()
        assert flushes() is before
        with contextlib.suppress(KeyError), flushed_denormals():
            raise KeyError
        assert flushes() is before
    finally:
        torch.set_flush_denormal(False)


def test_steps_flush_and_measurements_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mirrorflow.optim import MirrorDescent
    from mirrorflow.runs import measure

    seen: dict[str, set[bool]] = {"step": set(), "row": set()}
    step, row = MirrorDescent._direction, measure.Meter.__call__

    def turning(self: MirrorDescent, update: object) -> None:
        seen["step"].add(flushes())
        step(self, update)

    def measuring(self: measure.Meter, *given: object) -> dict[str, float]:
        seen["row"].add(flushes())
        return row(self, *given)

    monkeypatch.setattr(MirrorDescent, "_direction", turning)
    monkeypatch.setattr(measure.Meter, "__call__", measuring)
    train(CONFIG, tmp_path / "run")
    assert seen == {"step": {True}, "row": {False}}
    assert not flushes()


def test_gradients_keep_their_digits() -> None:
    """Shares of 1 down to 1e-45 in one gradient, against float64."""
    q = torch.linspace(100.0, 203.0, 400)
    w = torch.linspace(-1, 1, 400)

    def gradient(dtype: torch.dtype) -> Tensor:
        x = torch.ones(400, dtype=dtype, requires_grad=True)
        torch.logsumexp(-(q + w * x).to(dtype), 0).backward()
        return x.grad

    with flushed_denormals():
        got = gradient(torch.float32)
    want = gradient(torch.float64)
    assert (got == 0).any()
    assert ((got - want).abs() <= 1e-5 * want.abs().max()).all()

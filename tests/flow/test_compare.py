"""Several flows in one call: kept in a folder, with the failed ones as records."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow import certify, maps
from mirrorflow.errors import MirrorFlowError, RunError
from mirrorflow.flow import (
    KKT,
    FailedFlow,
    LogLog,
    Smooth,
    Trajectory,
    compare,
    compare_maps,
    mirror_flow,
    verify,
)
from mirrorflow.nets import MLP, Linear, TwoLayer

X = torch.tensor([[1.0, 0.2], [0.5, 1.0], [-1.0, -0.3], [-0.2, -1.0]], dtype=torch.float64)
Y = torch.tensor([1.0, 1.0, -1.0, -1.0])


def starts(count: int) -> list[Linear]:
    g = torch.Generator().manual_seed(0)
    return [Linear(2, generator=g).double() for _ in range(count)]


def test_a_folder_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "flows"
    options = {"log_t_end": 10.0, "folder": folder}
    first = compare_maps(starts(2), X, Y, ["quadratic", "power(3)"], **options)
    assert len(first) == 2
    assert not first.failed
    (folder / "flow-0002.npz").unlink()
    calls = []
    plain = compare.this_process

    def watched(todo, workers):  # type: ignore[no-untyped-def]
        calls.extend(todo)
        yield from plain(todo, workers)

    monkeypatch.setattr(compare, "this_process", watched)
    again = compare_maps(starts(2), X, Y, ["quadratic", "power(3)"], **options)
    assert len(calls) == 1
    for i in range(2):
        for j in range(2):
            one, other = first[i][j], again[i][j]
            assert isinstance(one, Trajectory)
            assert isinstance(other, Trajectory)
            np.testing.assert_array_equal(one.direction, other.direction)
            assert verify(other).same
    with pytest.raises(RunError, match="holds flows of another call"):
        compare_maps(starts(2), X, Y, ["quadratic", "power(4)"], **options)


def test_one_failed_flow_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compare.follow_problem

    def sometimes(problem):  # type: ignore[no-untyped-def]
        if problem.settings.mirror_map == maps.Power(3):
            raise MirrorFlowError("it went wrong")
        return plain(problem)

    monkeypatch.setattr(compare, "follow_problem", sometimes)
    found = compare_maps(starts(1), X, Y, ["power(3)", maps.Quadratic()], log_t_end=5.0)
    assert found[0] == (FailedFlow("it went wrong", "MirrorFlowError"),)
    assert found.failed == ((0, 0, found[0][0]),)
    done = found[1][0]
    assert isinstance(done, Trajectory)
    table = found.to_pandas()
    assert table["outcome"].tolist() == ["failed", done.outcome]
    assert table["error"][0] == "it went wrong"
    assert table["margin"][1] == done.margin[-1] > 0.1


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        compare_maps(starts(1), X, Y, ["quadratic"], log_t_end=1.0, folder=tmp_path)


def test_the_net_of_a_time_is_ready_for_a_certificate() -> None:
    g = torch.Generator().manual_seed(1)
    net = TwoLayer(2, 4, "relu", generator=g).double()
    flow = mirror_flow(net, X, Y, "quadratic", log_t_end=1e6, relu=Smooth(1e-2))
    end = flow.net()
    assert isinstance(end, MLP)
    assert end.activation == "smooth_relu"
    found = certify(end, X, Y, "quadratic")
    # the certificate measures the same point in another way
    assert found.margin == pytest.approx(flow.margin[-1], rel=1e-9)
    assert 0 < found.epsilon < 2 * flow.natural_epsilon[-1]
    weights = torch.cat([p.detach().flatten() for p in flow.net(3.0).parameters()])
    point = flow.at(3.0)
    np.testing.assert_allclose(weights, point.direction * np.exp(point.log_gauge), rtol=1e-12)
    assert net.activation == "relu"
    early = torch.cat([p.flatten() for p in net.parameters()])
    assert not torch.equal(weights, early)


def test_the_net_of_a_late_time_has_unit_norm() -> None:
    flow = mirror_flow(starts(1)[0], X, Y, "quadratic", log_t_end=LogLog(300.0))
    weights = torch.cat([p.detach().flatten() for p in flow.net().parameters()])
    assert weights.norm().item() == pytest.approx(1.0, rel=1e-12)
    assert flow.net(log_log_t=2.0)(X).abs().min() > 1


def test_a_module_of_another_kind_is_followed_with_smooth_relu() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 4, bias=False), torch.nn.ReLU(), torch.nn.Linear(4, 1, bias=False)
    ).double()
    flow = mirror_flow(net, X, Y, "quadratic", log_t_end=5.0, relu=Smooth(0.1))
    end = flow.net()
    q = end(X).flatten() * Y
    scale = float(np.exp(flow.degree * flow.log_gauge[-1]))
    assert q.min().item() == pytest.approx(flow.margin[-1] * scale, rel=1e-6)
    plain = dataclasses.replace(flow.problem, settings=None).followed(  # type: ignore[type-var]
        torch.cat([p.detach().flatten() for p in end.parameters()])
    )
    assert (plain(X).flatten() * Y).min().item() != pytest.approx(q.min().item(), rel=1e-3)


def test_a_loaded_trajectory_has_no_net(tmp_path: Path) -> None:
    flow = mirror_flow(starts(1)[0], X, Y, maps.Quadratic(), log_t_end=2.0)
    flow.save(tmp_path / "flow.npz")
    back = Trajectory.load(tmp_path / "flow.npz")
    assert back == flow
    with pytest.raises(ValueError, match="keeps no network"):
        back.net()
    with pytest.raises(ValueError, match="keeps no network"):
        verify(back)


def test_a_bar_shows_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    mirror_flow(starts(1)[0], X, Y, "quadratic", log_t_end=1e20, progress=True)
    shown = capsys.readouterr().err
    assert "100% of log log t" in shown
    assert "margin" in shown


def test_options_are_named_as_the_caller_knows_them() -> None:
    with pytest.raises(TypeError, match="log_tend is not an option of compare_maps"):
        compare_maps(starts(1), X, Y, ["quadratic"], log_tend=1.0)
    with pytest.raises(TypeError, match="log_t_end is missing"):
        compare_maps(starts(1), X, Y, ["quadratic"])


def test_what_a_text_does_not_say_makes_another_call(tmp_path: Path) -> None:
    """Nets that differ in eps alone, and own maps of one name, are told apart."""
    narrow, wide = (
        TwoLayer(2, 3, "smooth_relu", eps, generator=torch.Generator().manual_seed(0)).double()
        for eps in (0.01, 0.5)
    )
    compare_maps(narrow, X, Y, ["quadratic"], log_t_end=1.0, folder=tmp_path / "nets")
    with pytest.raises(RunError, match="another call"):
        compare_maps(wide, X, Y, ["quadratic"], log_t_end=1.0, folder=tmp_path / "nets")
    one, other = (maps.Custom(gradient=lambda t, p=p: t.abs() ** p * t.sign()) for p in (2.0, 3.0))
    net = starts(1)[0]
    first = mirror_flow(net, X, Y, one, log_t_end=1.0, checkpoint=tmp_path / "flow.npz")
    with pytest.raises(RunError, match="another flow"):
        mirror_flow(net, X, Y, other, log_t_end=1.0, checkpoint=tmp_path / "flow.npz")
    assert first == mirror_flow(net, X, Y, one, log_t_end=1.0)


def test_verify_follows_to_where_the_flow_was_ended() -> None:
    """By a rule, or by a slice: the finer flow would end elsewhere by itself."""
    net = starts(1)[0]
    stopped = mirror_flow(net, X, Y, "quadratic", log_t_end=1e100, stop=KKT(1e-2))
    assert stopped.outcome == "converged"
    for flow in (stopped, stopped[: len(stopped) // 2]):
        found = verify(flow)
        assert found.same
        assert found.finer.log_t[-1] == flow.log_t[-1] < 1e99
        assert found.finer.stats.steps > len(flow)
    with pytest.raises(ValueError, match="ends at t = 0"):
        verify(stopped[:1])


def test_a_folder_takes_nets_of_any_dtype(tmp_path: Path) -> None:
    net = Linear(2, generator=torch.Generator().manual_seed(0)).bfloat16()
    options = {"log_t_end": 2.0, "folder": tmp_path / "flows"}
    first = compare_maps(net, X.bfloat16(), Y, ["quadratic"], **options)
    assert first == compare_maps(net, X.bfloat16(), Y, ["quadratic"], **options)
    with pytest.raises(RunError, match="a file stands where a folder is needed"):
        compare_maps(net, X, Y, ["quadratic"], log_t_end=2.0, folder=__file__)

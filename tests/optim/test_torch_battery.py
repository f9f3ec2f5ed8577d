"""torch's optimizer database with our optimizers in it, and the tests that torch builds on it.

The database (`torch.testing._internal.common_optimizers`) ships inside torch; the tests of
`test/test_optim.py` do not, so their checks are repeated here over its inputs.
"""

from __future__ import annotations

import copy
import io
import warnings

import pytest
import torch
from torch.nn import Parameter

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent, choice, paths

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    database = pytest.importorskip(
        "torch.testing._internal.common_optimizers", reason="torch's battery needs expecttest"
    )


SPARSE, MILD = maps.HyperbolicEntropy(0.5), maps.Power(1.5)


class Descent(MirrorDescent):
    """The database calls `cls(params, **kwargs)`: the map is fixed here."""

    def __init__(self, params, lr=1e-3, *, mirror_map=SPARSE, **options):
        super().__init__(params, lr, mirror_map=mirror_map, **options)


class AdamW(MirrorAdamW):
    def __init__(self, params, lr=1e-3, *, mirror_map=MILD, **options):
        super().__init__(params, lr, mirror_map=mirror_map, **options)


def _info(cls, theirs):
    """OptimizerInfo of our class: inputs, schedulers and errors as torch has them for its own."""
    (model,) = [info for info in database.optim_db if info.optim_cls is theirs]

    def inputs(device, dtype=None):
        ours = [
            i
            for i in model.optim_inputs_func(device, dtype)
            if not {"capturable", "fused", "differentiable"} & set(i.kwargs)
        ]
        return [*ours, database.OptimizerInput(None, {"mirror_map": maps.Cosh()}, "cosh")]

    return database.OptimizerInfo(
        cls,
        optim_inputs_func=inputs,
        scheduler_inputs=model.scheduler_inputs,
        optim_error_inputs_func=database.get_error_inputs_for_all_optims,
        supported_impls=(),
        supports_complex=False,
        supports_sparse=False,
    )


INFOS = [_info(Descent, torch.optim.SGD), _info(AdamW, torch.optim.AdamW)]
CASES = [
    pytest.param(info, case, id=f"{info.name}-{case.desc}")
    for info in INFOS
    for case in info.optim_inputs_func(device="cpu", dtype=torch.float32)
]
everywhere = pytest.mark.parametrize(("info", "case"), CASES)


def problem():
    generator = torch.Generator().manual_seed(0)
    weight = Parameter(torch.randn(10, 5, generator=generator))
    bias = Parameter(torch.randn(10, generator=generator))
    x = torch.randn(5, generator=generator)
    return weight, bias, x


def closure_of(weight, bias, x, opt):
    def closure():
        opt.zero_grad()
        loss = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()
        return loss

    return closure


@everywhere
@pytest.mark.parametrize("schedule", [False, True])
def test_forloop_goes_right_direction(info, case, schedule):
    constructors = info.scheduler_inputs if schedule else [()]
    for scheduler_constructors in constructors:
        weight, bias, x = problem()
        opt = info.optim_cls([weight, bias], **copy.deepcopy(case.kwargs))
        schedulers = [make(opt) for make in scheduler_constructors]
        closure = closure_of(weight, bias, x, opt)
        first = float(closure().detach())
        for _ in range(20):
            value = opt.step(closure).detach()
            for scheduler in schedulers:
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(value)
                else:
                    scheduler.step()
        last = float(closure().detach())
        assert last > first if case.kwargs.get("maximize", False) else last < first


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_errors(info):
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        params = error.optimizer_error_input.params
        if params is None:
            params = [Parameter(torch.randn(2, 3))]
        kwargs = error.optimizer_error_input.kwargs
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                info.optim_cls(params, **kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                info.optim_cls(params, **kwargs)


@everywhere
def test_step_is_noop_without_gradients(info, case):
    weight, bias, _ = problem()
    opt = info.optim_cls([weight, bias], **copy.deepcopy(case.kwargs))
    old = [weight.detach().clone(), bias.detach().clone()]
    opt.step()
    assert torch.equal(weight, old[0])
    assert torch.equal(bias, old[1])


@everywhere
def test_step_is_noop_for_zero_gradients(info, case):
    if case.kwargs.get("weight_decay", 1e-2 if info.optim_cls is AdamW else 0):
        pytest.skip("weight decay moves parameters")
    weight, *_ = problem()
    opt = info.optim_cls([weight], **copy.deepcopy(case.kwargs))
    old = weight.detach().clone()
    for _ in range(5):
        weight.grad = torch.zeros_like(weight)
        opt.step()
    assert torch.equal(weight, old)


@everywhere
def test_joined_and_fused_steps_match_plain_ones(info, case, monkeypatch):
    results = []
    for path in ("plain", "joined", "fused"):
        monkeypatch.setattr(paths, "SMALL", {"cpu": 100} if path == "joined" else {})
        monkeypatch.setattr(choice, "PAYS", 1 if path == "fused" else 1 << 40)
        weight, bias, x = problem()
        opt = info.optim_cls([weight, bias], **copy.deepcopy(case.kwargs))
        closure = closure_of(weight, bias, x, opt)
        for _ in range(5):
            opt.step(closure)
        results.append((weight.detach(), bias.detach()))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


@everywhere
@pytest.mark.parametrize("named", [False, True])
def test_state_dict_round_trip_is_deterministic(info, case, named):
    def build():
        weight, bias, x = problem()
        params = [("weight", weight), ("bias", bias)] if named else [weight, bias]
        return weight, bias, x, info.optim_cls(params, **copy.deepcopy(case.kwargs))

    weight, bias, x, opt = build()
    for _ in range(3):
        opt.step(closure_of(weight, bias, x, opt))
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    other_weight, other_bias, _, other = build()
    other.load_state_dict(torch.load(file, weights_only=True))
    other_weight.data, other_bias.data = weight.data.clone(), bias.data.clone()
    for _ in range(3):
        opt.step(closure_of(weight, bias, x, opt))
        other.step(closure_of(other_weight, other_bias, x, other))
        assert torch.equal(weight, other_weight)
        assert torch.equal(bias, other_bias)
    twin = copy.deepcopy(opt)
    assert str(twin.state_dict()["param_groups"]) == str(opt.state_dict()["param_groups"])


@everywhere
def test_param_groups_override_options(info, case):
    if case.kwargs.get("maximize", False):
        pytest.skip("descends only")
    weight, bias, x = problem()
    kwargs = {**case.kwargs, "lr": 1e-2}
    opt = info.optim_cls([{"params": [weight]}, {"params": [bias], "lr": 0.0}], **kwargs)
    old_weight, old_bias = weight.detach().clone(), bias.detach().clone()
    opt.step(closure_of(weight, bias, x, opt))
    assert not torch.equal(weight, old_weight)
    assert torch.equal(bias, old_bias)


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_hooks(info):
    weight, bias, x = problem()
    opt = info.optim_cls([weight, bias])
    seen = []
    opt.register_step_pre_hook(lambda *_: seen.append("step"))
    opt.register_step_post_hook(lambda *_: seen.append("stepped"))
    opt.register_state_dict_pre_hook(lambda _: seen.append("save"))
    opt.register_state_dict_post_hook(lambda _, state: state["param_groups"][0].update(note="kept"))
    opt.register_load_state_dict_pre_hook(
        lambda _, state: {
            **state,
            "param_groups": [{**g, "lr": 0.5} for g in state["param_groups"]],
        }
    )
    opt.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    opt.step(closure_of(weight, bias, x, opt))
    state = opt.state_dict()
    opt.load_state_dict(state)
    assert seen == ["step", "stepped", "save", "loaded"]
    assert state["param_groups"][0]["note"] == "kept"
    assert opt.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_groups_can_be_added_later(info):
    weight, bias, _ = problem()
    opt = info.optim_cls([weight])
    opt.add_param_group({"params": bias, "mirror_map": maps.Quadratic()})
    assert "mirror_map: Quadratic()" in repr(opt)
    opt.zero_grad(set_to_none=True)
    assert weight.grad is None

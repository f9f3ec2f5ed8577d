"""A valid call of every public callable, for the fuzzer to spoil one argument at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzz import Call
from torch import Tensor, nn

from mirrorflow import (
    claims,
    data,
    diagnostics,
    exact,
    flow,
    losses,
    maps,
    nets,
    optim,
    plot,
    runs,
    sparse,
)

POINT_METHODS = ("potential", "to_dual", "to_primal", "conjugate", "dual_energy", "hessian")
ENTRY_METHODS = ("potential_entries", "dual_energy_entries", "conjugate_entries")
HORIZON_METHODS = ("gauge", "subgradient")


def _x() -> Tensor:
    return torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


def _y() -> Tensor:
    return torch.tensor([1, -1, 1, 1, -1, 1])


def _separable() -> tuple[Tensor, Tensor]:
    x = _x()
    return x, torch.where(x[:, 0] > 0, 1, -1)


def _net() -> nn.Module:
    return nets.TwoLayer(2, 4, generator=torch.Generator().manual_seed(1))


def _own() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def _linear() -> nn.Module:
    net = nets.Linear(2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.tensor([1.0, 0.1]).reshape(p.shape))
    return net


def _parameters() -> list[nn.Parameter]:
    p = nn.Parameter(torch.ones(6, 2))
    p.grad = torch.ones(6, 2)
    return [p]


def _with(build: Callable[[], Any], method: str) -> Callable[..., Any]:
    return lambda **arguments: getattr(build(), method)(**arguments)


def _maps() -> list[Call]:
    calls = [
        Call("maps.Power", maps.Power, lambda: {"p": 3.0}),
        Call("maps.PNorm", maps.PNorm, lambda: {"p": 3.0}),
        Call("maps.HyperbolicEntropy", maps.HyperbolicEntropy, lambda: {"beta": 0.1}),
        Call("maps.Logarithmic", maps.Logarithmic, lambda: {"beta": 0.1}),
        Call("maps.Cosh", maps.Cosh, lambda: {"scale": 1.0}),
        Call("maps.Mixed", maps.Mixed, lambda: {"p": 4.0, "a": 1.0, "b": 1.0}),
        Call("maps.Scaled", maps.Scaled, lambda: {"map": maps.Quadratic(), "weight": 2.0}),
        Call("maps.Spectral", maps.Spectral, lambda: {"map": maps.Power(3)}),
        Call("maps.SimplexEntropy", maps.SimplexEntropy, lambda: {"dim": -1}),
        Call("maps.Custom", maps.Custom, lambda: {"gradient": lambda x: x + x**3, "name": "own"}),
        Call("maps.Custom potential", maps.Custom, lambda: {"potential": lambda x: x**2}),
        Call("maps.LpHorizon", maps.LpHorizon, lambda: {"p": 3.0}),
        Call("maps.MaxOverTensors", maps.MaxOverTensors, lambda: {"horizon": maps.LpHorizon(2)}),
        Call("maps.SchattenHorizon", maps.SchattenHorizon, lambda: {"p": 3.0}),
        Call("maps.LevelHorizon", maps.LevelHorizon, lambda: {"map": maps.Mixed(), "level": 1e9}),
        Call("maps.assign", maps.assign, lambda: {"mirror_map": maps.Quadratic(), "names": ["w"]}),
        Call("maps.describe", maps.describe, lambda: {"mirror_map": maps.Cosh()}),
        Call("maps.parse_map", maps.parse_map, lambda: {"text": "cosh(0.5)"}),
        Call("maps.estimate_horizon", maps.estimate_horizon, lambda: {"mirror_map": maps.Mixed()}),
        Call(
            "maps.finite_gauge",
            maps.finite_gauge,
            lambda: {"mirror_map": maps.Mixed(), "x": _x(), "level": 10.0},
        ),
    ]
    every = {
        "Quadratic": maps.Quadratic,
        "Power": lambda: maps.Power(3),
        "Power10": lambda: maps.Power(10),
        "HyperbolicEntropy": maps.HyperbolicEntropy,
        "Logarithmic": maps.Logarithmic,
        "Mixed": maps.Mixed,
        "Cosh": maps.Cosh,
        "Exponential": maps.Exponential,
        "DoubleExponential": maps.DoubleExponential,
        "PNorm": lambda: maps.PNorm(3),
        "Spectral": lambda: maps.Spectral(maps.Power(3)),
        "Scaled": lambda: maps.Scaled(maps.Mixed(), 2.0),
        "Custom": lambda: maps.Custom(gradient=lambda x: x + x**3),
        "NegativeEntropy": maps.NegativeEntropy,
        "SimplexEntropy": maps.SimplexEntropy,
    }
    for name, build in every.items():
        restricted = name in ("NegativeEntropy", "SimplexEntropy")

        def point(restricted: bool = restricted) -> Tensor:
            return torch.softmax(_x(), -1) if restricted else _x()

        separable = build().separable
        for method in POINT_METHODS if separable else POINT_METHODS[:-1]:
            argument = "u" if method in ("to_primal", "conjugate") else "x"
            calls.append(
                Call(
                    f"maps.{name}.{method}",
                    _with(build, method),
                    lambda argument=argument, point=point: {argument: point()},
                )
            )
        for method in ENTRY_METHODS if separable else ():
            argument = "u" if method.startswith("conjugate") else "x"
            calls.append(
                Call(
                    f"maps.{name}.{method}",
                    _with(build, method),
                    lambda argument=argument, point=point: {argument: point()},
                )
            )
        calls.append(
            Call(
                f"maps.{name}.step",
                _with(build, "step"),
                lambda point=point: {"x": point(), "delta": 0.1 * _x()},
            )
        )
        calls.append(
            Call(
                f"maps.{name}.bregman",
                _with(build, "bregman"),
                lambda point=point: {"x": point(), "y": point().flip(0)},
            )
        )
    horizons = {
        "LpHorizon": lambda: maps.LpHorizon(3),
        "l1": lambda: maps.LpHorizon(1),
        "linf": lambda: maps.LpHorizon(float("inf")),
        "SchattenHorizon": lambda: maps.SchattenHorizon(1),
        "LevelHorizon": lambda: maps.LevelHorizon(maps.Mixed(), 1e9),
    }
    for name, build in horizons.items():
        for method in HORIZON_METHODS:
            calls.append(Call(f"maps.{name}.{method}", _with(build, method), lambda: {"x": _x()}))
        calls.append(
            Call(f"maps.{name}.dual_gauge", _with(build, "dual_gauge"), lambda: {"g": _x()})
        )
        calls.append(
            Call(
                f"maps.{name}.project_subgradient",
                _with(build, "project_subgradient"),
                lambda: {"x": _x(), "g": _x()},
            )
        )
    return calls


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _nets() -> list[Call]:
    return [
        Call(
            "nets.Linear",
            nets.Linear,
            lambda: {"d": 2, "classes": None, "bias": False, "generator": _generator()},
        ),
        Call(
            "nets.TwoLayer",
            nets.TwoLayer,
            lambda: {
                "d": 2, "m": 3, "activation": "relu", "eps": 0.01, "classes": 3, "bias": True,
                "init_scale": 1.0, "generator": _generator(),
            },
        ),
        Call(
            "nets.MLP",
            nets.MLP,
            lambda: {
                "sizes": (2, 3, 1), "activation": "relu", "eps": 0.01, "bias": False,
                "init_scale": 1.0, "generator": _generator(),
            },
        ),
        Call(
            "nets.CNN",
            nets.CNN,
            lambda: {
                "image": (1, 8, 8), "channels": (2, 3), "hidden": (4,), "classes": 3, "kernel": 3,
                "pool": "avg", "init_scale": 1.0, "generator": _generator(),
            },
        ),
        Call(
            "nets.VGG",
            nets.VGG,
            lambda: {
                "image": (3, 32, 32), "depth": 11, "width": 0.05, "hidden": (), "classes": 3,
                "pool": "max", "init_scale": 1.0, "generator": _generator(),
            },
        ),
        Call(
            "nets.ResidualNet",
            nets.ResidualNet,
            lambda: {
                "image": (1, 8, 8), "channels": (2, 4), "blocks": 1, "classes": 3,
                "init_scale": 1.0, "generator": _generator(),
            },
        ),
        Call(
            "nets.ConvNet",
            nets.ConvNet,
            lambda: {
                "image": (1, 8, 8), "layers": [nets.ConvLayer(2)], "hidden": (3,), "classes": 3,
                "kernel": 3, "global_pool": False, "init_scale": 1.0, "generator": _generator(),
            },
        ),
        *(
            Call(
                f"nets.{kind.__name__}",
                kind,
                lambda: {"d": 4, "depth": 2, "init_scale": 1.0, "generator": _generator()},
            )
            for kind in (nets.Diagonal, nets.Circular)
        ),
        Call(
            "nets.ConvLayer", nets.ConvLayer, lambda: {"channels": 2, "pool": "none", "linear": 0}
        ),
        Call(
            "nets.check_degree",
            nets.check_degree,
            lambda: {"net": _net(), "x": _x(), "rtol": 1e-6},
        ),
    ]  # fmt: skip


def _losses() -> list[Call]:
    def pair() -> dict[str, Any]:
        return {"outputs": _x()[:, 0], "y": _y()}

    def classes() -> dict[str, Any]:
        return {"outputs": torch.ones(6, 3), "y": torch.tensor([0, 1, 2, 0, 1, 2])}

    calls = [Call("losses.log_softplus", losses.log_softplus, lambda: {"a": _x()})]
    for arguments in (pair, classes):
        calls += [
            Call("losses.check_labels", losses.check_labels, arguments),
            Call("losses.margins", losses.margins, arguments),
            Call("losses.pairwise_margins", losses.pairwise_margins, arguments),
            Call(
                "losses.log_loss_per_point",
                losses.log_loss_per_point,
                lambda a=arguments: {**a(), "loss": "logistic"},
            ),
            Call(
                "losses.log_loss",
                losses.log_loss,
                lambda a=arguments: {**a(), "loss": "exponential", "reduction": "sum"},
            ),
        ]
    for name in ("log_loss_per_point", "log_loss"):
        calls.append(
            Call(
                f"losses.{name} square",
                getattr(losses, name),
                lambda: {"outputs": _x()[:, 0], "y": _x()[:, 1], "loss": "square"},
            )
        )
    return calls


def _data() -> list[Call]:
    def whole() -> dict[str, Any]:
        return {
            "name": "own", "x": _x(), "y": _y(), "x_test": _x(), "y_test": _y(), "classes": None,
            "notes": (),
        }  # fmt: skip

    def dataset() -> data.Dataset:
        return data.Dataset(**whole())

    return [
        Call("data.Dataset", data.Dataset, whole),
        Call("data.Dataset.to", _with(dataset, "to"), lambda: {"dtype": torch.float32}),
        Call(
            "data.blobs",
            data.blobs,
            lambda: {"n": 10, "d": 2, "gap": 0.5, "n_test": 4, "seed": 0},
        ),
        Call("data.random_labels", data.random_labels, lambda: {"n": 5, "d": 7, "seed": 0}),
        Call(
            "data.teacher",
            data.teacher,
            lambda: {"n": 10, "d": 2, "units": 3, "n_test": 4, "seed": 0},
        ),
        Call(
            "data.sparse_targets",
            data.sparse_targets,
            lambda: {"n": 5, "d": 7, "active": 2, "n_test": 3, "seed": 0},
        ),
        Call("data.digits", data.digits, lambda: {"test_share": 0.2, "seed": 0}),
        Call("data.load", data.load, lambda: {"name": "digits"}),
        Call("data.load blobs", data.load, lambda: {"name": "blobs", "n": 10, "d": 2, "seed": 1}),
        Call("data.find", data.find, lambda: {"name": "mnist"}),
        Call("data.cache_folder", data.cache_folder, lambda: {"data_dir": "."}),
        Call(
            "data.check_points",
            data.check_points,
            lambda: {"x": _x(), "y": _y(), "classes": None},
        ),
        Call(
            "data.crop_flip",
            data.crop_flip,
            lambda: {"x": torch.ones(2, 3, 8, 8), "generator": _generator(), "padding": 2},
        ),
    ]


def _run_record() -> Any:
    x, y = _separable()
    return flow.mirror_flow(_linear(), x, y, maps.Quadratic(), log_t_end=300.0)


_KEPT: dict[str, Any] = {}


def _kept(name: str, make: Callable[[], Any]) -> Any:
    if name not in _KEPT:
        _KEPT[name] = make()
    return _KEPT[name]


def _diagnostics() -> list[Call]:
    def given() -> dict[str, Any]:
        x, y = _separable()
        return {"net": _linear(), "x": x, "y": y, "mirror_map": maps.Quadratic()}

    def certificate() -> dict[str, Any]:
        return {
            **given(), "band": None, "max_margins": 10, "memory": 2.0, "zero_tolerance": None,
            "kink_tolerance": 1e-6, "max_kinks": 100,
        }  # fmt: skip

    def profile() -> dict[str, Any]:
        x, y = _separable()
        norms = [maps.LpHorizon(2), maps.MaxOverTensors(maps.LpHorizon(1))]
        known = {"ℓ2": 1.0}
        return {
            "net": _linear(), "x": x, "y": y, "horizons": norms, "largest": known, "batch_size": 4,
        }  # fmt: skip

    return [
        Call("diagnostics.margin", diagnostics.margin, lambda: {**given(), "batch_size": 4}),
        Call("diagnostics.certify", diagnostics.certify, certificate),
        Call("diagnostics.margin_profile", diagnostics.margin_profile, profile),
        Call(
            "diagnostics.balance",
            diagnostics.balance,
            lambda: {"net": _net(), "mirror_map": maps.Quadratic(), "x": _x()},
        ),
        Call(
            "diagnostics.energy",
            diagnostics.energy,
            lambda: {"net": _net(), "mirror_map": maps.Quadratic(), "x": _x()},
        ),
        Call(
            "diagnostics.features",
            diagnostics.features,
            lambda: {"net": _net(), "x": _x(), "initial": _net(), "batch_size": 4},
        ),
        Call(
            "diagnostics.structure", diagnostics.structure, lambda: {"net": _net(), "x": _x()}
        ),
        Call(
            "diagnostics.check_monotone",
            diagnostics.check_monotone,
            lambda: {
                "log_loss": [-1.0, -2.0, -3.0], "log_energy": [0.0, 0.1, 0.2], "degree": 2.0,
                "local_index": 2.0, "tolerance": 1e-6,
            },
        ),
        Call(
            "diagnostics.drift",
            diagnostics.drift,
            lambda: {
                "before": diagnostics.balance(_net(), maps.Quadratic()),
                "after": diagnostics.balance(_net(), maps.Quadratic()),
            },
        ),
        Call(
            "diagnostics.fit_growth",
            diagnostics.fit_growth,
            lambda: {
                "run": _kept("run", _run_record), "mirror_map": maps.Quadratic(), "degree": 1.0,
                "from_log_t": 20.0,
            },
        ),
        Call(
            "diagnostics.predict",
            diagnostics.predict,
            lambda: {"mirror_map": maps.Quadratic(), "degree": 2.0, "gamma": 0.3},
        ),
        Call(
            "diagnostics.residual_scale",
            diagnostics.residual_scale,
            lambda: {"mirror_map": maps.Cosh(), "log_gauge": 2.0, "log_margin": -1.0},
        ),
    ]  # fmt: skip


def _exact() -> list[Call]:
    def given() -> dict[str, Any]:
        x, y = _separable()
        return {"x": x, "y": y}

    return [
        Call(
            "exact.max_margin",
            exact.max_margin,
            lambda: {**given(), "horizon": maps.LpHorizon(2), "classes": None},
        ),
        Call(
            "exact.max_margin l1",
            exact.max_margin,
            lambda: {**given(), "horizon": maps.LpHorizon(1)},
        ),
        Call(
            "exact.min_bregman",
            exact.min_bregman,
            lambda: {
                "x": _x().T, "y": _x()[0], "mirror_map": maps.Quadratic(), "start": _x()[:, 1],
            },
        ),
        Call(
            "exact.interpolation_certificate",
            exact.interpolation_certificate,
            lambda: {
                "x": _x().T, "y": _x()[0], "mirror_map": maps.Quadratic(), "weights": _x()[:, 0],
                "start": _x()[:, 1],
            },
        ),
        Call(
            "exact.two_layer_max_margin",
            exact.two_layer_max_margin,
            lambda: {**given(), "bias": False, "max_patterns": 50, "seed": 0},
        ),
        Call(
            "exact.local_two_layer_max_margin",
            exact.local_two_layer_max_margin,
            lambda: {
                **given(), "horizon": maps.LpHorizon(2), "hidden": 2, "bias": False, "starts": 2,
                "seed": 0,
            },
        ),
        Call(
            "exact.diagonal_linear_flow",
            exact.diagonal_linear_flow,
            lambda: {"x": torch.tensor([1.0, 0.4]), "y": 1.0, "alpha": 0.1, "time": 3.0},
        ),
        Call(
            "exact.one_point_direction",
            exact.one_point_direction,
            lambda: {"x": torch.tensor([1.0, 2.0]), "order": 2.0, "y": 1.0},
        ),
        Call(
            "exact.one_point_flow",
            exact.one_point_flow,
            lambda: {"mirror_map": maps.Cosh(), "x": torch.tensor([1.0, 2.0]), "log_t": 3.0},
        ),
    ]  # fmt: skip


def _optim() -> list[Call]:
    def common() -> dict[str, Any]:
        return {
            "params": _parameters(), "lr": 0.1, "mirror_map": maps.Cosh(), "weight_decay": 0.0,
            "decay": "primal", "maximize": False, "compiled": False,
            "check_finite": False,
        }  # fmt: skip

    def stepped(kind: Any) -> Callable[..., Any]:
        def run(**arguments: Any) -> Any:
            optimizer = kind(**arguments)
            optimizer.step()
            return [p for group in optimizer.param_groups for p in group["params"]]

        return run

    def descent() -> optim.MirrorDescent:
        return optim.MirrorDescent(_parameters(), 0.1, mirror_map=maps.Cosh())

    return [
        Call(
            "optim.MirrorDescent",
            stepped(optim.MirrorDescent),
            lambda: {**common(), "momentum": 0.9, "nesterov": False, "dampening": 0.0},
        ),
        Call(
            "optim.MirrorDescent auto",
            stepped(optim.MirrorDescent),
            lambda: {"params": _parameters(), "lr": "auto", "mirror_map": maps.Cosh()},
        ),
        Call(
            "optim.MirrorAdamW",
            stepped(optim.MirrorAdamW),
            lambda: {**common(), "betas": (0.9, 0.99), "eps": 1e-8, "amsgrad": False},
        ),
        Call(
            "optim.MirrorDescent.load_state_dict",
            _with(descent, "load_state_dict"),
            lambda: {"state_dict": descent().state_dict()},
        ),
        Call(
            "optim.MirrorDescent.add_param_group",
            _with(descent, "add_param_group"),
            lambda: {"param_group": {"params": _parameters()}},
        ),
        Call(
            "optim.MirrorDescent.step", _with(descent, "step"), lambda: {"closure": lambda: None}
        ),
        Call(
            "optim.RelativeStep",
            optim.RelativeStep,
            lambda: {"eta": 0.1, "decay": "root", "steps": 10, "reject": True},
        ),
        Call(
            "optim.match_lr",
            optim.match_lr,
            lambda: {
                "params": _parameters(), "lr": 0.1, "mirror_map": maps.Cosh(), "like": "sgd"
            },
        ),
        Call(
            "optim.param_groups",
            optim.param_groups,
            lambda: {
                "net": _own(), "mirror_map": maps.Cosh(), "lr": 0.1, "other": maps.Quadratic(),
                "other_lr": 0.1,
            },
        ),
        Call(
            "optim.param_groups types",
            optim.param_groups,
            lambda: {"net": _own(), "mirror_map": {nn.Linear: maps.Cosh()}, "lr": "auto"},
        ),
        Call("sparse.report", sparse.report, lambda: {"net": _own()}),
        Call("sparse.finalize", sparse.finalize, lambda: {"net": _own()}),
        Call(
            "sparse.prune",
            sparse.prune,
            lambda: {"net": _own(), "share": 0.5, "scope": "layer", "skip": ["2"]},
        ),
        Call("features of any net", diagnostics.features, lambda: {"net": _own(), "x": _x()}),
    ]  # fmt: skip


def _flow() -> list[Call]:
    def given() -> dict[str, Any]:
        x, y = _separable()
        return {
            "net": _linear(), "x": x, "y": y, "mirror_map": maps.Quadratic(), "log_t_end": 2.0,
            "loss": "exponential", "stepper": flow.Implicit(), "relu": flow.Smooth(), "tol": 1e-3,
            "stop": None, "max_steps": 60, "progress": False, "checkpoint": None, "callback": None,
        }  # fmt: skip

    def several() -> dict[str, Any]:
        x, y = _separable()
        return {
            "nets": [_linear()], "x": x, "y": y, "mirror_maps": [maps.Quadratic()], "workers": 1,
            "log_t_end": 1.0,
        }  # fmt: skip

    def followed() -> Any:
        return _kept("run", _run_record)

    return [
        Call("flow.mirror_flow", flow.mirror_flow, given),
        Call("flow.compare_maps", flow.compare_maps, several),
        Call("flow.verify", flow.verify, lambda: {"trajectory": followed(), "progress": False}),
        *(
            Call(f"flow.{kind.__name__}", kind, lambda: {"temperature": 1e-7, "max_step": 0.4})
            for kind in (flow.Implicit, flow.Krylov, flow.Explicit)
        ),
        Call("flow.Implicit order", flow.Implicit, lambda: {"order": 3}),
        Call("flow.Smooth", flow.Smooth, lambda: {"eps": 1e-2}),
        Call("flow.KKT", flow.KKT, lambda: {"tol": 1e-2}),
        Call("flow.LogLog", flow.LogLog, lambda: {"value": 1.0}),
        Call("flow.Trajectory.net", _with(followed, "net"), lambda: {"log_t": 3.0}),
        Call("flow.Trajectory.at", _with(followed, "at"), lambda: {"log_t": 3.0}),
        Call(
            "flow.Trajectory.at log log",
            _with(followed, "at"),
            lambda: {"log_log_t": 1.0},
        ),
        Call(
            "flow.Trajectory.save",
            _with(followed, "save"),
            lambda: {"path": Path(tempfile.mkdtemp()) / "flow.npz"},
        ),
        Call("flow.Trajectory.load", flow.Trajectory.load, lambda: {"path": _saved()}),
    ]


def _explorer() -> list[Call]:
    from mirrorflow.report.explorer import write_explorer

    def given() -> dict[str, Any]:
        x, y = _separable()
        return {
            "path": Path(tempfile.mkdtemp()) / "explorer.html",
            "flows": {"quadratic": _kept("run", _run_record)}, "net": _linear(), "x": x, "y": y,
            "title": "points",
        }  # fmt: skip

    return [Call("report.write_explorer", write_explorer, given)]


def _saved() -> Path:
    path = Path(tempfile.gettempdir()) / "mirrorflow-fuzz-flow.npz"
    if not path.exists():
        _kept("run", _run_record).save(path)
    return path


def _runs_and_claims() -> list[Call]:
    def settings() -> dict[str, Any]:
        return {
            "data": "blobs", "data_options": {"n": 10}, "net": "mlp",
            "net_options": {"hidden": [4]}, "mirror_map": "quadratic",
            "optimizer": "mirror_descent", "lr": "auto", "seed": 0,
        }  # fmt: skip

    return [
        Call("runs.RunConfig", runs.RunConfig, settings),
        Call(
            "runs.RunConfig.from_dict",
            runs.RunConfig.from_dict,
            lambda: {"values": settings()},
        ),
        Call(
            "runs.RunFolder",
            runs.RunFolder,
            lambda: {"path": Path(tempfile.mkdtemp()) / "run", "writes": True},
        ),
        Call("runs.load_run", runs.load_run, lambda: {"path": "nowhere"}),
        Call("claims.read_records", claims.read_records, lambda: {"folder": Path(".")}),
        Call(
            "claims.run_tasks",
            claims.run_tasks,
            lambda: {"tasks": [], "folder": Path(tempfile.mkdtemp()), "workers": 1},
        ),
    ]


def _plots() -> list[Call]:
    import matplotlib as mpl

    mpl.use("Agg")

    def followed() -> Any:
        return _kept("run", _run_record)

    def drawn(function: Callable[..., Any]) -> Callable[..., Any]:
        def draw(**arguments: Any) -> None:
            import matplotlib.pyplot as plt

            try:
                function(**arguments)
            finally:
                plt.close("all")

        return draw

    def measured() -> Any:
        net = nets.MLP((2, 3, 3, 1), generator=torch.Generator().manual_seed(0))
        return diagnostics.features(net, _x())

    def certificate() -> Any:
        x, y = _separable()
        return diagnostics.certify(_linear(), x, y, maps.Quadratic())

    law = diagnostics.Law("d log Q/dx", 0.5, 0.4, 0.6, 0.5, 0.0, 0.0)
    rows = [{"step": k, "log10_loss": -float(k), "test_accuracy": 0.5} for k in range(4)]
    given: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
        "flow": (plot.flow, lambda: {"flows": followed(), "show": "gap", "exact": 1.0, "ax": None}),
        "flow_figure": (plot.flow_figure, lambda: {"flows": followed(), "exact": None}),
        "snapshot": (plot.snapshot, lambda: {"flow": followed(), "log_t": 3.0, "legend": False}),
        "plane": (
            plot.plane,
            lambda: {
                "net": _net(), "x": _x(), "y": _y(), "multipliers": torch.ones(6), "legend": True,
                "ax": None,
            },
        ),
        "features": (
            plot.features,
            lambda: {"measured": _kept("features", measured), "measure": "alive", "ax": None},
        ),
        "weights": (
            plot.weights,
            lambda: {"net": torch.ones(3, 4), "shape": (2, 2), "count": 2, "columns": 2},
        ),
        "growth": (
            plot.growth,
            lambda: {
                "fits": diagnostics.Growth((law,), "", 230.0, 50, 0.0),
                "ax": None,
            },
        ),
        "certificate": (
            plot.certificate,
            lambda: {
                "certified": _kept("certificate", certificate), "show": "tradeoff", "count": 3,
            },
        ),
        "potential": (plot.potential, lambda: {"mirror_maps": maps.Cosh(), "ax": None}),
        "dual": (plot.dual, lambda: {"mirror_maps": maps.Cosh()}),
        "unit_ball": (plot.unit_ball, lambda: {"mirror_map": maps.Cosh(), "ax": None}),
        "map_figure": (plot.map_figure, lambda: {"mirror_maps": [maps.Cosh()]}),
        "runs": (
            plot.runs,
            lambda: {"trained": rows, "metric": "test_accuracy", "against": "step", "ax": None},
        ),
        "run_figure": (plot.run_figure, lambda: {"trained": rows}),
        "save": (
            plot.save,
            lambda: {
                "drawing": plot.potential("quadratic"),
                "path": Path(tempfile.mkdtemp()) / "potential.svg",
            },
        ),
        "style": (plot.style, lambda: {"name": "dark"}),
    }  # fmt: skip
    calls = [
        Call(f"plot.{name}", drawn(function), make) for name, (function, make) in given.items()
    ]
    return [
        *calls,
        Call(
            "runs.compare_runs",
            runs.compare_runs,
            lambda: {"runs": ["nowhere", "there"]},
        ),
    ]


def all_calls() -> list[Call]:
    """Every call, by part."""
    return [
        *_maps(), *_nets(), *_losses(), *_data(), *_diagnostics(), *_exact(), *_optim(), *_flow(),
        *_runs_and_claims(), *_explorer(), *_plots(),
    ]  # fmt: skip

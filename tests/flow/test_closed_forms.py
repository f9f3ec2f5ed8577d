"""The flow of one point against quadrature in mpmath, at t = 1e10, 1e100 and 1e1000."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.nets import HomogeneousNet, Linear

_TIMES = (10, 100, 1000)


def _oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "one_point", Path(__file__).with_name("one_point.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ONE_POINT = _oracle()

# one_point.state_at(INVERSES[map], (1, 2), k log 10) for k = 10, 100, 1000: (weights, log loss)
TABLE: dict[str, list[tuple[tuple[float, float], float]]] = {
    "Quadratic()": [
        ((4.927057768757571, 9.854115537515142), -24.63528884378786),
        ((46.37358944236774, 92.74717888473548), -231.86794721183867),
        ((460.83890618129595, 921.6778123625919), -2304.19453090648),
    ],
    "Power(p=1.5)": [
        ((2.937227759038083, 11.748911036152332), -26.43504983134275),
        ((26.086382960814667, 104.34553184325867), -234.777446647332),
        ((256.47208421474284, 1025.8883368589713), -2308.2487579326857),
    ],
    "Power(p=3.0)": [
        ((5.739775791200641, 8.11726876889671), -21.974313328994057),
        ((59.24900178760997, 83.79074188510577), -226.8304855578215),
        ((599.9429859490656, 848.4475073797798), -2296.8380007086253),
    ],
    "HyperbolicEntropy(beta=1.0)": [
        ((2.378915167521677, 12.277818215389733), -26.93455159830114),
        ((7.531177899621644, 114.43291182257067), -236.397001544763),
        ((23.90145127914385, 1143.5583092669087), -2311.018069812961),
    ],
    "HyperbolicEntropy(beta=0.01)": [
        ((0.2583171125086046, 13.355542379193052), -26.969401870894707),
        ((0.7675021880207265, 117.82192129895127), -236.41134478592326),
        ((2.4023948144984906, 1154.3101689025316), -2311.022732619562),
    ],
    "Logarithmic(beta=1.0)": [
        ((2.6324782876860864, 12.194898510510843), -27.022275308707773),
        ((9.69367321272202, 113.35464678048848), -236.40296677369898),
        ((32.76574799895921, 1139.1257379292183), -2311.0172238573955),
    ],
    "Cosh(scale=1.0)": [
        ((5.9297512955409895, 6.62289317281414), -19.17553764116927),
        ((57.73791411999113, 58.43106130055108), -174.6000367210933),
        ((575.8195600436514, 576.5127072242113), -1728.844974492074),
    ],
    "Exponential()": [
        ((5.757516685812276, 6.449083144427892), -18.65568297466806),
        ((57.564627324851145, 58.25777450541109), -174.08017633567331),
        ((575.6462732485114, 576.3394204290713), -1728.3251141066542),
    ],
    "DoubleExponential()": [
        ((3.32298757633472, 3.371689353989139), -10.066366284312997),
        ((6.053499295897743, 6.056751257287774), -18.16700181047329),
        ((8.424203155280862, 8.424507386954287), -25.27321792918944),
    ],
}


def follow(mirror_map: maps.MirrorMap, x: tuple[float, ...], tol: float) -> Trajectory:
    net = Linear(len(x))
    torch.nn.init.zeros_(net.weight)
    end = 1000 * math.log(10)
    return mirror_flow(
        net, torch.tensor([x]), torch.tensor([1.0]), mirror_map, log_t_end=end, tol=tol
    )


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Power(1.5),
        maps.Power(3.0),
        maps.HyperbolicEntropy(1.0),
        maps.HyperbolicEntropy(0.01),
        maps.Logarithmic(1.0),
        maps.Cosh(1.0),
        maps.Exponential(),
    ],
    ids=repr,
)
def test_direction_and_loss_of_one_point(mirror_map: maps.MirrorMap) -> None:
    x = (1.0, 2.0)
    trajectory = follow(mirror_map, x, 1e-8)
    for power, (weights, log_loss) in zip(_TIMES, TABLE[repr(mirror_map)], strict=True):
        log_t = power * math.log(10)
        here = trajectory.at(log_t)
        angle = math.degrees(math.atan2(*here.direction[::-1]))
        assert angle == pytest.approx(math.degrees(math.atan2(*weights[::-1])), rel=1e-8, abs=1e-6)
        assert here.log_loss == pytest.approx(log_loss, rel=1e-7)
        theta = here.direction * math.exp(here.log_gauge)
        np.testing.assert_allclose(theta, weights, rtol=1e-6)


def test_exponentially_slow_map() -> None:
    """Double exponential, L = 1: at t = 1e1000 the log loss is still -25.27."""
    trajectory = follow(maps.DoubleExponential(), (1.0, 2.0), 1e-6)
    table = TABLE["DoubleExponential()"]
    for power, rel, (weights, log_loss) in zip(_TIMES, (1e-5, 1e-4, 1e-2), table, strict=True):
        here = trajectory.at(power * math.log(10))
        assert here.log_loss == pytest.approx(log_loss, rel=rel)
        assert here.direction[1] / here.direction[0] == pytest.approx(
            weights[1] / weights[0], rel=1e-5
        )


def test_another_point_and_scale() -> None:
    x = (0.5, -1.0, 0.25)
    trajectory = follow(maps.HyperbolicEntropy(0.01), x, 1e-7)
    inverse = ONE_POINT.INVERSES["HyperbolicEntropy(beta=0.01)"]
    weights, log_loss = ONE_POINT.state_at(inverse, x, 230.0)
    here = trajectory.at(230.0)
    np.testing.assert_allclose(here.direction * math.exp(here.log_gauge), weights, rtol=1e-6)
    assert here.log_loss == pytest.approx(log_loss, rel=1e-7)


@pytest.mark.parametrize("log_t", [-5.0, 0.0, 3.0, 50.0, 1e4, 1e12])
def test_quadratic_in_one_dimension(log_t: float) -> None:
    """`w = log(1 + t)`, from the first instant on."""
    net = Linear(1)
    torch.nn.init.zeros_(net.weight)
    trajectory = mirror_flow(
        net, torch.ones(1, 1), torch.ones(1), maps.Quadratic(), log_t_end=2e12, tol=1e-8
    )
    here = trajectory.at(log_t)
    assert math.exp(here.log_gauge) == pytest.approx(np.logaddexp(0.0, log_t), rel=1e-7)


@pytest.mark.slow
def test_diagonal_linear_net_is_hyperbolic_entropy() -> None:
    """`w = a² − b²`, trained by gradient flow from a = b = α, follows `HyperbolicEntropy(2α²)`
    four times as fast (two variables, each with a factor 2)."""

    class Diagonal(HomogeneousNet):
        def __init__(self, d: int, scale: float) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(scale * torch.ones(d))
            self.b = torch.nn.Parameter(scale * torch.ones(d))

        @property
        def layer_degrees(self) -> dict[str, float]:
            return {}

        @property
        def degree(self) -> float:
            return 2.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ (self.a**2 - self.b**2)

    alpha = 0.3
    x, y = torch.tensor([[1.0, 0.4], [0.3, -1.0]]), torch.tensor([1.0, 1.0])
    net = Diagonal(2, alpha)
    t = math.log(200.0)
    net_flow = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=t, tol=1e-6)
    linear = Linear(2)
    torch.nn.init.zeros_(linear.weight)
    map_flow = mirror_flow(
        linear, x, y, maps.HyperbolicEntropy(2 * alpha**2), log_t_end=t + math.log(4), tol=1e-6
    )
    ab = net_flow.direction[-1] * math.exp(net_flow.log_gauge[-1])
    w = map_flow.direction[-1] * math.exp(map_flow.log_gauge[-1])
    np.testing.assert_allclose(ab[:2] ** 2 - ab[2:] ** 2, w, rtol=1e-4)

"""Time and steps of `mirror_flow` to log10 t = 1e2, 1e5, 1e50 and 1e99, beside three baselines.

Eleven maps times these nets: `linear` (d = 10, n = 20), two-layer smooth ReLU `two20` (m = 20,
n = 8), `two100`, `two400` (n = 30), `points200` (m = 100, n = 200), `three` (3-8-8-1, n = 8) and
`four` (3-6-6-6-1, n = 8); `--kinks exact` takes the two-layer nets with exact ReLU. The baselines
run in the same process on the same right-hand side `du/dtau = J' p`,
`dlog t/dtau = exp(phi - log t)`: LSODA and Radau of SciPy, and loss-scaled mirror descent (explicit
Euler) with the best of three relative steps. A baseline counts only if its margin at the target is
within 1 % of the flow's; "-" means that it did not get there in `--cap` seconds. All seconds are
processor time, so other work on the machine counts little; they depend on the machine, steps and
margins do not. Rows are printed as they come.

    python benchmarks/flow.py --nets linear two20 three --cap 10
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp

from mirrorflow import maps
from mirrorflow.flow import Exact, FlowPoint, Implicit, Smooth, mirror_flow
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer
from mirrorflow.nets.activation import Activation

TARGETS = (1e2, 1e5, 1e50, 1e99)
MAPS: dict[str, maps.MirrorMap] = {
    "quadratic": maps.Quadratic(),
    "power(1.2)": maps.Power(1.2),
    "power(1.5)": maps.Power(1.5),
    "hyperbolic_entropy(0.01)": maps.HyperbolicEntropy(0.01),
    "logarithmic(0.01)": maps.Logarithmic(0.01),
    "mixed(3)": maps.Mixed(3.0),
    "power(3)": maps.Power(3.0),
    "power(4)": maps.Power(4.0),
    "cosh": maps.Cosh(1.0),
    "exponential": maps.Exponential(),
    "double_exponential": maps.DoubleExponential(),
}


def case(
    kind: str, seed: int, activation: Activation = "smooth_relu"
) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    """Net and data; labels are random for the nets that can fit them, and linear for `linear`."""
    g = torch.Generator().manual_seed(seed)
    if kind == "linear":
        x = torch.randn(20, 10, generator=g, dtype=torch.float64)
        y = torch.sign(x @ torch.randn(10, generator=g, dtype=torch.float64))
        return Linear(10, generator=g).double(), x, y
    m, n = {
        "two20": (20, 8),
        "two100": (100, 30),
        "two400": (400, 30),
        "points200": (100, 200),
        "three": (8, 8),
        "four": (6, 8),
    }[kind]
    x = torch.randn(n, 2, generator=g, dtype=torch.float64)
    y = torch.sign(torch.randn(n, generator=g, dtype=torch.float64))
    if kind == "points200":  # a net of this size does not fit 200 random labels
        y = torch.sign(x[:, 0] * x[:, 1])
    if kind in ("three", "four"):
        sizes = (2, *[m] * (2 if kind == "three" else 3), 1)
        net: HomogeneousNet = MLP(sizes, "smooth_relu", bias=True, generator=g)
    else:
        net = TwoLayer(2, m, activation, bias=True, generator=g)
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    return net.double(), x, y


class CapError(Exception):
    """The time is up."""


def baselines(
    net: HomogeneousNet,
    x: torch.Tensor,
    y: torch.Tensor,
    mirror_map: maps.MirrorMap,
    log_t: float,
    margin: float,
    cap: float,
) -> dict[str, str]:
    """Seconds of each baseline to `log_t`, or "-"."""
    own = net_margins(net, x, y, 1e-2)
    frame = Frame(own, scaled_map(mirror_map), FlowLoss("exponential", own.point))
    theta = flat_parameters(net)[own.order]
    frame.set_level(0.0, theta, 0.0, 1e-7)
    frame.map.scale = 0.0
    if hasattr(frame.map, "shift"):
        frame.map.shift, frame.map.cap = 0.0, 0.0
    start = np.append(frame.map.dual(theta), -20.0)
    begun = time.process_time()

    def rhs(_: float, s: np.ndarray) -> np.ndarray:
        if time.process_time() - begun > cap:
            raise CapError
        q, jac = own.jacobian(frame.map.primal(s[:-1]))
        p = np.exp(-(q - q.min()))
        level = q.min() - math.log(p.sum())
        pace = math.exp(min(level - s[-1], 50.0))
        return np.append(jac.T @ (p / p.sum()), pace)

    def judged(u: np.ndarray) -> bool:
        w = frame.map.primal(u)
        found = own.values(w).min() / frame.map.gauge(w) ** own.degree
        return abs(found / margin - 1.0) < 1e-2

    def scipy(method: str) -> str:
        def hit(_: float, s: np.ndarray) -> float:
            return float(s[-1] - log_t)

        hit.terminal = True  # type: ignore[attr-defined]
        end = 1e4 * float(np.abs(start[:-1]).max() + 1.0) * log_t
        out = solve_ivp(rhs, (0, end), start, method, rtol=1e-4, atol=1e-8, events=hit)
        return f"{time.process_time() - begun:.1f}" if judged(out.y[:-1, -1]) else "-"

    def descent() -> str:
        nonlocal begun
        best = math.inf
        for step in (1e-1, 1e-2, 1e-3):
            begun, s = time.process_time(), start.copy()
            try:
                while s[-1] < log_t:
                    d = rhs(0.0, s)
                    size = step * np.abs(s[:-1]).max() / np.abs(d[:-1]).max()
                    s[-1] = np.logaddexp(
                        s[-1], math.log(max(d[-1], 1e-300)) + s[-1] + math.log(size)
                    )
                    s[:-1] += size * d[:-1]
            except CapError:
                continue
            if judged(s[:-1]):
                best = min(best, time.process_time() - begun)
        return f"{best:.1f}" if best < math.inf else "-"

    runs: dict[str, Callable[[], str]] = {
        "LSODA": lambda: scipy("LSODA"),
        "Radau": lambda: scipy("Radau"),
        "descent": descent,
    }
    result = {}
    for name, run in runs.items():
        begun = time.process_time()
        try:
            with np.errstate(all="ignore"):
                result[name] = run()
        except (CapError, ValueError, FloatingPointError, OverflowError):
            result[name] = "-"
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=["linear", "two20", "three"])
    parser.add_argument("--maps", nargs="+", default=list(MAPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--max-steps", type=int, default=30_000)
    parser.add_argument("--cap", type=float, default=10.0)
    parser.add_argument("--kinks", choices=["smooth", "exact"], default="smooth")
    parser.add_argument("--log10-t", type=float, default=1e99, help="where the flows end")
    parser.add_argument("--baseline-log10-t", type=float, default=1e2, help="where baselines end")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--details", action="store_true",
                        help="also: rejected and failed attempts, margin, Hölder gap")  # fmt: skip
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    common = arguments.baseline_log10_t
    more = " rejected, failed | margin | gap |" if arguments.details else ""
    print("| net | map | seed | outcome | log10 t | steps | s to 1e2, 1e5, 1e50, 1e99 | balance |"
          f" LSODA, Radau, descent: s to 1e{math.log10(common):.0f} |{more}")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|" + "---|" * more.count("|"))
    for kind in arguments.nets:
        for name in arguments.maps:
            for seed in arguments.seeds:
                exact = arguments.kinks == "exact"
                net, x, y = case(kind, seed, "relu" if exact else "smooth_relu")
                passed: dict[float, float] = {}
                begun = time.process_time()

                def clock(point: FlowPoint, passed: dict[float, float] = passed,
                          begun: float = begun) -> None:  # fmt: skip
                    for target in TARGETS:
                        if point.log_t >= target * math.log(10):
                            passed.setdefault(target, time.process_time() - begun)

                flow = mirror_flow(
                    net, x, y, MAPS[name], log_t_end=arguments.log10_t * math.log(10),
                    tol=arguments.tol, max_steps=arguments.max_steps,
                    stepper=Implicit(max_step=0.4),
                    relu=Exact() if exact else Smooth(), callback=clock,
                )  # fmt: skip
                times = ", ".join(f"{passed[t]:.1f}" if t in passed else "-" for t in TARGETS)
                beside = "not run"
                log_t = common * math.log(10)
                if not arguments.no_baselines and flow.log_t[-1] >= log_t:
                    found = baselines(net, x, y, MAPS[name], log_t, flow.at(log_t).margin,
                                      arguments.cap)  # fmt: skip
                    beside = ", ".join(found.values())
                drift = np.nanmax(flow.balance_drift, initial=0.0)
                if arguments.details:
                    more = (f" {flow.stats.rejected}, {flow.stats.failed} | "
                            f"{flow.margin[-1]:.7g} | {flow.gap[-1]:.1e} |")  # fmt: skip
                print(
                    f"| {kind} | {name} | {seed} | {flow.outcome} | "
                    f"{flow.log_t[-1] / math.log(10):.1e} | {flow.stats.steps} | {times} | "
                    f"{drift:.0e} | {beside} |{more}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

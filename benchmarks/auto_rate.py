"""How far from the flow, at equal loss, does descent under a step rule end, and in how many steps?

A linear net without bias, exponential loss summed over the points, full batch, float64, on 200
threes and fives of MNIST (`--data mnist`; the files have to be there) or 15 Gaussian points with
coin-flip labels in 100 dimensions (`--data gaussian`). Both start at the same weights. Where the
loss first falls below each threshold, the margin in the map's own horizon is compared with that of
`mirror_flow` at the same loss: a cell is `100 (margin/flow − 1)` per cent, then the evaluations of
loss and gradient so far, those of steps that were taken back included. `--flows` keeps the
trajectories: at p = 10 on MNIST one takes a quarter of an hour.

    python benchmarks/auto_rate.py --flows flows
    python benchmarks/auto_rate.py --data gaussian --maps "power(1.1)" "power(10)"
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirrorflow.data import load, random_labels
from mirrorflow.flow import Trajectory, mirror_flow
from mirrorflow.losses import log_loss
from mirrorflow.maps import SeparableMap, parse_map
from mirrorflow.nets import Linear
from mirrorflow.optim import MirrorDescent, RelativeStep

MAPS = (
    "power(1.1)", "power(1.5)", "quadratic", "power(3)", "power(10)", "hyperbolic_entropy(0.1)",
    "logarithmic(0.1)", "cosh(1)", "mixed(1.5)", "mixed(4)",
)  # fmt: skip
RULES = {
    "plain": RelativeStep(),
    "curvature": RelativeStep(curvature=0.1),
    "fine": RelativeStep(curvature=0.02),
}


def problem(kind: str, seed: int) -> tuple[Linear, Tensor, Tensor]:
    """The net, the points and their labels ±1."""
    if kind == "mnist":
        data = load("mnist", classes=[3, 5], n=200, n_test=0, seed=seed).to(torch.float64)
    else:
        data = random_labels(15, 100, seed=seed).to(torch.float64)
    x = data.x.flatten(1)
    net = Linear(x.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    return net, x, data.y.to(torch.float64)


def of_flow(
    m: SeparableMap, kind: str, seed: int, losses: list[float], folder: Path | None
) -> list[float]:
    """The margins of the flow at each log loss."""
    kept = None if folder is None else folder / f"{kind}-{seed}-{m}.npz"
    flow = Trajectory.load(kept) if kept is not None and kept.exists() else None
    log_t = -min(losses)
    while flow is None or flow.log_loss[-1] > min(losses):
        log_t *= 2  # cosh's loss falls more slowly than 1/t: the time is not known before
        net, x, y = problem(kind, seed)
        flow = mirror_flow(net, x, y, m, log_t_end=log_t)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            flow.save(kept)
    return [_margin_at(flow, loss) for loss in losses]


def _margin_at(flow: Trajectory, log_loss: float) -> float:
    """The margin where the loss is reached, between two steps of the flow."""
    k = int(np.argmax(flow.log_loss <= log_loss))
    early, late = float(flow.log_t[k - 1]), float(flow.log_t[k])
    for _ in range(50):
        middle = 0.5 * (early + late)
        if flow.at(middle).log_loss <= log_loss:
            late = middle
        else:
            early = middle
    return float(flow.at(late).margin)


def of_descent(
    m: SeparableMap, rule: RelativeStep, kind: str, seed: int, losses: list[float], most: int
) -> tuple[list[tuple[float, int]], float, int]:
    """(margin, evaluations) at each log loss reached; the last log loss and evaluations."""
    net, x, y = problem(kind, seed)
    optimizer = MirrorDescent(net.parameters(), rule, mirror_map=m)
    evaluations, found, value, horizon = 0, [], math.inf, m.horizon()

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = log_loss(net(x), y, "exponential", reduction="sum")
        loss.backward()
        return loss

    while evaluations < most and len(found) < len(losses):
        value = float(optimizer.step(closure).detach())
        while len(found) < len(losses) and value <= losses[len(found)]:
            w = optimizer.state[net.weight]["previous_value"].flatten()  # where the loss was
            smallest = float(((x @ w) * y).min())
            found.append((smallest / float(horizon.gauge(w)), evaluations))
    return found, value, evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["mnist", "gaussian"], default="mnist")
    parser.add_argument("--maps", nargs="+", default=list(MAPS))
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=["plain", "curvature"])
    parser.add_argument("--losses", type=float, nargs="+", default=[-2, -10, -100], help="log10")
    parser.add_argument("--most", type=int, default=100_000, help="evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flows", type=Path, default=None, help="folder of kept trajectories")
    given = parser.parse_args()
    torch.set_num_threads(1)
    losses = [float(v) * math.log(10) for v in sorted(given.losses, reverse=True)]
    print("| map | step |", *(f"1e{v / math.log(10):.0f} |" for v in losses), "s |")
    print("|---|---|" + "---|" * (len(losses) + 1))
    for text in given.maps:
        m = parse_map(text)
        flow = of_flow(m, given.data, given.seed, losses, given.flows)
        for name in given.rules:
            begun = time.process_time()
            found, value, count = of_descent(
                m, RULES[name], given.data, given.seed, losses, given.most
            )
            cells = [
                f"{100 * (g / f - 1):+.1f} %, {n} |" for (g, n), f in zip(found, flow, strict=False)
            ]
            if len(found) < len(losses):
                cells.append(f"at 1e{value / math.log(10):.1f} after {count} |")
                cells += ["– |"] * (len(losses) - len(cells))
            print(f"| {m} | {name} |", *cells, f"{time.process_time() - begun:.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""What a map given as a function costs in the flow, beside the built-in form of the same map.

    python benchmarks/custom_maps.py

Processor seconds of this thread for each flow, over those of the built-in form: both run in turns
in this process, and the median of the ratios of pairs is printed. Steps are given, so that a ratio
can be read at equal steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mirrorflow import maps
from mirrorflow.flow import mirror_flow
from mirrorflow.nets import HomogeneousNet, Linear, TwoLayer

PAIRS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], maps.MirrorMap]] = {
    "x**3": (lambda x: x**3, maps.Power(4)),
    "x + x**3": (lambda x: x + x**3, maps.Mixed(4)),
    "asinh(x)": (torch.asinh, maps.HyperbolicEntropy()),
    "sinh(x)": (torch.sinh, maps.Cosh()),
}


def problem(kind: str) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    """A net and separable data: a linear one of 10 inputs, or 20 hidden units on 8 points."""
    g = torch.Generator().manual_seed(0)
    inputs, points = (10, 20) if kind == "linear" else (5, 8)
    x = torch.randn(points, inputs, generator=g)
    y = (x @ torch.randn(inputs, generator=g)).sign()
    if kind == "linear":
        return Linear(inputs, generator=g).double(), x, y
    return TwoLayer(inputs, 20, activation="smooth_relu", generator=g).double(), x, y


def main() -> None:
    """Print one row for each map and net."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--log-t-end", type=float, default=230.0)
    options = parser.parse_args()
    print("| map | net | ratio | seconds, steps | built in: seconds, steps |")
    print("|---|---|---|---|---|")
    for name, (gradient, known) in PAIRS.items():
        for kind in ("linear", "two layers"):
            net, x, y = problem(kind)
            own = maps.Custom(gradient=gradient)
            own.to_primal(torch.ones(1))  # the table, made once for all flows
            _ = own.index
            rows = []
            for _ in range(options.repeats):
                row = []
                for mirror_map in (own, known):
                    start = time.thread_time()
                    found = mirror_flow(net, x, y, mirror_map, log_t_end=options.log_t_end)
                    row += [time.thread_time() - start, len(found.log_t) - 1]
                rows.append(row)
            per_step = [(a / n) / (b / m) for a, n, b, m in rows]
            own_time, own_steps, time_, steps = rows[-1]
            print(
                f"| {name} | {kind} | {statistics.median(per_step):.2f} | "
                f"{own_time:.2f}, {own_steps} | {time_:.2f}, {steps} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

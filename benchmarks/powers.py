"""Steps and seconds of `mirror_flow` under `Power(p)` beside `Mixed(p)`, p from 3 to 12.

`linear` (d = 10, n = 20, labels of a linear rule), two-layer smooth ReLU `two20` (m = 20, n = 8)
and `two100` (m = 100, n = 30, random labels), as in `flow.py`, and `mnist`, a linear net on n = 100
threes and fives of MNIST (d = 784; the files have to be there, see `data fetch`). Over all draws:
how many arrived, then the median and the largest number of steps, attempts that failed (median),
Newton iterations (median) and seconds of processor time (median). The last column is the median,
draw by draw, of the steps beside those of `Mixed(p)`. Rows are printed as they come.

    python benchmarks/powers.py --nets linear --draws 20
    python benchmarks/powers.py --nets linear --draws 4 --method krylov
    python benchmarks/powers.py --nets two20 two100 --draws 3 --log-t 230 --tol 1e-4
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import asdict
from typing import Any

import torch

from flow import case
from mirrorflow import data, maps
from mirrorflow.flow import Implicit, Krylov, mirror_flow
from mirrorflow.nets import HomogeneousNet, Linear


def problem(kind: str, seed: int) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    if kind != "mnist":
        return case(kind, seed)
    digits = data.mnist(classes=[3, 5], n=100, seed=seed)
    x = digits.x.flatten(1).double()
    return Linear(x.shape[1], generator=torch.Generator().manual_seed(seed)).double(), x, digits.y


def followed(kind: str, seed: int, m: maps.SeparableMap, log_t: float, options: dict[str, Any]) -> (
    tuple[bool, float, dict[str, Any]]
):  # fmt: skip
    """Whether the flow arrived, the processor time, its counts."""
    net, x, y = problem(kind, seed)
    begun = time.process_time()
    flow = mirror_flow(net, x, y, m, log_t_end=log_t, **options)
    return flow.outcome != "stalled", time.process_time() - begun, asdict(flow.stats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=["linear"])
    parser.add_argument("--p", type=float, nargs="+", default=[3.0, 4.0, 6.0, 8.0, 10.0, 12.0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--log-t", type=float, default=20.0)
    parser.add_argument("--tol", type=float, default=None)
    parser.add_argument("--method", choices=["implicit", "krylov"], default="implicit")
    parser.add_argument("--max-steps", type=int, default=4000)
    parser.add_argument("--alone", action="store_true", help="without the runs of Mixed(p)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stepper = Krylov() if arguments.method == "krylov" else Implicit()
    options = {"tol": arguments.tol, "max_steps": arguments.max_steps, "stepper": stepper}
    print("| net | method | map | arrived | steps, most | failed | Newton | s | beside |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in arguments.nets:
        for p in arguments.p:
            steps: dict[str, list[int]] = {}
            for m in (maps.Mixed(p), maps.Power(p))[arguments.alone :]:
                runs = [followed(kind, s, m, arguments.log_t, options)
                        for s in range(arguments.draws)]  # fmt: skip
                name = type(m).__name__
                counts = [run[2] for run in runs]
                steps[name] = [c["steps"] for c in counts]
                middle = {k: statistics.median(c[k] for c in counts) for k in ("failed", "newton")}
                beside = math.nan
                if len(steps) == 2:
                    both = zip(steps["Power"], steps["Mixed"], strict=True)
                    beside = statistics.median(a / b for a, b in both)
                print(
                    f"| {kind} | {arguments.method} | {name}({p:g}) | "
                    f"{sum(run[0] for run in runs)} of {len(runs)} | "
                    f"{statistics.median(steps[name]):.0f}, {max(steps[name])} | "
                    f"{middle['failed']:.0f} | {middle['newton']:.0f} | "
                    f"{statistics.median(run[1] for run in runs):.1f} | "
                    f"{'' if math.isnan(beside) else f'{beside:.2f}'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

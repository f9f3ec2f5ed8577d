"""Exact ReLU kinks beside smoothed ones: what eps changes, and whether extrapolation repairs it.

The nets are those of `benchmarks/flow.py` (`two20`: 20 units, 8 points, random labels). Each row
follows the exact flow and the smoothed ones at eps = 3e-2, 1e-2 and 3e-3 to t = exp(1e30) and
prints, relative to the exact end, how far the margins of the others and of the linear extrapolation
from the last two are off.

    python benchmarks/kinks.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse

import torch

from flow import MAPS, case
from mirrorflow.flow import Exact, Smooth, mirror_flow

EPS = (3e-2, 1e-2, 3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="+", default=[m for m in MAPS if m != "cosh"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tol", type=float, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| map | seed | exact margin | eps 3e-2 | 1e-2 | 3e-3 | extrapolated | gap | steps |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.maps:
        for seed in arguments.seeds:
            net, x, y = case("two20", seed, "relu")
            options = {"log_t_end": 1e30, "tol": arguments.tol}
            exact = mirror_flow(net, x, y, MAPS[name], relu=Exact(), **options)
            flows = [mirror_flow(net, x, y, MAPS[name], relu=Smooth(e), **options) for e in EPS]
            margins = [float(f.margin[-1]) for f in flows]
            limit = margins[2] + (margins[2] - margins[1]) * EPS[2] / (EPS[1] - EPS[2])
            off = [m / float(exact.margin[-1]) - 1.0 for m in (*margins, limit)]
            steps = [f.stats.steps for f in (exact, *flows)]
            print(
                f"| {name} | {seed} | {exact.margin[-1]:.6g} | "
                + " | ".join(f"{v:+.1e}" for v in off)
                + f" | {exact.gap[-1]:.0e} | {', '.join(map(str, steps))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

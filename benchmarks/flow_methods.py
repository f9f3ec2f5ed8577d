"""The dense against the matrix-free method of `mirror_flow`, by the size of the net.

Nets of three layers, 3-m-m-1 (smooth ReLU, biases in the first layer) with n normal points whose
labels are those of a small random net, and two layers with many inputs. Both methods run in one
process, one after the other; seconds are processor time of one thread, so other work on the machine
counts little. A run ends at `--log10-t`, or after `--cap` seconds ("over"). `auto` names the method
that `stepper="auto"` takes.

    python benchmarks/flow_methods.py
    python benchmarks/flow_methods.py --maps "power(1.5)" --cases 16,30 24,40
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from mirrorflow.flow import FlowPoint, Implicit, Krylov, mirror_flow
from mirrorflow.maps import MirrorMap, parse_map
from mirrorflow.nets import MLP

STEPPERS = {"auto": "auto", "implicit": Implicit(), "krylov": Krylov()}
CASES = ("4,10", "8,10", "12,20", "16,20", "24,40", "32,20")


class CapError(Exception):
    """The time is up."""


def problem(width: int, n: int) -> tuple[MLP, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=g)
    with torch.no_grad():
        f = MLP((3, 4, 1), "relu", generator=g)(x)
    y = torch.where(f > f.median(), 1.0, -1.0)
    return MLP((3, width, width, 1), "smooth_relu", bias=True, generator=g), x, y


def followed(
    case: tuple[MLP, torch.Tensor, torch.Tensor],
    mirror_map: MirrorMap,
    method: str,
    options: argparse.Namespace,
) -> tuple[str, str]:
    """What came of it, and the method that ran."""
    begun = time.process_time()

    def watch(_: FlowPoint) -> None:
        if time.process_time() - begun > options.cap:
            raise CapError

    try:
        flow = mirror_flow(
            *case, mirror_map, log_t_end=options.log10_t * math.log(10), stepper=STEPPERS[method],
            tol=options.tol, callback=watch,
        )  # fmt: skip
    except CapError:
        return "over", method
    stats = flow.stats
    used = time.process_time() - begun
    return (
        f"{used:.2f} s, {stats.steps} steps, {stats.failed} failed, {stats.newton} Newton,"
        f" {flow.outcome}, margin {flow.margin[-1]:.6g}",
        stats.method,
    )


def main() -> None:
    """Print one row for each net and map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", nargs="+", default=["quadratic", "hyperbolic_entropy(0.01)"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="WIDTH,POINTS")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--log10-t", type=float, default=1e50)
    parser.add_argument("--cap", type=float, default=25.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print("| net, n | weights | map | dense | matrix-free | auto |")
    print("|---|---|---|---|---|---|")
    for case in options.cases:
        width, n = (int(v) for v in case.split(","))
        for text in options.maps:
            made = problem(width, n)
            d = sum(p.numel() for p in made[0].parameters())
            found = [followed(made, parse_map(text), m, options)[0] for m in ("implicit", "krylov")]
            taken = mirror_flow(*made, parse_map(text), log_t_end=-20.0).stats.method
            print(f"| 3-{width}-{width}-1, {n} | {d} | {text} | {' | '.join(found)} | {taken} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

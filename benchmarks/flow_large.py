"""How far `mirror_flow` gets with 100,200 weights and 1,000 points, in a given CPU time.

The net is 300-200-200-1 (smooth ReLU), the points are normal, the labels those of a small random
net. The Jacobian would hold 1e8 numbers and the Hessian 1e10; the method "krylov" forms neither,
"explicit" needs none. CPU seconds of one thread are counted, since the machine may be shared.
With `--images` the points are those of two classes of MNIST (the files have to be there, see
`data fetch`), and the first layer has biases.

    python benchmarks/flow_large.py --map quadratic --seconds 900
    python benchmarks/flow_large.py --images 4 9 --sizes 784 24 12 1 --points 300 --seconds 400
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from typing import Any

import torch

from mirrorflow import data
from mirrorflow.flow import Explicit, FlowPoint, Implicit, Krylov, mirror_flow
from mirrorflow.maps import parse_map
from mirrorflow.nets import MLP

STEPPERS: dict[str, Any] = {
    "auto": "auto",
    "implicit": Implicit(),
    "krylov": Krylov(),
    "explicit": Explicit(),
}


class CapError(Exception):
    """The time is up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", default="quadratic")
    parser.add_argument("--method", choices=STEPPERS, default="auto")
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 200, 200, 1])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--images", type=int, nargs=2, metavar="DIGIT")
    parser.add_argument("--every", type=int, default=1, help="print every so many steps")
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--log-t-end", type=float, default=1e99 * math.log(10))
    parser.add_argument("--seconds", type=float, default=900.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    g = torch.Generator().manual_seed(0)
    if arguments.images:
        digits = data.mnist(classes=arguments.images, n=arguments.points, seed=0)
        x, y = digits.x.flatten(1).double(), digits.y
    else:
        x = torch.randn(arguments.points, arguments.sizes[0], generator=g)
        with torch.no_grad():
            f = MLP((arguments.sizes[0], 4, 1), "relu", generator=g)(x)
        y = torch.where(f > f.median(), 1.0, -1.0)
    biases = arguments.images is not None
    net = MLP(tuple(arguments.sizes), "smooth_relu", bias=biases, generator=g)
    d = sum(p.numel() for p in net.parameters())
    print(f"d = {d}, n = {len(x)}, {arguments.map}, {arguments.method}, tol {arguments.tol:g}")
    steps = 0

    def report(point: FlowPoint) -> None:
        nonlocal steps
        steps += 1
        used = time.process_time()
        over = used > arguments.seconds
        if steps % arguments.every == 0 or over:
            print(
                f"{steps:4d} steps, {used:5.0f} s CPU: log10 t {point.log_t / math.log(10):.4g}, "
                f"log loss {point.log_loss:.5g}, margin {point.margin:.4g}, gap {point.gap:.2g}, "
                f"natural epsilon {point.natural_epsilon:.2g}, excess {point.mean_excess:.1g}, "
                f"{int((point.multipliers > 1e-3 * point.multipliers.max()).sum())} points act",
                flush=True,
            )
        if over:
            raise CapError

    try:
        flow = mirror_flow(
            net, x, y, parse_map(arguments.map), log_t_end=arguments.log_t_end,
            stepper=STEPPERS[arguments.method], tol=arguments.tol, callback=report,
        )  # fmt: skip
        print(flow, flow.stats)
    except CapError:
        print("the time is up")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.process_time() / max(steps, 1):.2f} s CPU a step, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()

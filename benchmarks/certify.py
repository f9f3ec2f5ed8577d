"""Time and memory of `certify`: dense linear models and a large multiclass net.

Measures wall and CPU time (medians of `--repeat`) and peak memory of one certificate, in one
process, for labels that the net itself gives, so that every point is separated and many are near
the support. Against: the time of one forward pass over all points.

    python benchmarks/certify.py            # n = 1000, d = 10000, four maps
    python benchmarks/certify.py --large    # n = 60000 points, 500000 parameters, 10 classes
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time

import torch

from mirrorflow.diagnostics import balance, certify, features
from mirrorflow.maps import Cosh, HyperbolicEntropy, MirrorMap, Power, Quadratic
from mirrorflow.nets import MLP, HomogeneousNet, Linear

MAPS: tuple[MirrorMap, ...] = (Quadratic(), Power(3), HyperbolicEntropy(1.0), Cosh())


def linear(n: int = 1000, d: int = 10_000) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    """A model near the ℓ2 max margin: all points are near the support."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = torch.sign(torch.randn(n, generator=g, dtype=torch.float64))
    z = y[:, None] * x
    net = Linear(d, generator=g).to(torch.float64)
    ridge = 1e-3 * torch.eye(n, dtype=torch.float64)
    dual = torch.linalg.solve(z @ z.T + ridge, torch.ones(n, dtype=torch.float64))
    with torch.no_grad():
        net.weight.copy_(dual @ z)
    return net, x, y


def large(n: int = 60_000) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    """500900 parameters; the 60000 points of largest margin of 90000, labelled by the net."""
    g = torch.Generator().manual_seed(0)
    net = MLP((784, 600, 50, 10), generator=g)
    x = torch.randn(3 * n // 2, 784, generator=g)
    with torch.no_grad():
        out = torch.cat([net(part) for part in x.split(4096)])
    top = out.topk(2, dim=1)
    kept = (top.values[:, 0] - top.values[:, 1]).topk(n).indices
    return net, x[kept], top.indices[kept, 0]


def clock() -> tuple[float, float]:
    """Wall and CPU seconds so far."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Wall and CPU seconds since `start`."""
    now = clock()
    return now[0] - start[0], now[1] - start[1]


def report(name: str, seconds: tuple[float, float], text: str) -> None:
    """One line, with the peak memory of the process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name:<28} {seconds[0]:8.2f} s   CPU {seconds[1]:8.2f} s   peak {peak:5.2f} GiB   {text}",
        flush=True,
    )


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    net, x, y = large() if chosen.large else linear()
    start = clock()
    with torch.no_grad():
        for part in x.split(4096):
            net(part)
    report("one forward pass", since(start), f"n = {len(x)}")
    for mirror_map in MAPS[:1] + MAPS[2:3] if chosen.large else MAPS:
        times = []
        for _ in range(1 if chosen.large else chosen.repeat):
            start = clock()
            found = certify(net, x, y, mirror_map)
            times.append(since(start))
        report(
            f"certify, {mirror_map!r}",
            (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)),
            f"ε {found.epsilon:.3g} δ {found.delta:.2g} κ {found.slack:.2g}, "
            f"{found.fit.considered} margins, {found.fit.left_out} points left out, "
            f"{len(found.fit.tradeoff)} fits",
        )
    start = clock()
    balance(net, Quadratic())
    report("balance", since(start), "")
    if chosen.large:
        start = clock()
        features(net, x)
        report("features", since(start), "")


if __name__ == "__main__":
    main()

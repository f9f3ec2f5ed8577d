"""What denormal numbers cost a gradient at a small loss: time with them over time without.

Digits, MLP 64-64-64-10, full batch, float32, `lr="auto"` until the loss is below 1e-10, 1e-100 and
1e-300; there the gradient is taken with and without `torch.set_flush_denormal`, in turn, in
processor time of the one thread. Run: `python benchmarks/denormals.py [--repeats R]`
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch
from sklearn.datasets import load_digits

from mirrorflow import maps
from mirrorflow.losses import log_loss
from mirrorflow.nets import MLP
from mirrorflow.optim import MirrorDescent

THRESHOLDS = (-10, -100, -300)
MAPS = (maps.HyperbolicEntropy(0.01), maps.Quadratic(), maps.Power(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=101)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    print("| map | " + " | ".join(f"1e{t}" for t in THRESHOLDS) + " |")
    print("|---" * (len(THRESHOLDS) + 1) + "|")
    for mirror_map in MAPS:
        net = MLP([64, 64, 64, 10], generator=torch.Generator().manual_seed(0))
        opt = MirrorDescent(net.parameters(), "auto", mirror_map=mirror_map)

        def gradient(net: MLP = net, opt: MirrorDescent = opt) -> torch.Tensor:
            opt.zero_grad()
            value = log_loss(net(x), y, "cross_entropy")
            value.backward()
            return value

        ratios = []
        for threshold in THRESHOLDS:
            while opt.step(gradient).item() / math.log(10) > threshold:
                pass
            pairs = []
            for _ in range(repeats):
                times = []
                for flush in (False, True):
                    torch.set_flush_denormal(flush)
                    begun = time.thread_time()
                    gradient()
                    times.append(time.thread_time() - begun)
                pairs.append(times[0] / times[1])
            torch.set_flush_denormal(False)
            ratios.append(statistics.median(pairs))
        print(f"| {mirror_map!r} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |", flush=True)


if __name__ == "__main__":
    main()

"""How near sign descent comes to a KKT point of its own norm, with and without momentum.

12 points with coin-flip labels in R⁶, two layers of 24 ReLU units, steps of 0.002. Printed at each
time: the ℓ∞ margin, and of the certificate in ℓ∞ the duality gap, beside it the Euclidean ε and
the slack κ. Without momentum the gap stalls; with it, it goes on falling.

    python benchmarks/sign_momentum.py
    python benchmarks/sign_momentum.py --momentum 0.9 --steps 10000 --lr 0.002
"""

from __future__ import annotations

import argparse
import math

import torch

from mirrorflow.claims.steepest import SignDescent
from mirrorflow.data import random_labels
from mirrorflow.diagnostics import certify
from mirrorflow.losses import log_loss
from mirrorflow.maps import LpHorizon
from mirrorflow.nets import TwoLayer


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--momentum", type=float, nargs="+", default=[0.0, 0.9])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    print("momentum    step  log10 loss  margin  duality gap  epsilon  slack")
    for momentum in given.momentum:
        follow(momentum, given.steps, given.lr, given.seed)


def follow(momentum: float, steps: int, lr: float, seed: int) -> None:
    """Print a line at every half power of ten."""
    data = random_labels(12, 6, seed=seed)
    net = TwoLayer(6, 24, generator=torch.Generator().manual_seed(seed)).double()
    optimizer = SignDescent(net.parameters(), lr, momentum)
    marks = {int(10 ** (k / 2)) for k in range(5, 40)} | {steps}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = log_loss(net(data.x), data.y, "exponential", reduction="sum")
        loss.backward()
        optimizer.step()
        if step in marks:
            c = certify(net, data.x, data.y, LpHorizon(math.inf))
            print(
                f"{momentum:8g} {step:7d} {float(loss.detach()) / math.log(10):11.1f} "
                f"{c.margin:7.3f} {c.duality_gap:12.3f} {c.epsilon:8.2f} {c.slack:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

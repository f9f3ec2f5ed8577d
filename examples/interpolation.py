"""Figure of docs/interpolation.md: hyperbolic entropy from lazy to rich.

Solves for the interpolant of least Bregman divergence from zero at falling β, and draws its norms
between those of the shortest and of the sparsest solution.

    python examples/interpolation.py docs/images/interpolation.png
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from mirrorflow.claims.interpolation import smallest_sum
from mirrorflow.data import sparse_targets
from mirrorflow.exact import min_bregman
from mirrorflow.maps import HyperbolicEntropy


def main(path: str = "interpolation.png") -> dict[str, list[float]]:
    """Solve, draw, and return the norms by β."""
    data = sparse_targets(n=20, d=40, active=3, seed=0)
    x, y = data.x / 40**0.5, data.y / 40**0.5
    betas = np.logspace(1, -6, 29)
    ends = [min_bregman(x, y, HyperbolicEntropy(float(b))).weights for b in betas]
    sums = [float(w.abs().sum()) for w in ends]
    lengths = [float(w.norm()) for w in ends]
    short = torch.linalg.pinv(x) @ y
    least = smallest_sum(x, y)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.7), layout="constrained")
    blue, orange = "#0072B2", "#D55E00"
    left.plot(betas, sums, color=blue, marker="o", markersize=3, label="ℓ1 norm")
    left.plot(betas, lengths, color=orange, marker="s", markersize=3, label="ℓ2 norm")
    left.axhline(least, color=blue, linestyle=":", label="least ℓ1 norm (linear program)")
    left.axhline(float(short.norm()), color=orange, linestyle=":", label="least ℓ2 norm (SVD)")
    left.set(
        xscale="log",
        xlabel="β of hyperbolic entropy",
        ylabel="norm of the interpolant",
        title="β leads from the shortest to the sparsest",
        ylim=(0, 1.25 * max(sums)),
    )
    left.invert_xaxis()
    left.legend(fontsize=8, loc="upper right", ncols=2)
    at = np.arange(len(short))
    right.bar(at - 0.2, short.numpy(), 0.4, color=orange, label="shortest solution")
    right.bar(at + 0.2, ends[-1].numpy(), 0.4, color=blue, label="β = 1e-6")
    right.set(
        xlabel="index of the weight",
        ylabel="value of the weight",
        title="The rich solution has three weights",
    )
    right.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return {"l1": sums, "l2": lengths, "least": [least, float(short.norm())]}


if __name__ == "__main__":
    main(*sys.argv[1:2])

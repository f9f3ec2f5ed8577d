"""Drop-in: one line changes, and four fifths of the weights can go.

The same net, data, schedule and loop, trained with AdamW and with MirrorAdamW on the hyperbolic
entropy (horizon ℓ1). Then all but the largest weights are set to zero, without retraining.
Run: `python examples/drop_in.py`
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

from mirrorflow.maps import HyperbolicEntropy
from mirrorflow.optim import MirrorAdamW

EPOCHS = 30


def load() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    return x[train], y[train], x[test], y[test]


def build() -> nn.Sequential:
    torch.manual_seed(0)
    sizes = (64, 128), (128, 128), (128, 10)
    first, second, last = (nn.Linear(*size, dtype=torch.float32) for size in sizes)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def train(net: nn.Module, opt: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    scheduler = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.02, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            opt.step()
        scheduler.step()


@torch.no_grad()
def accuracy_after_pruning(net: nn.Module, share: float, x: torch.Tensor, y: torch.Tensor) -> float:
    """Test accuracy with the smallest `share` of all weights set to zero; the net is kept."""
    weights = [p for p in net.parameters() if p.ndim == 2]
    kept = [w.clone() for w in weights]
    cut = torch.cat([w.abs().flatten() for w in weights]).quantile(share)
    for w in weights:
        w[w.abs() <= cut] = 0
    accuracy = float((net(x).argmax(1) == y).double().mean())
    for w, old in zip(weights, kept, strict=True):
        w.copy_(old)
    return accuracy


def main() -> dict[str, list[float]]:
    x, y, test_x, test_y = load()
    results = {}
    for name in ("AdamW", "MirrorAdamW"):
        net = build()
        if name == "AdamW":
            opt: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        else:  # the line that changes
            opt = MirrorAdamW(
                net.parameters(), lr=3e-2, weight_decay=0.1, mirror_map=HyperbolicEntropy(1e-3)
            )
        train(net, opt, x, y)
        results[name] = [
            accuracy_after_pruning(net, share, test_x, test_y) for share in (0.0, 0.8, 0.9)
        ]
        row = "  ".join(f"{value:6.1%}" for value in results[name])
        print(f"{name:12} test accuracy with 0, 80, 90 % of the weights removed: {row}")
    return results


if __name__ == "__main__":
    main()

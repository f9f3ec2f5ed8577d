"""A ResNet with BatchNorm, nine tenths of whose weights are zero.

Groups by kind of module, training, a look, pruning, training on under the mask, and a file that
plain torch loads. Run: `python examples/sparse_resnet.py` (Fashion-MNIST, minutes on a laptop).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

import mirrorflow as mf
from mirrorflow import sparse


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(h)) + self.skip(x))


def build() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Block(16, 32, 2), Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def load(name: str, n: int) -> list[torch.Tensor]:
    data = mf.data.load(name, **({"n": n} if n else {}))
    side = round(data.features**0.5)
    x, test_x = (v.float().reshape(-1, 1, side, side) for v in (data.x, data.x_test))
    return [(x - x.mean()) / x.std(), data.y, (test_x - x.mean()) / x.std(), data.y_test]


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> None:
    groups = mf.param_groups(net, mf.HyperbolicEntropy(1e-3), lr)
    print(groups)
    optimizer = mf.MirrorAdamW(groups, weight_decay=0.1)
    steps = epochs * (len(x) // 128)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / (steps + 1))
    net.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: len(x) // 128 * 128].split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    net.eval()
    hits = [(net(a).argmax(1) == b).sum() for a, b in zip(x.split(500), y.split(500), strict=True)]
    return float(sum(hits)) / len(x)


def main(
    data: str = "fashion_mnist",
    n: int = 10_000,
    epochs: int = 5,
    share: float = 0.9,
    out: Path = Path("sparse.pt"),
) -> dict[str, float]:
    torch.manual_seed(0)
    x, y, test_x, test_y = load(data, n)
    net = build()
    train(net, x, y, epochs, lr=0.1)
    found = {"dense": accuracy(net, test_x, test_y)}
    print(sparse.report(net))
    print(sparse.prune(net, share))
    found["pruned"] = accuracy(net, test_x, test_y)
    train(net, x, y, max(1, epochs // 2), lr=0.03)
    found["trained on"] = accuracy(net, test_x, test_y)
    print(sparse.finalize(net))
    torch.save(net.state_dict(), out)
    plain = build()
    plain.load_state_dict(torch.load(out, weights_only=True))
    found["loaded"] = accuracy(plain, test_x, test_y)
    print("  ".join(f"{name} {value:.1%}" for name, value in found.items()))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=5)
    main(**vars(parser.parse_args()))

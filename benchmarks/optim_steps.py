"""Do the two step rules need tuning? Test accuracy of every map on an MLP, a CNN and a VGG.

Digits (8×8; the VGG sees them enlarged to 16×16), minibatches of 50, bias-free nets. Rules: the
relative Bregman step with η = 0.01 falling to 0 (`RelativeStep`), and `match_lr` of one SGD rate
per net, constant. No rate is tuned for any map.
Run: `python benchmarks/optim_steps.py [--epochs N]`

With `--tiny`: full batch, float32, MLP 64-64-64-10, `lr="auto"`: steps until the loss is below
1e-10, 1e-100 and 1e-1000, and how many steps were taken back.
"""

from __future__ import annotations

import argparse
import itertools
import math

import torch
from sklearn.datasets import load_digits
from torch import nn

from mirrorflow import maps
from mirrorflow.losses import log_loss
from mirrorflow.nets import MLP
from mirrorflow.optim import MirrorDescent, RelativeStep, match_lr

MAPS = [
    maps.Quadratic(),
    maps.Power(1.5),
    maps.Power(3),
    maps.Power(4),
    maps.HyperbolicEntropy(1e-2),
    maps.Logarithmic(1e-2),
    maps.Cosh(0.2),
    maps.Exponential(),
    maps.PNorm(3.0),
]
SGD_RATE = {"MLP": 0.1, "CNN": 0.05, "VGG": 0.05}


def conv(a: int, b: int) -> list[nn.Module]:
    layer = nn.Conv2d(a, b, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return [layer, nn.ReLU()]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "MLP":
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in ((64, 128), (128, 128), (128, 10)):
            layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
        net = nn.Sequential(*layers[:-1])
    elif name == "CNN":
        net = nn.Sequential(
            *conv(1, 16), nn.MaxPool2d(2), *conv(16, 32), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 10, bias=False),
        )  # fmt: skip
    else:
        blocks: list[nn.Module] = [nn.Upsample(scale_factor=2)]
        widths = [1, 16, 16, 32, 32, 64, 64, 64, 64]
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            blocks += conv(a, b) + ([nn.MaxPool2d(2)] if i % 2 else [])
        net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64, 10, bias=False))
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net


def train(net: nn.Module, rule: str, name: str, mirror_map: maps.MirrorMap, epochs: int) -> float:
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    inside, outside = order[:1400], order[1400:]
    steps = epochs * 28

    def gradient(batch: torch.Tensor) -> None:
        net.zero_grad()
        outputs = net(x[batch])
        if rule == "relative":
            log_loss(outputs, y[batch]).backward()
        else:
            nn.functional.cross_entropy(outputs, y[batch]).backward()

    lr: float | RelativeStep = RelativeStep(0.01, "linear", steps)
    if rule == "match_lr":
        gradient(inside[:50])
        lr = match_lr(net.parameters(), SGD_RATE[name], mirror_map=mirror_map)
    opt = MirrorDescent(net.parameters(), lr, mirror_map=mirror_map)
    for _ in range(epochs):
        for batch in inside[torch.randperm(1400)].split(50):
            gradient(batch)
            opt.step()
    with torch.no_grad():
        outputs = net(x[outside])
    if not bool(outputs.isfinite().all()):
        return math.nan
    return float((outputs.argmax(1) == y[outside]).double().mean())


def tiny(mirror_map: maps.MirrorMap) -> list[int]:
    """Steps to each threshold of the loss, then the number of steps taken back."""
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x[:1200] / 16, dtype=torch.float32), torch.tensor(y[:1200])
    net = MLP((64, 64, 64, 10))
    opt = MirrorDescent(net.parameters(), "auto", mirror_map=mirror_map)
    calls = 0

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        opt.zero_grad()
        loss = log_loss(net(x), y)
        loss.backward()
        return loss

    thresholds, reached, step = [-10.0, -100.0, -1000.0], [], 0
    while thresholds:
        value = float(opt.step(closure).detach()) / math.log(10)
        step += 1
        if value < thresholds[0]:
            thresholds.pop(0)
            reached.append(step)
    return [*reached, calls - step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tiny:
        print("| map | 1e-10 | 1e-100 | 1e-1000 | taken back |\n|---|---|---|---|---|")
        for mirror_map in (maps.Quadratic(), maps.Power(1.5), maps.HyperbolicEntropy(1e-2)):
            row = " | ".join(map(str, tiny(mirror_map)))
            print(f"| {mirror_map!r} | {row} |", flush=True)
        return
    columns = list(itertools.product(SGD_RATE, ("relative", "match_lr")))
    print("| map | " + " | ".join(f"{net}, {rule}" for net, rule in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for mirror_map in MAPS:
        row = [train(build(net), rule, net, mirror_map, options.epochs) for net, rule in columns]
        print(f"| {mirror_map!r} | " + " | ".join(f"{100 * a:.1f}" for a in row) + " |", flush=True)


if __name__ == "__main__":
    main()

"""A whole training step (gradient and optimizer) against torch's fused SGD and AdamW.

Every net is trained by several optimizers side by side, each on a copy of its own; a round takes
one step with each, in turn, and a ratio is taken within a round. Reported are medians over the
rounds, with the quartiles. One thread is timed in processor time, several in wall time. `eager`
rows pass `compiled=False`; nothing else is passed that a first user would not pass.

Run: `python benchmarks/training_steps.py [--only NAME …] [--rounds N] [--threads N] [--json]`
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mirrorflow.maps import HyperbolicEntropy
from mirrorflow.optim import MirrorAdamW, MirrorDescent

SPARSE = HyperbolicEntropy(1e-2)


class Block(nn.Module):
    """Two 3×3 convolutions with BatchNorm and a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def resnet18() -> nn.Module:
    """ResNet-18 for 32×32 images: 11.2 million weights in 62 tensors."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inside = 64
    for outside, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inside, outside, stride), Block(outside, outside, 1)]
        inside = outside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def mlp() -> nn.Module:
    """784-256-128-10: 235 thousand weights in 6 tensors."""
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


class Encoder(nn.Module):
    """Tokens, by `embed` from the inputs, through an encoder; the class from their mean."""

    def __init__(self, embed: nn.Module, tokens: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.embed = embed
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.place).mean(1))


def transformer() -> nn.Module:
    """Sequences of 64 tokens of 256, width 128, 5 layers: 1.1 million weights in 65 tensors."""
    return Encoder(nn.Embedding(256, 128), 64, 128, 5, 256)


class Patches(nn.Module):
    """4×4 patches of a 32×32 image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(x).flatten(2).transpose(1, 2)


def vit() -> nn.Module:
    """32×32 images in 64 patches, width 192, 6 layers: 2.7 million weights in 77 tensors."""
    return Encoder(Patches(192), 64, 192, 6, 10)


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    "MLP": (mlp, lambda: torch.randn(128, 784), 10),
    "transformer": (transformer, lambda: torch.randint(256, (16, 64)), 256),
    "ResNet-18": (resnet18, lambda: torch.randn(16, 3, 32, 32), 10),
    "ViT": (vit, lambda: torch.randn(16, 3, 32, 32), 10),
}
Params = list[nn.Parameter]
# name: (baseline, what makes the optimizer)
OPTIMIZERS: dict[str, tuple[str, Callable[[Params], torch.optim.Optimizer]]] = {
    "SGD": ("SGD", lambda p: torch.optim.SGD(p, 1e-3, fused=True)),
    "MirrorDescent": ("SGD", lambda p: MirrorDescent(p, 1e-3, mirror_map=SPARSE)),
    "MirrorDescent, auto": ("SGD", lambda p: MirrorDescent(p, "auto", mirror_map=SPARSE)),
    "MirrorDescent, eager": (
        "SGD",
        lambda p: MirrorDescent(p, 1e-3, mirror_map=SPARSE, compiled=False),
    ),
    "AdamW": ("AdamW", lambda p: torch.optim.AdamW(p, 1e-4, fused=True)),
    "MirrorAdamW": ("AdamW", lambda p: MirrorAdamW(p, 1e-4, mirror_map=SPARSE)),
    "MirrorAdamW, auto": ("AdamW", lambda p: MirrorAdamW(p, "auto", mirror_map=SPARSE)),
    "MirrorAdamW, eager": (
        "AdamW",
        lambda p: MirrorAdamW(p, 1e-4, mirror_map=SPARSE, compiled=False),
    ),
}


def now() -> float:
    """Processor time with one thread, wall time with several."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def measure(net: str, names: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step, by optimizer; the first two rounds are left out."""
    make, inputs, classes = NETS[net]
    torch.manual_seed(0)
    model, x = make(), inputs()
    y = torch.randint(classes, (len(x),))
    copies = {name: copy.deepcopy(model) for name in names}
    optimizers = {name: OPTIMIZERS[name][1](list(copies[name].parameters())) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for count in range(rounds + 2):
        for name in names:
            begun = now()
            optimizers[name].zero_grad()
            nn.functional.cross_entropy(copies[name](x), y).backward()
            optimizers[name].step()
            if count >= 2:
                seconds[name].append(now() - begun)
    return seconds


def summary(seconds: dict[str, list[float]]) -> dict[str, tuple[float, float, float]]:
    """Quartiles of the ratio to the baseline, median in the middle, by optimizer."""
    found = {}
    for name, times in seconds.items():
        pairs = zip(times, seconds[OPTIMIZERS[name][0]], strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        found[name] = (low, middle, high)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="nets or rows with these in the name")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    nets = [net for net in NETS if net in options.only] or list(NETS)
    rows = [part for part in options.only if part not in NETS]
    names = [n for n in OPTIMIZERS if not rows or any(part in n for part in rows)]
    names = [n for n in OPTIMIZERS if n in names or n in {OPTIMIZERS[m][0] for m in names}]
    # A step of the MLP is short: more of them cost little.
    found = {net: measure(net, names, options.rounds * (10 if net == "MLP" else 1)) for net in nets}
    ratios = {net: summary(seconds) for net, seconds in found.items()}
    if options.json:
        print(json.dumps(ratios))
        return
    print("| optimizer | against | " + " | ".join(nets) + " |")
    print("|---|---|" + "---|" * len(nets))
    for name in names:
        baseline = OPTIMIZERS[name][0]
        if name == baseline:
            cells = [f"{1e3 * statistics.median(found[net][name]):.2f} ms" for net in nets]
        else:
            quartiles = [ratios[net][name] for net in nets]
            cells = [f"{b:.2f} ({a:.2f} to {c:.2f})" for a, b, c in quartiles]
        print(f"| {name} | {baseline} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

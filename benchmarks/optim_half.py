"""How a parameter in half precision keeps its small steps: rounding, Kahan's sum, a master.

A noisy strongly convex problem in 1,000 entries: `f = |w - target|^2/2`, its gradient with normal
noise of size 0.3, 3,000 steps of mirror descent with hyperbolic entropy (beta = 0.1) and step
2e-3, all on the same noise. Columns: the relative error of the end against float64.

- rounded: the parameter alone, each step rounded to its type;
- Kahan: the parameter and a second tensor of its type that holds what rounding left out;
- master: `MirrorDescent` as it is, with a float32 master.

    python benchmarks/optim_half.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mirrorflow.maps import HyperbolicEntropy
from mirrorflow.optim import MirrorDescent

ENTRIES, STEPS, RATE, NOISE = 1000, 3000, 2e-3, 0.3
MAP = HyperbolicEntropy(0.1)
TARGET = torch.linspace(-2, 2, ENTRIES)


def gradients(w: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(ENTRIES, generator=generator)
    return w - (TARGET + NOISE * noise).to(w.dtype)


def stepped(w: Tensor, g: Tensor) -> Tensor:
    return MAP.to_primal(MAP.to_dual(w) - RATE * g)


def rounded(dtype: torch.dtype) -> Tensor:
    w = torch.full((ENTRIES,), 0.3, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        g = gradients(w, generator).float()
        w = stepped(w.float(), g).to(dtype)
    return w


def kahan(dtype: torch.dtype) -> Tensor:
    w = torch.full((ENTRIES,), 0.3, dtype=dtype)
    rest = torch.zeros_like(w)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        g = gradients(w, generator).float()
        new = stepped(w.float() + rest.float(), g)
        w = new.to(dtype)
        rest = (new - w.float()).to(dtype)
    return w


def optimized(dtype: torch.dtype) -> Tensor:
    w = nn.Parameter(torch.full((ENTRIES,), 0.3, dtype=dtype))
    optimizer = MirrorDescent([w], RATE, mirror_map=MAP)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        w.grad = gradients(w.detach(), generator)
        optimizer.step()
    return w.detach()


def main() -> None:
    # the double starts from the weights that the half-precision runs have
    print("| type | rounded | Kahan | master |\n|---|---|---|---|")
    for dtype in (torch.bfloat16, torch.float16):
        want = reference(dtype)
        errors = (
            float((way(dtype).double() - want).norm() / want.norm())
            for way in (rounded, kahan, optimized)
        )
        print(f"| {str(dtype)[6:]} | " + " | ".join(f"{e:.2g}" for e in errors) + " |")


def reference(dtype: torch.dtype) -> Tensor:
    w = torch.full((ENTRIES,), 0.3, dtype=dtype).double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        w = stepped(w, gradients(w, generator))
    return w


if __name__ == "__main__":
    main()

"""A linear layer with zeros on a CPU: is a CSR matrix faster than the dense one?

1024 x 1024 in float32, one thread, the median of 30 products with 1, 32 and 256 columns; the ratio
dense time / CSR time, above 1 where CSR is faster.

    python benchmarks/csr.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor


def seconds(a: Tensor, x: Tensor) -> float:
    times = []
    for _ in range(33):
        start = time.perf_counter()
        a @ x
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| zeros | 1 column | 32 columns | 256 columns |\n|---|---|---|---|")
    for share in (0.8, 0.9, 0.95, 0.98):
        w = torch.randn(1024, 1024)
        w[torch.rand_like(w) < share] = 0
        csr = w.to_sparse_csr()
        cells = []
        for columns in (1, 32, 256):
            x = torch.randn(1024, columns)
            cells.append(f"{seconds(w, x) / seconds(csr, x):.2f}")
        print(f"| {share:.0%} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

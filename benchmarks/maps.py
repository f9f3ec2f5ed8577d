"""Errors of every separable map against 50 digits, in units in the last place (ulp).

Two numbers per operation: the largest error in ulp of the exact result, and the largest in ulp of
the condition: of `max(|f|, |x f'(x)|)`, what half a bit of the input changes anyway.

    python benchmarks/maps.py [--samples 400]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))
from map_errors import CASES, OPERATIONS, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=400)
    samples = parser.parse_args().samples
    print(f"{samples} points per map; largest error in ulp of the result / of the condition")
    for dtype in (torch.float64, torch.float32):
        print(f"\n{dtype!s:<30}" + "".join(f"{name:>13}" for name in OPERATIONS))
        for case in CASES:
            worst = measure(case, dtype, samples)
            cells = ("{:.2g}/{:.2g}".format(*worst[name]) for name in OPERATIONS)
            print(f"{case[0]!r:<30}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()

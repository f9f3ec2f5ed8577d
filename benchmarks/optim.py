"""One optimizer step against the memory: ratios to `torch.add(p, g, alpha=-lr, out=p)`.

Measures medians over pairs (baseline, step) taken in turn in one process, in processor time of the
one thread, so that other work on the machine and a drifting clock disturb the ratios little. Ten
million float32 entries, as one tensor and as 100 tensors of mixed sizes, with gradients of usual
size (lr·g of order 1e-3, weights of order 0.1) and large ones (of order 1).

Run: `python benchmarks/optim.py [--only NAME …] [--entries N] [--repeats R] [--inductor] [--json]`;
on a GPU, in wall time: `python benchmarks/optim.py --device cuda --entries 100000000`; with several
threads, in wall time too: `--threads 2`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorAdamW, MirrorDescent, RelativeStep
from mirrorflow.optim.kernels import library
from mirrorflow.optim.rules import mirror_step

MAPS = [
    maps.Quadratic(),
    maps.Power(1.5),
    maps.Power(2),
    maps.Power(3),
    maps.Power(4),
    maps.Power(2.7),
    maps.Power(1.2),
    maps.HyperbolicEntropy(0.1),
    maps.Logarithmic(0.1),
    maps.Cosh(1.0),
    maps.Exponential(),
]
EAGER = [maps.Quadratic(), maps.Power(3), maps.Power(2.7), maps.HyperbolicEntropy(0.1)]


def tensors(entries: int, count: int, device: str) -> list[nn.Parameter]:
    """Parameters with gradients: sizes vary by a factor of a thousand."""
    weights = torch.logspace(0, 3, count) if count > 1 else torch.ones(1)
    sizes = (weights / weights.sum() * entries).int().clamp(min=1).tolist()
    params = [nn.Parameter(0.1 * torch.randn(n, device=device)) for n in sizes]
    for p in params:
        p.grad = torch.randn_like(p)
    return params


def now(device: str) -> float:
    """Processor time of this thread; with several, and on a GPU when it is done, wall time."""
    if device == "cpu":
        return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()
    torch.cuda.synchronize()
    return time.perf_counter()


def ratio(
    baseline: Callable[[], None],
    step: Callable[[], None],
    repeats: int,
    device: str,
    seconds: list[float],
) -> float:
    """Median of step time over baseline time, in turn; `seconds` keeps the baseline's."""
    ratios = []
    for repeat in range(repeats + 1):
        times = []
        for run in (baseline, step):
            begun = now(device)
            run()
            times.append(now(device) - begun)
        if repeat >= 1:
            ratios.append(times[1] / times[0])
            seconds.append(times[0])
    return statistics.median(ratios)


def there_and_back(opt: torch.optim.Optimizer) -> Callable[[], None]:
    """Steps whose sign alternates, so that the weights stay where they are."""

    def step() -> None:
        for group in opt.param_groups:
            group["maximize"] = not group["maximize"]
        opt.step()

    return step


def cases(params: list[nn.Parameter], lr: float) -> Iterator[tuple[str, str, Callable[[], None]]]:
    yield "SGD", "fused", there_and_back(torch.optim.SGD(params, lr, fused=True))
    yield (
        "SGD, momentum 0.9",
        "fused",
        there_and_back(torch.optim.SGD(params, lr, momentum=0.9, fused=True)),
    )
    yield "AdamW", "fused", there_and_back(torch.optim.AdamW(params, lr, fused=True))
    for mirror_map in MAPS:
        opt = MirrorDescent(params, lr, mirror_map=mirror_map, compiled=True)
        yield repr(mirror_map), "compiled", there_and_back(opt)
    for mirror_map in EAGER:
        yield (
            repr(mirror_map),
            "eager",
            there_and_back(MirrorDescent(params, lr, mirror_map=mirror_map)),
        )
    sparse = maps.HyperbolicEntropy(0.1)
    yield (
        "HyperbolicEntropy(beta=0.1), momentum 0.9", "compiled",
        there_and_back(MirrorDescent(params, lr, mirror_map=sparse, momentum=0.9, compiled=True)),
    )  # fmt: skip
    adam = MirrorAdamW(params, lr, mirror_map=sparse, weight_decay=0.0, compiled=True)
    yield "MirrorAdamW, HyperbolicEntropy(beta=0.1)", "compiled", there_and_back(adam)
    rule = RelativeStep(lr if lr < 1 else 0.1, "constant", reject=False)
    for mirror_map in (maps.Power(3), sparse):
        for path, compiled in (("auto, eager", False), ("auto, compiled", True)):
            relative = MirrorDescent(params, rule, mirror_map=mirror_map, compiled=compiled)
            yield repr(mirror_map), path, there_and_back(relative)


def inductor(
    params: list[nn.Parameter], lr: float
) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """The rule itself under torch.compile, per tensor with dynamic shapes."""
    for mirror_map in (maps.Power(3), maps.Power(2.7), maps.HyperbolicEntropy(0.1)):
        rate = torch.tensor(lr)

        def update(
            x: torch.Tensor, g: torch.Tensor, r: torch.Tensor, m: maps.MirrorMap = mirror_map
        ) -> None:
            x.copy_(mirror_step(m, x, g, r))

        compiled = torch.compile(update, dynamic=True)

        @torch.no_grad()
        def step(run: Callable[..., None] = compiled, rate: torch.Tensor = rate) -> None:
            rate.neg_()
            for p in params:
                run(p, p.grad, rate)

        yield repr(mirror_map), "inductor", step


def naive(params: list[nn.Parameter], lr: float) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """What one writes first: to the dual, subtract, back."""
    for mirror_map in (maps.Power(3), maps.HyperbolicEntropy(0.1)):

        @torch.no_grad()
        def step(m: maps.MirrorMap = mirror_map) -> None:
            for p in params:
                p.copy_(m.to_primal(m.to_dual(p) - lr * p.grad))

        yield repr(mirror_map), "naive eager", step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="rows whose name holds one of these")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--inductor", action="store_true", help="also torch.compile (slow to build)"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    begun = time.perf_counter()
    built = library() is not None
    rows = []
    seconds = time.perf_counter() - begun
    note = f"C++ kernels: {'ready' if built else 'not available'} ({seconds:.1f} s)"
    columns = [(1, 1e-3), (100, 1e-3), (1, 1.0), (100, 1.0)]
    cpu = options.device == "cpu"
    results: dict[tuple[str, str], list[float]] = {}
    adds: list[float] = []
    for count, lr in columns:
        params = tensors(options.entries, count, options.device)
        start = [p.detach().clone() for p in params]

        @torch.no_grad()
        def baseline(params: list[nn.Parameter] = params) -> None:
            for p in params:
                torch.add(p, p.grad, alpha=-1e-30, out=p)

        sources = [cases, *([naive] if cpu else []), *([inductor] if options.inductor else [])]
        for source in sources:
            for name, path, step in source(params, lr):
                if options.only and not any(part in f"{name} {path}" for part in options.only):
                    continue
                with torch.no_grad():
                    for p, old in zip(params, start, strict=True):
                        p.copy_(old)
                slow = "eager" in path or path == "inductor"
                repeats = min(options.repeats, 3) if slow and cpu else options.repeats
                value = ratio(baseline, step, repeats, options.device, adds)
                results.setdefault((name, path), []).append(value)
    if adds:
        tenth, median, last = (
            torch.tensor(adds).quantile(q).item() * 16e9 / options.entries for q in (0.1, 0.5, 0.9)
        )
        note += f"; sixteen entries of the add: {median:.1f} ns ({tenth:.1f} to {last:.1f})"
    for (name, path), values in results.items():
        rows.append({"map": name, "path": path, "ratios": [round(v, 2) for v in values]})
    if options.json:
        print(json.dumps({"note": note, "columns": columns, "rows": rows}))
        return
    print(note)
    print("| map | path | one tensor, lr·g ~ 1e-3 | 100 tensors, 1e-3 | one, 1 | 100, 1 |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['map']} | {row['path']} | " + " | ".join(map(str, row["ratios"])) + " |")


if __name__ == "__main__":
    main()

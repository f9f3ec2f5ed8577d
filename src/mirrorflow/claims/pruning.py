"""Finding 4, beyond the paper: does a sparse map pay, in accuracy after one-shot pruning?"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_integer, as_path, shown
from mirrorflow.claims.finding import Finding, Verdict, plain
from mirrorflow.claims.statistics import holm, welch, welch_p
from mirrorflow.claims.tasks import Record, Task, read_records, run_tasks
from mirrorflow.data import Dataset, load
from mirrorflow.data.fingerprint import fingerprint
from mirrorflow.maps import HyperbolicEntropy
from mirrorflow.nets import MLP
from mirrorflow.optim import MirrorAdamW, MirrorDescent
from mirrorflow.runs.folder import claim

__all__ = [
    "METHODS",
    "SHARES",
    "TrainingMethod",
    "compare",
    "findings",
    "prune_global",
    "train_pruned",
]

SHARES = (0.0, 0.8, 0.9, 0.95, 0.98)
"""Shares of all weights that are set to zero."""

NAMES = ("records", "pruning.parquet")
"""What stands in the folder of a comparison."""

_BETA = 0.01
_LEVEL = 0.05
_VALIDATION = 6  # one training point in so many
_AROUND = (0.5, 0.7, 1.4, 2.0)  # second round of rates, times the best of the first
_BATCH = 128


@dataclass(frozen=True)
class TrainingMethod:
    """An optimizer with its grid of learning rates; `rival` is the same one without the map."""

    make: Callable[..., torch.optim.Optimizer]
    rates: tuple[float, ...]
    rival: str = ""


def _mirror_adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return MirrorAdamW(parameters, lr, mirror_map=HyperbolicEntropy(_BETA))


def _mirror_descent(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return MirrorDescent(parameters, lr, mirror_map=HyperbolicEntropy(_BETA), momentum=0.9)


def _sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr, momentum=0.9)


METHODS = {
    "AdamW": TrainingMethod(torch.optim.AdamW, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    "MirrorAdamW": TrainingMethod(_mirror_adamw, (3e-3, 1e-2, 3e-2, 1e-1, 3e-1), "AdamW"),
    "SGD": TrainingMethod(_sgd, (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)),
    "MirrorDescent": TrainingMethod(_mirror_descent, (1e-1, 3e-1, 1.0, 3.0, 10.0), "SGD"),
}
"""The first round of rates, a factor of about three apart; both mirror optimizers with hyperbolic
entropy, β = 0.01, SGD and MirrorDescent with momentum 0.9, and the default weight decay of each."""


@torch.no_grad()
def prune_global(net: nn.Module, share: float) -> nn.Module:
    """A copy of the net whose smallest weights, all tensors in one ranking, are zero.

    Args:
        net: left as it is.
        share: of all parameters, in [0, 1]; `⌊share·N⌋` are set to zero, ties by position.

    Returns:
        The pruned copy.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}; choose 0 <= share <= 1")
    pruned = copy.deepcopy(net)
    parameters = list(pruned.parameters())
    every = torch.cat([p.abs().reshape(-1) for p in parameters])
    smallest = every.argsort(stable=True)[: math.floor(share * len(every))]
    keep = torch.ones(len(every), dtype=torch.bool, device=every.device)
    keep[smallest] = False
    for p, kept in zip(parameters, torch.split(keep, [p.numel() for p in parameters]), strict=True):
        p.mul_(kept.reshape(p.shape))
    return pruned


def train_pruned(
    folder: Path,  # noqa: ARG001
    *,
    data: str,
    method: str,
    lr: float,
    seed: int,
    epochs: int,
    hidden: list[int],
    n: int,
    validate: bool,
) -> Record:
    """Train an MLP, prune it at every share, without training again.

    Args:
        folder: of the records.
        data: name of an image set.
        method: a key of `METHODS`.
        lr: the learning rate, which falls linearly to 0.
        seed: of weights and batches.
        epochs: passes over the training set.
        hidden: widths.
        n: training points; 0 is all.
        validate: hold out a sixth of the training set, and measure on it in place of the test set.
    """
    begun = time.monotonic()
    points = load(data, **_points(n)).to(torch.float32)
    held = torch.arange(len(points.x)) % _VALIDATION == 0
    train = torch.arange(len(points.x))[~held] if validate else torch.arange(len(points.x))
    g = torch.Generator().manual_seed(seed)
    net = MLP((points.features, *hidden, points.classes or 1), generator=g).to(torch.float32)
    finite = _train(net, points, train, METHODS[method].make(net.named_parameters(), lr), epochs, g)
    x, y = (points.x, points.y) if validate else (points.x_test, points.y_test)
    at = held.nonzero()[:, 0] if validate else torch.arange(len(x))
    accuracies = {
        str(share): _accuracy(prune_global(net, share), x, y, at) if finite else 0.0
        for share in SHARES
    }
    summary = {
        "data": data,
        "method": method,
        "lr": lr,
        "seed": seed,
        "validate": validate,
        "accuracy": accuracies,
        "seconds": time.monotonic() - begun,
    }
    return Record(_name(data, method, lr, seed, validate), summary)


def _train(
    net: MLP,
    points: Dataset,
    chosen: Tensor,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    g: torch.Generator,
) -> bool:
    """Cross-entropy in minibatches; False if the loss left the numbers."""
    total = epochs * (len(chosen) // _BATCH)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    for _ in range(epochs):
        order = chosen[torch.randperm(len(chosen), generator=g)]
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            at = order[start : start + _BATCH]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(points.x[at]), points.y[at])
            if not math.isfinite(float(loss.detach())):
                return False
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
    return all(bool(torch.isfinite(p).all()) for p in net.parameters())


@torch.no_grad()
def _accuracy(net: nn.Module, x: Tensor, y: Tensor, at: Tensor) -> float:
    right = sum(int((net(x[part]).argmax(1) == y[part]).sum()) for part in torch.split(at, 2000))
    return right / len(at)


def _name(data: str, method: str, lr: float, seed: int, validate: bool) -> str:
    data = Path(data).stem if data.endswith(".npz") else data
    return f"prune-{data}-{method}-{'tune' if validate else 'test'}-{lr:g}-{seed}"


def compare(
    folder: Path,
    *,
    data: str = "mnist",
    epochs: int = 4,
    hidden: tuple[int, ...] = (256, 128),
    seeds: int = 3,
    n: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[dict[str, Any]]:
    """Tune every method on held-out training points, then train on all of them, `seeds` times.

    Nine rates each: those of `METHODS`, then 0.5, 0.7, 1.4 and 2 times the best of them. The rate
    with the best held-out accuracy of the dense net is taken: pruning plays no part.

    Args:
        folder: made if need be; what it holds is kept.
        data: name of an image set.
        epochs: passes over the training set of every run.
        hidden: widths of the MLP.
        seeds: runs at the tuned rate; tuning uses another seed.
        n: training points; 0 is all.
        workers: processes; None is one a core.
        progress: see `run_tasks`.

    Raises:
        RunError: the folder holds something else, or runs on a file that has changed since.
        ValueError, TypeError: an argument out of range or of another kind.

    Returns:
        One row for each data set, method, seed, and share, with the accuracy on the test set, the
        rate, and the held-out accuracy of each rate tried.
    """
    folder, data = as_path(folder, "folder"), _placed(data)
    epochs, seeds = as_integer(epochs, "epochs", least=1), as_integer(seeds, "seeds", least=1)
    n = as_integer(n, "n", least=0)
    if not isinstance(hidden, list | tuple):
        raise TypeError(f"hidden = {shown(hidden)} is a {type(hidden).__name__}; pass widths")
    hidden = tuple(as_integer(width, "hidden", least=1) for width in hidden)
    seen = _check_data(data, n)
    claim(folder, "prune", NAMES, source=data, fingerprint=seen)
    common = {"data": data, "epochs": epochs, "hidden": list(hidden), "n": n}

    def tasks(chosen: dict[str, list[float]], from_seed: int, count: int, tune: bool) -> list[Task]:
        return [
            Task(
                _name(data, method, lr, seed, tune),
                train_pruned,
                {**common, "method": method, "lr": lr, "seed": seed, "validate": tune},
            )
            for seed in range(from_seed, from_seed + count)
            for method, rates in chosen.items()
            for lr in rates
        ]

    def held_out(rates: dict[str, list[float]]) -> dict[str, dict[float, float]]:
        run_tasks(tasks(rates, 1000, 1, True), folder, workers=workers, progress=progress)
        records = read_records(folder)
        return {
            method: {lr: _dense(records[_name(data, method, lr, 1000, True)]) for lr in chosen}
            for method, chosen in rates.items()
        }

    held = held_out({method: list(entry.rates) for method, entry in METHODS.items()})
    finer = {
        method: [float(f"{max(found, key=found.__getitem__) * by:.3g}") for by in _AROUND]
        for method, found in held.items()
    }
    for method, found in held_out(finer).items():
        held[method] = dict(sorted({**held[method], **found}.items()))
    best = {method: [max(found, key=found.__getitem__)] for method, found in held.items()}
    final = tasks(best, 0, seeds, False)
    run_tasks(final, folder, workers=workers, progress=progress)
    records = read_records(folder)
    rows = []
    for task in final:
        s = records[task.name].summary
        for share, accuracy in s["accuracy"].items():
            rows.append(
                {
                    **{k: s[k] for k in ("data", "method", "lr", "seed", "seconds")},
                    "epochs": epochs,
                    "hidden": str(list(hidden)),
                    "share": float(share),
                    "accuracy": accuracy,
                    "tuning": ", ".join(f"{lr:g}: {a:.4f}" for lr, a in held[s["method"]].items()),
                }
            )
    return rows


def _placed(data: str) -> str:
    if not isinstance(data, str):
        raise TypeError(f"data = {shown(data)} is a {type(data).__name__}; pass text")
    return os.path.abspath(os.path.expanduser(data)) if data.endswith(".npz") else data


def _points(n: int) -> dict[str, Any]:
    return {"n": n} if n else {}


def _check_data(data: str, n: int) -> str | None:
    """The fingerprint of a user's file; the sets that have a name are compared when they are read.

    Raises:
        ValueError: no classes or no test set.
    """
    points = load(data, **_points(n))
    if points.classes is None or not len(points.x_test):
        raise ValueError(
            f"data = {data!r} has {'labels ±1' if points.classes is None else 'no test set'}; the "
            "comparison needs class indices 0 ... C-1 and x_test, y_test"
        )
    return fingerprint(points) if data.endswith(".npz") else None


def _dense(record: Record) -> float:
    return float(record.summary["accuracy"]["0.0"])


def findings(rows: list[dict[str, Any]]) -> list[Finding]:
    """For each data set, mirror optimizer and sparsity: is it more accurate than its rival?

    The comparisons of one data set are corrected for their number by Holm's method.

    Args:
        rows: of `compare`.
    """
    found = []
    for data in dict.fromkeys(row["data"] for row in rows):
        asked = [
            (method, entry.rival, share)
            for method, entry in METHODS.items()
            for share in SHARES[1:]
            if entry.rival
        ]
        pairs = [
            (_accuracies(rows, data, method, share), _accuracies(rows, data, rival, share))
            for method, rival, share in asked
        ]
        tested = [k for k, (mine, theirs) in enumerate(pairs) if min(len(mine), len(theirs)) >= 2]
        adjusted = dict(zip(tested, holm([welch_p(*pairs[k]) for k in tested]), strict=True))
        for k, (method, rival, share) in enumerate(asked):
            question = f"{data}, {share:.0%} pruned: is {method} more accurate than {rival}?"
            found.append(_finding(question, method, pairs[k], adjusted.get(k), len(tested)))
    return found


def _accuracies(rows: list[dict[str, Any]], data: str, method: str, share: float) -> list[float]:
    wanted = (data, method, share)
    return [r["accuracy"] for r in rows if (r["data"], r["method"], r["share"]) == wanted]


def _finding(
    question: str,
    method: str,
    pair: tuple[list[float], list[float]],
    p: float | None,
    tests: int,
) -> Finding:
    verdict: Verdict = "not yet reached"
    measured = "too few runs"
    if p is not None:
        gap, low, high = welch(*pair)
        verdict = "yes" if gap > 0 and p < _LEVEL else "no"
        measured = (
            f"{plain(100 * gap)} points (95 %: {plain(100 * low)} to {plain(100 * high)}), "
            f"p = {plain(p, 2)}"
        )
    return Finding(
        claim=4,
        question=question,
        prediction=f"{method} keeps more accuracy",
        measured=measured,
        rule=(
            f"difference of means above 0, p of Welch's test below {_LEVEL:g} after Holm's "
            f"correction for {tests} comparisons"
        ),
        verdict=verdict,
    )

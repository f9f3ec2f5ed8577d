"""Seeded synthetic sets that a fitting net separates."""

from __future__ import annotations

import torch
from torch import Tensor

from mirrorflow.data.base import Dataset
from mirrorflow.nets import TwoLayer

__all__ = ["blobs", "one_point", "random_labels", "teacher"]


def _generator(n: int, d: int, seed: int) -> torch.Generator:
    for name, value in (("n", n), ("d", d)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r}; pass an int >= 1")
    return torch.Generator().manual_seed(seed)


def _make(name: str, x: Tensor, y: Tensor, n: int) -> Dataset:
    return Dataset(name, x[:n], y[:n], x[n:], y[n:], None)


def _normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def blobs(n: int = 40, d: int = 2, *, gap: float = 0.5, n_test: int = 0, seed: int = 0) -> Dataset:
    """Two Gaussian clouds, linearly separable: `y⟨w, x⟩ ≥ gap` for a hidden unit vector w.

    `x = z + y s w` with z normal; a point closer than `gap` to the plane, or beyond it, is moved
    along w to a distance in [gap, gap + 1].

    Args:
        n: number of training points.
        d: number of features.
        gap: the margin that w has, > 0.
        n_test: number of further points for test.
        seed: of all random draws.
    """
    g = _generator(n, d, seed)
    if not gap > 0:
        raise ValueError(f"gap = {gap} leaves the clouds inseparable; choose gap > 0")
    total = n + n_test
    w = _normal(g, d)
    w = w / w.norm()
    y = torch.where(torch.arange(total) % 2 == 0, 1, -1)
    x = _normal(g, total, d) + 2.0 * y[:, None] * w
    extra = torch.rand(total, generator=g, dtype=torch.float64)
    distance = y * (x @ w)
    lift = torch.where(distance < gap, gap + extra - distance, torch.zeros_like(distance))
    return _make("blobs", x + (lift * y)[:, None] * w, y, n)


def random_labels(n: int = 20, d: int = 40, *, seed: int = 0) -> Dataset:
    """Normal points with fair-coin labels: linearly separable if `n ≤ d`, else a task for a net.

    Args:
        n: number of points.
        d: number of features.
        seed: of all random draws.
    """
    g = _generator(n, d, seed)
    x = _normal(g, n, d)
    y = torch.where(torch.rand(n, generator=g) < 0.5, -1, 1)
    if n > 1 and bool((y == y[0]).all()):
        y[-1] = -y[-1]
    return _make("random_labels", x, y, n)


def teacher(n: int = 100, d: int = 5, *, units: int = 3, n_test: int = 0, seed: int = 0) -> Dataset:
    """Labels of a random two-layer ReLU net, `y = sgn Σ_j a_j max(⟨w_j, x⟩, 0)`, `a_j = ±1`.

    Points whose teacher output is small (the lowest fifth) are drawn again and left out, so that
    the classes have a margin.

    Args:
        n: number of training points.
        d: number of features.
        units: hidden units of the teacher.
        n_test: number of further points for test.
        seed: of all random draws.
    """
    g = _generator(n, d, seed)
    net = TwoLayer(d, units, generator=g).double()
    with torch.no_grad():
        net.weights[1].copy_(torch.where(torch.arange(units) % 2 == 0, 1.0, -1.0)[None])
        x = _normal(g, 4 * (n + n_test), d)
        out = net(x)
    order = out.abs().argsort(descending=True)[: int(0.8 * len(x))]
    keep = order[torch.randperm(len(order), generator=g)][: n + n_test]
    y = torch.where(out[keep] > 0, 1, -1)
    return _make("teacher", x[keep], y, n)


def one_point() -> Dataset:
    """The point (1, 2) with label +1: every limit is known in closed form (theory, §6)."""
    return Dataset(
        "one_point",
        torch.tensor([[1.0, 2.0]], dtype=torch.float64),
        torch.tensor([1]),
        torch.zeros(0, 2, dtype=torch.float64),
        torch.zeros(0, dtype=torch.int64),
        None,
    )

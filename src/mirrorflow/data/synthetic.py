"""Seeded synthetic sets that a fitting net separates."""

from __future__ import annotations

import torch
from torch import Tensor

from mirrorflow.checks import as_integer, as_number
from mirrorflow.data.base import Dataset
from mirrorflow.nets import TwoLayer

__all__ = ["blobs", "one_point", "random_labels", "sparse_targets", "teacher"]


_LARGEST = 2**27  # numbers: 1 GiB of points


def as_seed(seed: int) -> int:
    """A seed of `torch.Generator`.

    Raises:
        TypeError: not an integer.
        ValueError: not in 64 bits.
    """
    return as_integer(seed, "seed", least=-(2**63), most=2**64 - 1)


def _sizes(n: int, d: int, n_test: int) -> tuple[int, int, int]:
    d = as_integer(d, "d", least=1, most=_LARGEST)
    n = as_integer(n, "n", least=1, most=_LARGEST // d)
    return n, d, as_integer(n_test, "n_test", least=0, most=_LARGEST // d)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(as_seed(seed))


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

    Raises:
        TypeError, ValueError: an argument outside what is allowed.
    """
    n, d, n_test = _sizes(n, d, n_test)
    g = _generator(seed)
    gap = as_number(gap, "gap", above=0, most=1e100)
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

    Raises:
        TypeError, ValueError: an argument outside what is allowed.
    """
    n, d, _ = _sizes(n, d, 0)
    g = _generator(seed)
    x = _normal(g, n, d)
    y = torch.where(torch.rand(n, generator=g) < 0.5, -1, 1)
    if n > 1 and bool((y == y[0]).all()):
        y[-1] = -y[-1]
    return _make("random_labels", x, y, n)


def sparse_targets(
    n: int = 20, d: int = 40, *, active: int = 3, n_test: int = 0, seed: int = 0
) -> Dataset:
    """Normal points with the real targets of a sparse linear teacher, for the square loss.

    `y = ⟨w, x⟩` with `active` entries ±1 in w and zeros elsewhere: with n < d many weights fit, and
    the mirror map and the start choose among them (`exact.min_bregman`).

    Args:
        n: number of training points.
        d: number of features.
        active: entries of w that are not zero, at most d.
        n_test: number of further points for test.
        seed: of all random draws.

    Raises:
        TypeError, ValueError: an argument outside what is allowed.
    """
    n, d, n_test = _sizes(n, d, n_test)
    g = _generator(seed)
    active = as_integer(active, "active", least=1, most=d)
    x = _normal(g, n + n_test, d)
    w = torch.zeros(d, dtype=torch.float64)
    signs = torch.where(torch.rand(active, generator=g) < 0.5, -1.0, 1.0)
    w[torch.randperm(d, generator=g)[:active]] = signs.double()
    y = x @ w
    return Dataset("sparse_targets", x[:n], y[:n], x[n:], y[n:], None, targets=True)


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

    Raises:
        TypeError, ValueError: an argument outside what is allowed.
    """
    n, d, n_test = _sizes(n, d, n_test)
    g = _generator(seed)
    units = as_integer(units, "units", least=1, most=_LARGEST // max(n + n_test, d))
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

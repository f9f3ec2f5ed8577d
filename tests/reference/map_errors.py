"""Errors of the separable maps against 50 digits, in units in the last place (ulp)."""

from __future__ import annotations

import maps_mpmath as reference
import mpmath as mp
import numpy as np
import torch

from mirrorflow import maps

OPERATIONS = (
    "to_dual",
    "to_primal",
    "potential",
    "dual_energy",
    "conjugate",
    "hessian",
    "bregman",
    "step",
)

# map, oracle, range of |x|, range of |u|: as decimal exponents, for float32 and float64.
CASES = [
    (maps.Quadratic(), reference.quadratic(), (-30, 30), (-150, 150)),
    (maps.Power(1.1), reference.power("1.1"), (-30, 30), (-150, 150)),
    (maps.Power(1.5), reference.power("1.5"), (-20, 20), (-100, 100)),
    (maps.Power(3.0), reference.power("3"), (-10, 10), (-90, 90)),
    (maps.Power(10.0), reference.power("10"), (-3, 3), (-25, 25)),
    (maps.HyperbolicEntropy(1.0), reference.hyperbolic_entropy("1"), (-30, 30), (-30, 150)),
    (maps.HyperbolicEntropy(1e-6), reference.hyperbolic_entropy("1e-6"), (-30, 30), (-30, 150)),
    (maps.Logarithmic(1.0), reference.logarithmic("1"), (-15, 30), (-30, 150)),
    (maps.Logarithmic(1e-3), reference.logarithmic("1e-3"), (-15, 30), (-30, 150)),
    (maps.Mixed(4.0, 1.0, 1.0), reference.mixed("4", "1", "1"), (-9, 9), (-70, 70)),
    (maps.Mixed(1.5, 1.0, 0.1), reference.mixed("1.5", "1", "0.1"), (-12, 15), (-100, 100)),
    (maps.Cosh(1.0), reference.cosh("1"), (-15, 1.9), (-30, 2.8)),
    (maps.Cosh(0.1), reference.cosh("0.1"), (-15, 0.9), (-30, 1.8)),
    (maps.Exponential(), reference.exponential(), (-15, 1.9), (-30, 2.8)),
    (maps.DoubleExponential(), reference.double_exponential(), (-15, 0.68), (-30, 0.85)),
    (
        maps.Custom(gradient=lambda x: x + x * x * x, name="x + x**3"),
        reference.mixed("4", "1", "1"),
        (-9, 9),
        (-70, 70),
    ),
    (
        maps.Custom(potential=torch.cosh, name="cosh"),
        reference.cosh("1"),
        (-3, 1.9),
        (-7, 2.8),
    ),
]


def error(value: float, exact: mp.mpf, slack: mp.mpf, eps: float, limits: torch.finfo) -> tuple:
    """The error in ulp of the result and in ulp of the condition."""
    if not limits.tiny * 10 < abs(exact) < limits.max:
        return 0.0, 0.0
    miss = abs(mp.mpf(value) - exact)
    return float(miss / abs(exact) / eps), float(miss / max(abs(exact), slack) / eps)


def measure(case: tuple, dtype: torch.dtype, samples: int, seed: int = 0) -> dict:
    """The largest errors of one map in one precision."""
    mirror_map, exact, range32, range64 = case
    low, high = range32 if dtype == torch.float32 else range64
    rng = np.random.default_rng(seed)
    limits = torch.finfo(dtype)

    def draw(low: float, high: float) -> torch.Tensor:
        size = 10 ** rng.uniform(low, high, samples) * rng.choice([-1, 1], samples)
        return torch.tensor(size).to(dtype)

    x, near = draw(low, high), draw(low, high)
    y = x * (1 + torch.tensor(10 ** rng.uniform(-6, 1, samples)).to(dtype))
    y = torch.where(torch.tensor(rng.random(samples) < 0.3), near, y)
    u = mirror_map.to_dual(x)
    ratio = torch.tensor(10 ** rng.uniform(-8, 2, samples) * rng.choice([-1, 1], samples))
    delta = u * ratio.to(dtype)
    if mirror_map.index == 1:
        delta = torch.tensor(10 ** rng.uniform(-8, 1.3, samples) * rng.choice([-1, 1], samples))
        delta = delta.to(dtype)
    worst: dict[str, list[float]] = {}

    def note(name: str, values: torch.Tensor, entries: list) -> None:
        pairs = [
            error(v, t, c, limits.eps, limits)
            for v, (t, c) in zip(values.tolist(), entries, strict=True)
        ]
        worst[name] = [max(a for a, _ in pairs), max(b for _, b in pairs)]

    xs, us, ys, ds = ([mp.mpf(v) for v in t.tolist()] for t in (x, u, y, delta))
    r = exact
    note("to_dual", u, [(r.to_dual(a), abs(a * r.hessian(a))) for a in xs])
    primal = [r.to_primal(a) for a in us]
    note(
        "to_primal",
        mirror_map.to_primal(u),
        [(p, abs(a) / r.hessian(p)) for a, p in zip(us, primal, strict=True)],
    )
    energy = [r.dual_energy(a) for a in xs]
    note(
        "potential",
        mirror_map.potential_entries(x),
        [(r.potential(a), abs(a * r.to_dual(a))) for a in xs],
    )
    note(
        "dual_energy",
        mirror_map.dual_energy_entries(x),
        [(e, a * a * r.hessian(a)) for e, a in zip(energy, xs, strict=True)],
    )
    note(
        "conjugate",
        mirror_map.conjugate_entries(u),
        [(r.dual_energy(p), abs(a * p)) for a, p in zip(us, primal, strict=True)],
    )
    h = mp.mpf(10) ** -10
    slope = [abs(a * (r.hessian(a * (1 + h)) - r.hessian(a * (1 - h))) / (2 * h * a)) for a in xs]
    note(
        "hessian",
        mirror_map.hessian(x),
        [(r.hessian(a), c) for a, c in zip(xs, slope, strict=True)],
    )
    note(
        "bregman",
        mirror_map.bregman_entries(x, y),
        [
            (
                r.bregman(a, b),
                abs(a * (r.to_dual(a) - r.to_dual(b))) + abs(b * (a - b) * r.hessian(b)),
            )
            for a, b in zip(xs, ys, strict=True)
        ],
    )
    entries = []
    for a, d in zip(xs, ds, strict=True):
        target = r.step(a, d)
        entries.append(
            (target, (abs(a) * r.hessian(a) + abs(d)) / r.hessian(target) if target else mp.mpf(0))
        )
    note("step", mirror_map.step(x, delta), entries)
    return worst

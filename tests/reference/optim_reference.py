"""Textbook mirror descent and mirror AdamW in NumPy: one tensor, float64, the dual kept openly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Pair = tuple[Callable[[Array], Array], Callable[[Array], Array]]


def geometry(name: str, *args: Any) -> Pair:
    """`(∇R, ∇R*)` by name and fields, from the formulas of the theory."""
    sign, mag = np.sign, np.abs
    if name == "Mixed":
        return mixed(*args)
    if name == "Spectral":
        scalar = geometry(*args)
        return (lambda x: spectral(x, scalar[0])), (lambda u: spectral(u, scalar[1]))
    (a,) = args or (1.0,)
    return {
        "Quadratic": (lambda x: x, lambda u: u),
        "Power": (
            lambda x: sign(x) * mag(x) ** (a - 1),
            lambda u: sign(u) * mag(u) ** (1 / (a - 1)),
        ),
        "HyperbolicEntropy": (lambda x: np.arcsinh(x / a), lambda u: a * np.sinh(u)),
        "Logarithmic": (
            lambda x: sign(x) * np.log1p(mag(x) / a),
            lambda u: sign(u) * a * np.expm1(mag(u)),
        ),
        "Cosh": (lambda x: a * np.sinh(x / a), lambda u: a * np.arcsinh(u / a)),
        "Exponential": (lambda x: sign(x) * np.expm1(mag(x)), lambda u: sign(u) * np.log1p(mag(u))),
        "DoubleExponential": (
            lambda x: np.sinh(np.sinh(x)),
            lambda u: np.arcsinh(np.arcsinh(u)),
        ),
        "NegativeEntropy": (np.log, np.exp),
        "SimplexEntropy": (np.log, lambda u: np.exp(u) / np.exp(u).sum(a, keepdims=True)),
        "PNorm": (lambda x: power_of_norm(x, a), lambda u: power_of_norm(u, a / (a - 1))),
    }[name]


def power_of_norm(x: Array, p: float) -> Array:
    """The gradient of `½‖x‖_p²`."""
    norm = (np.abs(x) ** p).sum() ** (1 / p)
    return norm ** (2 - p) * np.sign(x) * np.abs(x) ** (p - 1)


def spectral(x: Array, function: Callable[[Array], Array]) -> Array:
    u, s, v = np.linalg.svd(x, full_matrices=False)
    return u * function(s) @ v


def mixed(p: float, a: float, b: float) -> Pair:
    def to_dual(x: Array) -> Array:
        return a * x + b * np.sign(x) * np.abs(x) ** (p - 1)

    def to_primal(u: Array) -> Array:
        low, high = np.zeros_like(u), np.abs(u) / a
        for _ in range(200):
            middle = (low + high) / 2
            above = to_dual(middle) > np.abs(u)
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return np.sign(u) * (low + high) / 2

    return to_dual, to_primal


def decayed(x: Array, pair: Pair, amount: float, decay: str) -> Array:
    to_dual, to_primal = pair
    return (1 - amount) * x if decay == "primal" else to_primal((1 - amount) * to_dual(x))


def mirror_descent(
    x: Array,
    gradients: Sequence[Array],
    pair: Pair,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay: str = "primal",
    maximize: bool = False,
) -> Array:
    to_dual, to_primal = pair
    m = None
    for g in gradients:
        g = -g if maximize else g
        m = g if m is None else momentum * m + (1 - dampening) * g
        d = g + momentum * m if nesterov else (m if momentum else g)
        x = decayed(x, pair, lr * weight_decay, decay)
        x = to_primal(to_dual(x) - lr * d)
    return x


def mirror_adamw(
    x: Array,
    gradients: Sequence[Array],
    pair: Pair,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    decay: str = "primal",
    amsgrad: bool = False,
    maximize: bool = False,
) -> Array:
    to_dual, to_primal = pair
    m, v, largest = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, start=1):
        g = -g if maximize else g
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        v_hat = (largest if amsgrad else v) / (1 - betas[1] ** t)
        x = decayed(x, pair, lr * weight_decay, decay)
        x = to_primal(to_dual(x) - lr * m / (1 - betas[0] ** t) / (np.sqrt(v_hat) + eps))
    return x

"""The flow of one point by quadrature in mpmath: an oracle that shares nothing with the code.

One point x, label +1, linear model, exponential loss, w(0) = 0: the dual stays on the ray
`u = s x`, so `t = ∫_0^s exp(Σ_k x_k r*'(s x_k)) ds`, in the variable log s.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp

Inverse = Callable[[mp.mpf], mp.mpf]

INVERSES: dict[str, Inverse] = {
    "Quadratic()": lambda u: u,
    "Power(p=1.5)": lambda u: u**2,
    "Power(p=3.0)": mp.sqrt,
    "HyperbolicEntropy(beta=1.0)": mp.sinh,
    "HyperbolicEntropy(beta=0.01)": lambda u: mp.sinh(u) / 100,
    "Logarithmic(beta=1.0)": mp.expm1,
    "Cosh(scale=1.0)": mp.asinh,
    "Exponential()": mp.log1p,
    "DoubleExponential()": lambda u: mp.asinh(mp.asinh(u)),
}


def state_at(inverse: Inverse, x: tuple[float, ...], log_t: float) -> tuple[list[float], float]:
    """Weights and log loss at `exp(log_t)`."""
    with mp.workdps(30):

        def weights(r: mp.mpf) -> list[mp.mpf]:
            return [inverse(mp.e**r * v) for v in x]

        def exponent(r: mp.mpf) -> mp.mpf:
            return r + mp.fsum(v * w for v, w in zip(x, weights(r), strict=True))

        def log_time(r: mp.mpf) -> mp.mpf:
            h = mp.mpf("1e-8")
            slope = (exponent(r + h) - exponent(r - h)) / (2 * h)
            top = exponent(r)
            nodes = mp.linspace(r - 45 / slope, r, 4)
            return top + mp.log(mp.quad(lambda v: mp.e ** (exponent(v) - top), nodes))

        low, high = mp.mpf(-3), mp.mpf(0)
        while log_time(high) < log_t:
            low, high = high, high + max(mp.mpf(1), abs(high)) * mp.mpf("0.3")
        r = mp.findroot(lambda v: log_time(v) - log_t, (low, high), solver="anderson", tol=1e-24)
        w = weights(r)
        return [float(v) for v in w], -float(mp.fsum(a * b for a, b in zip(x, w, strict=True)))

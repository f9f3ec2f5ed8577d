"""The predicted laws of growth, map by map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mirrorflow.maps import (
    Cosh,
    DoubleExponential,
    Exponential,
    HyperbolicEntropy,
    Logarithmic,
    MirrorMap,
    Mixed,
)

__all__ = ["Prediction", "predict", "residual_scale"]

Norm = Literal["(log t/γ)^(1/L)", "log t/(1/s + γ)", "log log t"]


@dataclass(frozen=True)
class Prediction:
    """Limits along a fixed direction of margin γ.

    Attributes:
        norm: the law of Q; `norm_exponent` is `d log Q/d log log t` (`dQ/d log log t` for
            "log log t"), `norm_log_constant` the logarithm of its constant.
        time_exponent: a in `ℓ ~ t^{−a}`; NaN if the loss falls slower than any power.
        log_exponent: c in `ℓ ~ 1/(t (log t)^c)`; NaN if there is no such law.
        loss_log_constant: the logarithm of its constant; NaN if unknown.
        slowness: the relative correction is `slowness·Q/log t` (maps that vary rapidly).
        source: what to call it.
    """

    norm: Norm
    norm_exponent: float
    norm_log_constant: float
    time_exponent: float
    log_exponent: float
    loss_log_constant: float
    slowness: float
    degree: float
    source: str

    def slow(self, log_t: float, gamma: float) -> float:
        """The correction `Q/log t` of rapidly varying maps, at a time."""
        norm: float = (log_t / gamma) ** (1 / self.degree)
        return self.slowness * norm / log_t


def predict(mirror_map: MirrorMap, degree: float, gamma: float) -> Prediction:
    """The laws that follow from `dE/dt = L q e^{−q}` along a fixed direction of margin γ.

    - index α finite (p-homogeneous: α = p): `Q ~ (log t/γ)^{1/L}`,
      `ℓ ~ C/(t (log t)^{2−α/L})`, `C = (p−1)/(L² γ^{p/L})`, for index 1 `1/(L² γ^{1/L})`;
    - cosh, exponential (scale s), L = 1: `Q ~ log t/(1/s + γ)`, `ℓ ~ t^{−γ/(1/s+γ)}`;
      L >= 2: `Q ~ (log t/γ)^{1/L}`, `ℓ ~ 1/t` up to factors `e^Q`;
    - double exponential: `Q ~ log log t`; for L = 1 `ℓ ~ (log t)^{−γ}`.
    """
    nan = math.nan
    name = f"the laws of {mirror_map!r} at L = {degree:g}"
    if isinstance(mirror_map, DoubleExponential):
        return Prediction("log log t", 1.0, nan, nan, nan, nan, 0.0, degree, name)
    root = -math.log(gamma) / degree
    alpha = mirror_map.index
    if math.isinf(alpha):
        scale = mirror_map.scale if isinstance(mirror_map, Cosh) else 1.0
        known = isinstance(mirror_map, Cosh | Exponential)
        if degree == 1 and known:
            a = gamma / (1 / scale + gamma)
            constant = -math.log(1 / scale + gamma)
            return Prediction("log t/(1/s + γ)", 1.0, constant, a, nan, nan, 0.0, 1.0, name)
        return Prediction(
            "(log t/γ)^(1/L)", 1 / degree, root, 1.0, nan, nan, 1 / scale, degree, name
        )
    constant = nan
    if mirror_map.homogeneous:
        constant = math.log((alpha - 1) / degree**2) + alpha * root
    elif alpha == 1:
        constant = -2 * math.log(degree) + root
    return Prediction(
        "(log t/γ)^(1/L)", 1 / degree, root, 1.0, 2 - alpha / degree, constant, 0.0, degree, name
    )


def residual_scale(mirror_map: MirrorMap, log_gauge: float, log_margin: float) -> float:
    """The size of max(ε, δ, κ) that training is expected to reach at `Q(θ)` and `min q`.

    Once the direction of the flow is settled, what is left is of the order of

    - p-homogeneous: `1/q` (margins differ by O(1)), and `q^{−(p−1)}` for p < 2, where `|θ|^{p−1}`
      magnifies small entries; for the mixed map also `Q^{−|p−2|}`;
    - index 1, scale β: `1/log(Q/β)`, since duals differ by O(1) and grow like `log Q`;
    - index ∞, scale s: `s/Q`.

    Constants depend on the data; they are not promised.

    Args:
        mirror_map: the map of all parameters.
        log_gauge: `log Q(θ)`.
        log_margin: `log min_i q_i(θ)`.
    """
    alpha = mirror_map.index
    if math.isinf(alpha):
        scale = mirror_map.scale if isinstance(mirror_map, Cosh) else 1.0
        return min(1.0, scale * math.exp(-log_gauge))
    if alpha == 1:
        beta = 1.0
        if isinstance(mirror_map, HyperbolicEntropy | Logarithmic):
            beta = mirror_map.beta
        return 1 / max(1.0, log_gauge - math.log(beta))
    scale = math.exp(-log_margin * min(1.0, alpha - 1))
    if isinstance(mirror_map, Mixed):
        scale += math.exp(-abs(mirror_map.p - 2) * log_gauge)
    return min(1.0, scale)

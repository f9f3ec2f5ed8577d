"""The table of all maps: what each is, in one line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mirrorflow.checks import shown
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.cosh import Cosh
from mirrorflow.maps.double_exponential import DoubleExponential
from mirrorflow.maps.entropy import NegativeEntropy, SimplexEntropy
from mirrorflow.maps.exponential import Exponential
from mirrorflow.maps.hyperbolic_entropy import HyperbolicEntropy
from mirrorflow.maps.logarithmic import Logarithmic
from mirrorflow.maps.mixed import Mixed
from mirrorflow.maps.pnorm import PNorm
from mirrorflow.maps.power import Power
from mirrorflow.maps.quadratic import Quadratic
from mirrorflow.maps.scaled import Scaled
from mirrorflow.maps.schatten import SchattenHorizon
from mirrorflow.maps.spectral import Spectral

__all__ = ["Entry", "catalog", "describe"]


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        text: how `parse_map` reads it, with the symbols of its parameters.
        example: a map of the kind.
        dual: its dual map `u = ∇R(x)`.
        inverse: `x = ∇R*(u)`.
        index: the index of variation, in the symbols of `text`.
        horizon: the horizon, in the symbols of `text`.
        purpose: what it is for.
    """

    text: str
    example: MirrorMap
    dual: str
    inverse: str
    index: str
    horizon: str
    purpose: str


def describe(mirror_map: MirrorMap) -> Entry:
    """The row of one map: that of its kind, with its own index and horizon.

    Raises:
        ValueError: the map is of no kind in the catalog, such as a `Custom` one.
    """
    for kind in catalog():
        if type(kind.example) is type(mirror_map):
            break
    else:
        raise ValueError(f"mirror_map = {shown(mirror_map)} is of no kind in the catalog")
    try:
        index = f"{mirror_map.index:g}".replace("inf", "∞")
    except NoHorizonError:
        index = "none"
    return replace(
        kind, text=repr(mirror_map), example=mirror_map, index=index, horizon=_horizon(mirror_map)
    )


def _horizon(mirror_map: MirrorMap) -> str:
    try:
        found = mirror_map.horizon()
    except NoHorizonError:
        return "none on R^d"
    kind = "Schatten-" if isinstance(found, SchattenHorizon) else "ℓ"
    return f"{kind}{found.order:g}".replace("inf", "∞")


def catalog() -> tuple[Entry, ...]:
    """All maps that can be written as text, in the order of the theory."""
    return (
        Entry("quadratic", Quadratic(), "x", "u", "2", "ℓ2", "gradient flow, the baseline"),
        Entry(
            "power(p)",
            Power(3),
            "sgn x |x|^(p-1)",
            "sgn u |u|^(1/(p-1))",
            "p",
            "ℓp",
            "sparse to dense by one number, p near 1 to p large",
        ),
        Entry(
            "hyperbolic_entropy(beta)",
            HyperbolicEntropy(),
            "asinh(x/β)",
            "β sinh u",
            "1",
            "ℓ1",
            "sparse features; smooth at 0, the first choice for ℓ1",
        ),
        Entry(
            "logarithmic(beta)",
            Logarithmic(),
            "sgn x log(1+|x|/β)",
            "sgn u β expm1|u|",
            "1",
            "ℓ1",
            "another potential with the same ℓ1 limit",
        ),
        Entry(
            "mixed(p, a, b)",
            Mixed(),
            "a x + b sgn x |x|^(p-1)",
            "Newton",
            "max(2, p)",
            "ℓmax(2,p)",
            "a power without the flat point at 0; a perturbed quadratic",
        ),
        Entry(
            "cosh(scale)",
            Cosh(),
            "s sinh(x/s)",
            "s asinh(u/s)",
            "∞",
            "ℓ∞",
            "dense features: the largest weight is what counts",
        ),
        Entry(
            "exponential",
            Exponential(),
            "sgn x expm1|x|",
            "sgn u log(1+|u|)",
            "∞",
            "ℓ∞",
            "another potential with the same ℓ∞ limit",
        ),
        Entry(
            "double_exponential",
            DoubleExponential(),
            "sinh(sinh x)",
            "asinh(asinh u)",
            "∞",
            "ℓ∞",
            "the slowest: a linear model's loss falls like (log t)^-γ",
        ),
        Entry(
            "p_norm(p)",
            PNorm(3),
            "∇ ½‖x‖_p²",
            "∇ ½‖u‖_p*²",
            "2",
            "ℓp",
            "the ℓp limit with the growth of the quadratic map",
        ),
        Entry(
            "spectral(map)",
            Spectral(Power(3)),
            "U r'(σ) Vᵀ",
            "U r*'(σ) Vᵀ",
            "of map",
            "Schatten",
            "low rank (map of index 1) or flat spectra of matrices",
        ),
        Entry(
            "scaled(map, weight)",
            Scaled(Power(3), 2.0),
            "w r'(x)",
            "r*'(u/w)",
            "of map",
            "of map",
            "a time scale of its own for a layer",
        ),
        Entry(
            "negative_entropy",
            NegativeEntropy(),
            "log x",
            "e^u",
            "1",
            "none on R^d",
            "positive parameters: exponentiated gradient",
        ),
        Entry(
            "simplex_entropy(dim)",
            SimplexEntropy(),
            "log x",
            "softmax u",
            "none",
            "none on R^d",
            "probabilities: exponentiated gradient on the simplex",
        ),
    )

"""One network, or several, measured in every norm: whose margin is it that was maximised?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_integer, as_number, shown
from mirrorflow.diagnostics.margin import margin
from mirrorflow.maps import (
    Horizon,
    HorizonLike,
    LpHorizon,
    MaxOverTensors,
    MirrorMap,
    SchattenHorizon,
    as_map,
)
from mirrorflow.tabular import aligned, data_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MarginProfile", "margin_profile"]


@dataclass(frozen=True)
class MarginProfile:
    """The margins of nets (rows) in norms (columns); it prints as a table of `relative`.

    Attributes:
        nets: the names of the nets, (n,).
        horizons: the names of the norms, (k,).
        margins: `min_i q_i(θ)/Q(θ)^L`, (n, k).
        largest: the largest known margin in each norm, (k,).
        misclassified: points with `q_i <= 0`, (n,).
        degree: L.
    """

    nets: tuple[str, ...]
    horizons: tuple[str, ...]
    margins: Array
    largest: Array
    misclassified: tuple[int, ...]
    degree: float

    @property
    def relative(self) -> Array:
        """`margins/largest`, (n, k): 1 where no larger margin is known; NaN where that is 0."""
        known = np.where(self.largest > 0, self.largest, math.nan)
        found: Array = self.margins / known
        return found

    @property
    def best(self) -> dict[str, str]:
        """For each norm the net whose margin in it is largest."""
        rows = self.margins.argmax(0)
        return {name: self.nets[row] for name, row in zip(self.horizons, rows, strict=True)}

    def to_pandas(self) -> pd.DataFrame:
        """A row for each net and norm: `net, horizon, margin, largest, relative`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        relative = self.relative
        return data_frame(
            [
                {
                    "net": net,
                    "horizon": horizon,
                    "margin": float(self.margins[i, k]),
                    "largest": float(self.largest[k]),
                    "relative": float(relative[i, k]),
                }
                for i, net in enumerate(self.nets)
                for k, horizon in enumerate(self.horizons)
            ]
        )

    def __str__(self) -> str:
        relative = self.relative
        rows = [
            [net, *(f"{value:.4f}" for value in relative[i])] for i, net in enumerate(self.nets)
        ]
        rows.append(["largest margin", *(f"{value:.4g}" for value in self.largest)])
        return aligned(["margin, relative", *self.horizons], rows)


def margin_profile(
    net: nn.Module | Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    horizons: Sequence[HorizonLike | MirrorMap | str] | Mapping[str, HorizonLike | MirrorMap | str],
    *,
    largest: Mapping[str, float] | None = None,
    batch_size: int = 4096,
) -> MarginProfile:
    """The margin `min_i q_i(θ)/Q(θ)^L` under each of several norms Q.

    You want it to see which norm a training method served. A method that maximises the margin in
    one norm has the largest margin of all methods there, and smaller ones elsewhere.

    Args:
        net: a homogeneous net, or several by name, all with the same outputs.
        x: (n, …) points.
        y: (n,) labels.
        horizons: the norms: horizons of parameters, `MaxOverTensors`, or maps (also as text), which
            stand for their horizons. A mapping gives them names of its own.
        largest: the largest margin known in a norm, by its name, such as `exact.max_margin` gives
            for a linear net; without it, and where a net's own is larger, the largest of the nets.
        batch_size: points at a time.

    Raises:
        ValueError: no nets, no horizons, two of one name, a `largest` that names none of them, or
            what `margin` refuses.
        TypeError: not nets, or not horizons.
        NotHomogeneousError: see `margin`.
        NoHorizonError: a map without a horizon.
    """
    nets = net if isinstance(net, Mapping) else {"net": net}
    if not nets:
        raise ValueError("net is an empty mapping; pass a net, or several by name")
    chosen = _named(horizons)
    batch_size = as_integer(batch_size, "batch_size", least=1)
    known = _known(largest, chosen)
    rows, missed, degree = [], [], math.nan
    for module in nets.values():
        found = [margin(module, x, y, h, batch_size=batch_size) for h in chosen.values()]
        rows.append([one.margin for one in found])
        missed.append(found[0].misclassified)
        if degree == degree and found[0].degree != degree:
            raise ValueError(
                f"net holds nets of degrees {degree:g} and {found[0].degree:g}, whose margins "
                "cannot be compared; pass nets of one degree"
            )
        degree = found[0].degree
    margins = np.array(rows)
    best = np.array([known.get(name, -math.inf) for name in chosen])
    return MarginProfile(
        tuple(str(name) for name in nets),
        tuple(chosen),
        margins,
        np.maximum(margins.max(0), best),
        tuple(missed),
        degree,
    )


def _named(horizons: Any) -> dict[str, Any]:
    """The norms by name.

    Raises:
        TypeError, ValueError: see `margin_profile`.
    """
    if isinstance(horizons, Mapping):
        given = [(str(name), value) for name, value in horizons.items()]
    elif isinstance(horizons, Sequence) and not isinstance(horizons, str | bytes):
        given = [("", value) for value in horizons]
    else:
        raise TypeError(
            f"horizons = {shown(horizons)} is a {type(horizons).__name__}; pass a list of "
            "horizons, or a mapping from names to them"
        )
    if not given:
        raise ValueError("horizons is empty; pass at least one, such as [LpHorizon(2)]")
    chosen: dict[str, Any] = {}
    for name, value in given:
        if not isinstance(value, Horizon | MaxOverTensors | MirrorMap | str):
            raise TypeError(
                f"horizons holds {shown(value)}, a {type(value).__name__}; pass horizons, such as "
                "LpHorizon(2), or maps"
            )
        norm = as_map(value, "horizons") if isinstance(value, str) else value
        key = name or _label(norm)
        if key in chosen:
            raise ValueError(f"horizons holds {key!r} twice; pass a mapping with names of your own")
        chosen[key] = norm
    return chosen


def _label(norm: HorizonLike | MirrorMap) -> str:
    if isinstance(norm, MaxOverTensors) and isinstance(norm.horizon, Horizon):
        return f"max {_label(norm.horizon)}"
    if isinstance(norm, LpHorizon):
        return "ℓ∞" if math.isinf(norm.p) else f"ℓ{norm.p:g}"
    if isinstance(norm, SchattenHorizon):
        return "spectral" if math.isinf(norm.p) else f"Schatten {norm.p:g}"
    return repr(norm)


def _known(largest: Any, chosen: Mapping[str, Any]) -> dict[str, float]:
    if largest is None:
        return {}
    if not isinstance(largest, Mapping):
        raise TypeError(
            f"largest = {shown(largest)} is a {type(largest).__name__}; pass a mapping from the "
            "names of horizons to margins"
        )
    for name in largest:
        if name not in chosen:
            raise ValueError(f"largest[{shown(name)}] is none of the horizons {list(chosen)}")
    return {name: as_number(value, f"largest[{name!r}]") for name, value in largest.items()}

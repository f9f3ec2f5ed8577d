"""How sparse a net is, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.checks import as_choice, shown
from mirrorflow.diagnostics import Features
from mirrorflow.plot.theme import MARKERS, new_axes, paint, styled
from mirrorflow.sparse.report import Sparsity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["features"]

_HIDDEN = {
    "participation": "participation ratio of the units",
    "alive": "share of units that are alive",
    "zero_activations": "share of zero activations",
    "effective_rank": "effective rank of the features",
    "cka_movement": "movement of the features, 1 − CKA",
}
_WEIGHTS = {
    "above": "share of weights above 1e-3 of the largest",
    "hoyer": "Hoyer sparsity of the weights",
}
_ENTRIES = {
    "participation": "participation ratio of the weights",
    "zeros": "share of weights that are 0",
    "above_1e3": "share of weights above 1e-3 of the largest",
    "above_1e2": "share of weights above 1e-2 of the largest",
}


@styled
def features(
    measured: Features | Sparsity | Mapping[str, Features] | Mapping[str, Sparsity],
    measure: str = "participation",
    *,
    ax: Axes | None = None,
) -> Axes:
    """One measure of sparsity for every layer, of one net or of several side by side.

    Args:
        measured: what `mirrorflow.features` or `mirrorflow.sparse.report` returned, or several by
            the name to show; all of the same layers.
        measure: of `Features`: "participation", "alive", "zero_activations", "effective_rank",
            "cka_movement" (hidden layers), "above" or "hoyer" (weights). Of `Sparsity`:
            "participation", "zeros", "above_1e3" or "above_1e2".
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, the first layer at the top.

    Raises:
        TypeError, ValueError: something else than such records, an unknown measure, nets of other
            layers, or a measure that was not taken.
        MissingExtraError: matplotlib is not installed.
    """
    named = measured if isinstance(measured, Mapping) else {"": measured}
    if not named:
        raise ValueError("measured is empty; pass what mirrorflow.features returned")
    tables = {str(name): _values(each, measure) for name, each in named.items()}
    layers = list(next(iter(tables.values()))[1])
    for name, (_, values) in tables.items():
        if list(values) != layers:
            raise ValueError(
                f"measured[{name!r}] has layers {list(values)}, the first has {layers}; compare "
                "nets of the same layers"
            )
    if not layers:
        raise ValueError(f"measured has no hidden layer; a measure of weights, not {measure!r}")
    ax = new_axes(ax, height=0.5 + 0.11 * len(layers))
    at = np.arange(len(layers))
    spread = 0.5 / len(tables)
    for k, (name, (_, values)) in enumerate(tables.items()):
        ax.plot(
            list(values.values()),
            at + spread * (k - (len(tables) - 1) / 2),
            MARKERS[k % len(MARKERS)],
            color=paint(ax, k),
            markersize=7,
            label=name,
        )
    ax.set_yticks(at, layers)
    ax.set_ylim(len(layers) - 0.5, -0.5)
    label = next(iter(tables.values()))[0]
    ax.set_xlabel(label)
    ax.set_xlim(0, None if measure == "effective_rank" else 1.02)
    if len(tables) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(tables), 3))
    return ax


def _values(each: Any, measure: Any) -> tuple[str, dict[str, float]]:
    """The label of a measure, and its value by layer."""
    if isinstance(each, Sparsity):
        measure = as_choice(measure, "measure", tuple(_ENTRIES))
        scale = {layer.name: layer.entries if measure == "zeros" else 1 for layer in each.layers}
        return _ENTRIES[measure], {
            layer.name: getattr(layer, measure) / scale[layer.name] for layer in each.layers
        }
    if not isinstance(each, Features):
        raise TypeError(
            f"measured = {shown(each)} is a {type(each).__name__}; pass what mirrorflow.features "
            "or mirrorflow.sparse.report returned"
        )
    measure = as_choice(measure, "measure", (*_HIDDEN, *_WEIGHTS))
    layers: Mapping[str, Any] = each.hidden if measure in _HIDDEN else each.weights
    values = {name: getattr(layer, measure) for name, layer in layers.items()}
    if any(value is None for value in values.values()):
        raise ValueError(
            f"measured has no {measure}, which compares with the start; pass initial=net_at_start "
            "to mirrorflow.features"
        )
    return {**_HIDDEN, **_WEIGHTS}[measure], values

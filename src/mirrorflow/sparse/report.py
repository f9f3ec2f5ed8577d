"""How sparse the weights of a net are, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirrorflow.sparse.weights import Weight, acting
from mirrorflow.tabular import aligned

__all__ = ["LayerSparsity", "Sparsity", "report"]


@dataclass(frozen=True)
class LayerSparsity:
    """One weight tensor with d entries, of which w is the one that acts (behind a mask).

    Attributes:
        name: of the parameter.
        kind: "weight" or "embedding".
        shape: of the tensor.
        entries: d.
        zeros: how many are exactly 0.
        above_1e3: share of entries larger than 1e-3 of the largest, by magnitude.
        above_1e2: the same for 1e-2.
        participation: `(Σ|w|)²/(d Σw²)`: 1 if all have one size, 1/d for a single entry.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    entries: int
    zeros: int
    above_1e3: float
    above_1e2: float
    participation: float


@dataclass(frozen=True)
class Sparsity:
    """The weights of a net, layer by layer; printed, a table.

    Attributes:
        layers: one `LayerSparsity` for each weight and embedding.
        rest: entries of all other parameters (normalisation, biases, scalars), which stay dense.
    """

    layers: tuple[LayerSparsity, ...]
    rest: int

    @property
    def entries(self) -> int:
        """Of all layers."""
        return sum(layer.entries for layer in self.layers)

    @property
    def zeros(self) -> int:
        """Exact zeros in all layers."""
        return sum(layer.zeros for layer in self.layers)

    @property
    def share(self) -> float:
        """Share of exact zeros among the entries of all layers."""
        return self.zeros / self.entries if self.entries else 0.0

    def __str__(self) -> str:
        header = ("layer", "shape", "entries", "zero", "> 1e-3 max", "> 1e-2 max", "participation")
        rows = [
            (
                layer.name,
                "x".join(map(str, layer.shape)),
                f"{layer.entries:,}",
                f"{layer.zeros / layer.entries:.1%}",
                f"{layer.above_1e3:.1%}",
                f"{layer.above_1e2:.1%}",
                f"{layer.participation:.3f}",
            )
            for layer in self.layers
        ]

        def mean(values: list[float]) -> float:
            pairs = zip(values, self.layers, strict=True)
            return sum(v * layer.entries for v, layer in pairs) / max(self.entries, 1)

        rows.append(
            (
                "all layers",
                "",
                f"{self.entries:,}",
                f"{self.share:.1%}",
                f"{mean([layer.above_1e3 for layer in self.layers]):.1%}",
                f"{mean([layer.above_1e2 for layer in self.layers]):.1%}",
                "",
            )
        )
        text = aligned(header, rows, left=2)
        note = f"{self.rest:,} entries of normalisation, biases and scalars are not counted"
        return f"{text}\n{note}" if self.rest else text


@torch.no_grad()
def report(net: nn.Module) -> Sparsity:
    """Look at the weights of any net; nothing is changed, and no data is needed.

    Args:
        net: any module, masked or not.

    Returns:
        A `Sparsity`; print it.

    Raises:
        TypeError: not a module.
        ValueError: NaN or infinite weights, or a net without weights.
    """
    every = acting(net)
    listed = [w for w in every if w.kind in ("weight", "embedding") and w.value.numel()]
    if not listed:
        raise ValueError("net has no weights of layers and no embeddings; there is nothing to see")
    counted = {id(w) for w in listed}
    rest = sum(w.value.numel() for w in every if id(w) not in counted)
    return Sparsity(tuple(_measure(w) for w in listed), rest)


def _measure(weight: Weight) -> LayerSparsity:
    value = weight.value
    size = value.abs().double()
    top = float(size.max())
    above = [float((size > share * top).double().mean()) for share in (1e-3, 1e-2)]
    return LayerSparsity(
        weight.name,
        weight.kind,
        tuple(value.shape),
        value.numel(),
        int((value == 0).sum()),
        above[0],
        above[1],
        _participation(size, top),
    )


def _participation(size: Tensor, top: float) -> float:
    if top == 0:
        return 0.0
    size = size / top  # squares of tiny weights would vanish
    return float(size.sum()) ** 2 / (size.numel() * float(size.square().sum()))

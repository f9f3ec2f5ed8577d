"""The linear model, the homogeneous net of degree one."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from mirrorflow.checks import as_flag
from mirrorflow.nets.base import HomogeneousNet, flatten_input
from mirrorflow.nets.init import as_classes, as_generator, as_size, empty_weight, normal_

__all__ = ["Linear"]


class Linear(HomogeneousNet):
    """`f(w; x) = ⟨w, x⟩`, degree `L = 1`.

    Args:
        d: number of input features.
        classes: None for a binary net with `weight` of shape (d,), else C classes and (C, d).
        bias: append the constant input 1; its weight is the last entry of `weight`.
        generator: source of the initial weights, `N(0, 1/d)`; None takes torch's global one.

    Raises:
        ValueError, TypeError: d < 1, classes < 2, or another bad argument, by its name.
    """

    def __init__(
        self,
        d: int,
        classes: int | None = None,
        *,
        bias: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        d, classes = as_size(d, "d"), as_classes(classes)
        bias, generator = as_flag(bias, "bias"), as_generator(generator)
        self.d, self.bias = d, bias
        width = d + bias
        shape = (width,) if classes is None else (classes, width)
        self.weight = nn.Parameter(normal_(empty_weight(shape, "d"), width**-0.5, generator))

    @property
    def layer_degrees(self) -> dict[str, float]:
        """`{"weight": 1}`."""
        return {"weight": 1.0}

    @property
    def binary(self) -> bool:
        """True without `classes`."""
        return self.weight.ndim == 1

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) to (n,), or (n, C)."""
        return flatten_input(x, self.weight, bias=self.bias) @ self.weight.t()

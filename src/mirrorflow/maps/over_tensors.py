"""A norm of all parameters of a net: the largest, over its tensors, of a norm of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.assignment import key_for
from mirrorflow.maps.horizon import Horizon

__all__ = ["HorizonLike", "MaxOverTensors"]


@dataclass(frozen=True)
class MaxOverTensors:
    """`Q(θ) = max_b Q_b(W_b)` over the parameter tensors `W_b` of a net.

    You want it where an optimizer normalises each tensor on its own: steepest descent in this norm
    takes the steepest step of `Q_b` in every tensor. `MaxOverTensors(SchattenHorizon(inf))`, the
    largest spectral norm over the layers, is the norm of Muon; `MaxOverTensors(LpHorizon(2))` that
    of gradients that are normalised layer by layer; `MaxOverTensors(LpHorizon(inf))` is the ℓ∞
    norm of all parameters, that of sign descent. The dual is `Q°(g) = Σ_b Q_b°(g_b)`.

    Args:
        horizon: the horizon of every tensor, or a mapping to horizons from names of parameters or
            layers, or shell patterns (see `maps.assign`): `{"head": LpHorizon(inf),
            "*": SchattenHorizon(inf)}`.

    Raises:
        TypeError: not a `Horizon`, or a mapping to something else.
        ValueError: an empty mapping.

    Source: Large et al. 2024 (modular norm); Tsilivis et al. 2024; Gronich & Vardi 2026.
    """

    horizon: Horizon | Mapping[str, Horizon]
    _by_key: Mapping[str, Horizon] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = self.horizon
        by_key = {"*": given} if not isinstance(given, Mapping) else dict(given)
        if not by_key:
            raise ValueError(
                "horizon is an empty mapping; name a horizon for the parameters, such as "
                '{"*": LpHorizon(2)}'
            )
        for key, value in by_key.items():
            where = "horizon" if not isinstance(given, Mapping) else f"horizon[{shown(key)}]"
            if not isinstance(key, str):
                raise TypeError(f"horizon has the key {shown(key)}; its keys are names of tensors")
            if not isinstance(value, Horizon):
                raise TypeError(
                    f"{where} = {shown(value)} is not a Horizon of one tensor; pass one, such as "
                    "LpHorizon(2) or SchattenHorizon(inf)"
                )
        if isinstance(given, Mapping):
            object.__setattr__(self, "horizon", MappingProxyType(by_key))
        object.__setattr__(self, "_by_key", MappingProxyType(by_key))

    def of(self, names: Iterable[str]) -> dict[str, Horizon]:
        """The horizon of each tensor, by its name.

        Raises:
            ValueError: a tensor without a horizon, or a key that covers none.
        """
        names = list(names)
        chosen = {name: key_for(self._by_key, name) for name in names}
        for name, key in chosen.items():
            if key is None:
                raise ValueError(
                    f"horizon names none for the parameter {name!r} (it has {list(self._by_key)}, "
                    f'the net has {names}); add it, or a default under the key "*"'
                )
        for key in self._by_key:
            if key not in chosen.values():
                raise ValueError(f"horizon[{key!r}] covers no parameter; there are {names}")
        return {name: self._by_key[key] for name, key in chosen.items()}

    def gauge(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """`max_b Q_b(W_b)`, a scalar tensor, of tensors by their names."""
        return torch.stack(list(self.gauges(tensors).values())).max()

    def gauges(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`Q_b(W_b)` of each tensor."""
        tensors = _named(tensors, "tensors")
        return {k: h.gauge(tensors[k]) for k, h in self.of(tensors).items()}

    def dual_gauge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """`Q°(g) = Σ_b Q_b°(g_b)`, a scalar tensor."""
        gradients = _named(gradients, "gradients")
        parts = [h.dual_gauge(gradients[k]) for k, h in self.of(gradients).items()]
        return torch.stack(parts).sum()

    def subgradient(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One element of `∂Q(θ)`: `s_b/m` on the m tensors where the largest is attained, else 0.

        `Σ_b ⟨s_b, W_b⟩ = Q(θ)` and `Q°(s) = 1`; 0 where all tensors are 0.
        """
        gauges = self.gauges(tensors)
        top = torch.stack(list(gauges.values())).max()
        maximal = [name for name, gauge in gauges.items() if bool(gauge == top)]
        horizons = self.of(tensors)
        return {
            name: horizons[name].subgradient(value) / len(maximal)
            if name in maximal
            else torch.zeros_like(value)
            for name, value in tensors.items()
        }


def _named(value: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    good = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if not good:
        raise TypeError(
            f"{name} = {shown(value)} is not a mapping from names to tensors; pass "
            "dict(net.named_parameters())"
        )
    if not value:
        raise ValueError(f"{name} is empty; pass at least one tensor, by its name")
    return value


HorizonLike = Horizon | MaxOverTensors
"""A norm to measure a net in: of all its parameters, or the largest over its tensors."""

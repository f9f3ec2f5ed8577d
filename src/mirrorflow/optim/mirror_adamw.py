"""AdamW in the dual of a mirror map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypedDict, Unpack, overload

import torch
from torch import Tensor
from torch.compiler import is_compiling

from mirrorflow.checks import as_flag, as_number, shown
from mirrorflow.maps import MapLike
from mirrorflow.optim import rules
from mirrorflow.optim.base import LearningRate, MirrorOptimizer
from mirrorflow.optim.kernels import Options, fused_step, laid_out_as
from mirrorflow.optim.update import Update

__all__ = ["MirrorAdamW"]


class AdamWOptions(TypedDict, total=False):
    """The options of `MirrorAdamW` beside rate and map."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    decay: rules.Decay
    amsgrad: bool
    maximize: bool
    compiled: bool | None
    check_finite: bool
    fused: bool | None


class MirrorAdamW(MirrorOptimizer):
    """`∇R(θ) ← ∇R(θ) − lr·m̂/(√v̂ + ε)`: Adam's bias-corrected direction, applied in the dual.

    `m ← β₁ m + (1−β₁) g`, `v ← β₂ v + (1−β₂) g²`, `m̂ = m/(1−β₁ᵗ)`, `v̂ = v/(1−β₂ᵗ)`. With
    `HyperbolicEntropy(β)` it joins adaptive steps with an ℓ1 bias.

    Args:
        params: parameters, named parameters or groups, as in torch.
        lr: as in `MirrorDescent`. The first step moves every dual entry by about lr.
        mirror_map: as in `MirrorDescent`.
        betas: `(β₁, β₂)`, each in [0, 1).
        eps: ε ≥ 0.
        weight_decay: decoupled, λ ≥ 0.
        decay: "primal" (as AdamW) or "dual" (see `rules.mirror_step`).
        amsgrad: use the largest v so far.
        maximize: ascend.
        compiled: as in `MirrorDescent`.
        check_finite: as in `MirrorDescent`.
        fused: only for those who pass torch's arguments on: True is refused.

    Reduces to: `torch.optim.AdamW` (bitwise without kernels) for `Quadratic()`.

    Does not promise: the horizon of the map. Adam scales the gradient entry by entry, so the
    implicit bias is that of the preconditioned flow, on top of which the map sparsifies.

    Raises:
        ValueError: an option outside its range; no kernel for it with `compiled=True`.
        TypeError: parameters that are not real floating-point, or something that is no map.
        MirrorFlowError: the kernels of `compiled=True` cannot be had here.

    Source: Loshchilov & Hutter 2019; the dual step as in `MirrorDescent`.
    """

    state_names: ClassVar[frozenset[str]] = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq"})

    @overload
    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        lr: LearningRate,
        *,
        mirror_map: MapLike | str,
        **options: Unpack[AdamWOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: LearningRate | None = None,
        *,
        mirror_map: MapLike | str | None = None,
        **options: Unpack[AdamWOptions],
    ) -> None: ...
    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate | None = None,
        *,
        mirror_map: MapLike | str | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        decay: rules.Decay = "primal",
        amsgrad: bool = False,
        maximize: bool = False,
        compiled: bool | None = None,
        check_finite: bool = False,
        fused: bool | None = None,
    ) -> None:
        options = {
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decay": decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "compiled": compiled,
            "check_finite": check_finite,
            "fused": fused,
        }
        super().__init__(params, lr, mirror_map, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        group["eps"] = as_number(group["eps"], "eps", least=0)
        group["amsgrad"] = as_flag(group["amsgrad"], "amsgrad")
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas = {shown(betas)}; pass a pair of numbers, (0.9, 0.999)")
        group["betas"] = tuple(
            as_number(beta, f"betas[{i}]", least=0, below=1) for i, beta in enumerate(betas)
        )

    def _state_of(self, update: Update) -> dict[str, Any]:
        state: dict[str, Any] = self.state[update.parameter]
        if "step" not in state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(update.x)
            state["exp_avg_sq"] = torch.zeros_like(update.x)
            if update.group["amsgrad"]:
                state["max_exp_avg_sq"] = torch.zeros_like(update.x)
        return state

    def _obstacle(self, group: dict[str, Any]) -> str | None:
        return "amsgrad = True has none" if group["amsgrad"] else super()._obstacle(group)

    def _fuse(self, group: dict[str, Any], updates: list[Update], lr: float) -> None:
        states = [self._state_of(update) for update in updates]
        for update, state in zip(updates, states, strict=True):
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = laid_out_as(state[key], update.x)
        torch._foreach_add_([state["step"] for state in states], 1)
        beta1, beta2 = group["betas"]
        counts = [state["step"].item() for state in states]
        how = {
            t: Options.of(
                group,
                lr,
                lr=lr / (1 - beta1**t),
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                root_correction=(1 - beta2**t) ** 0.5,
            )
            for t in set(counts)
        }
        fused_step(
            group["mirror_map"],
            [u.x for u in updates],
            [u.direction for u in updates],
            [how[t] for t in counts],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
        )

    def _direction(self, update: Update) -> None:
        group, state = update.group, self._state_of(update)
        state["step"] += 1
        update.denominator, update.correction, first, second, largest = rules.adam(
            update.direction,
            state["exp_avg"],
            state["exp_avg_sq"],
            # 1 − β₂ᵗ would keep four digits in float32
            state["step"].double() if is_compiling() else state["step"].item(),
            betas=group["betas"],
            eps=group["eps"],
            largest=state["max_exp_avg_sq"] if group["amsgrad"] else None,
        )
        state["exp_avg"], state["exp_avg_sq"], update.direction = first, second, first
        if largest is not None:
            state["max_exp_avg_sq"] = largest

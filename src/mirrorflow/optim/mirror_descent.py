"""Mirror descent as a torch optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypedDict, Unpack, overload

import torch
from torch import Tensor

from mirrorflow.checks import as_flag, as_number
from mirrorflow.maps import MapLike
from mirrorflow.optim import rules
from mirrorflow.optim.base import LearningRate, MirrorOptimizer
from mirrorflow.optim.kernels import Options, fused_step, laid_out_as
from mirrorflow.optim.update import Update

__all__ = ["MirrorDescent"]


class DescentOptions(TypedDict, total=False):
    """The options of `MirrorDescent` beside rate and map."""

    momentum: float
    nesterov: bool
    dampening: float
    weight_decay: float
    decay: rules.Decay
    maximize: bool
    compiled: bool | None
    check_finite: bool
    fused: bool | None


class MirrorDescent(MirrorOptimizer):
    """`∇R(θ) ← ∇R(θ) − lr·d`: gradient descent in the dual of a mirror map, in place of `SGD`.

    With momentum, `m ← μ m + (1−τ) g` lives in the dual and `d = m` (`g + μ m` if nesterov). The
    step is the explicit Euler step of mirror flow; no dual variable is stored.

    Args:
        params: parameters, named parameters or groups, as in torch. A group may name its own
            `mirror_map` and every other option.
        lr: the step ≥ 0 (a number or a tensor of one number), or "auto" = `RelativeStep()`, or a
            `RelativeStep`: then one step for the whole net, `group["lr"]` is η, and nothing
            needs tuning. It may be left out if every group has its own (`param_groups`).
        mirror_map: the map R; or, with named parameters, a mapping from names, layers or patterns
            to maps (see `maps.assign`).
        momentum: μ ≥ 0.
        nesterov: look ahead; needs momentum > 0 and dampening = 0.
        dampening: τ.
        weight_decay: decoupled, λ ≥ 0.
        decay: "primal", `θ ← (1 − lr λ)θ`, or "dual", `u ← (1 − lr λ)u` (see `rules.mirror_step`).
        maximize: ascend.
        compiled: None takes the C++ kernels for nets of 32,768 weights or more, wherever there are
            some; True requires them, False never takes them (see docs/optimizers.md, "Paths").
        check_finite: look for NaN and infinite gradients before any parameter moves.
        fused: only for those who pass torch's arguments on: True is refused.

    Reduces to: `torch.optim.SGD` (bitwise without kernels) for `Quadratic()` without weight decay.

    Raises:
        ValueError: an option outside its range; no kernel for it with `compiled=True`.
        TypeError: parameters that are not real floating-point, or something that is no map.
        MirrorFlowError: the kernels of `compiled=True` cannot be had here.

    Source: Nemirovski & Yudin 1983; Beck & Teboulle 2003; arXiv 2605.19458.
    """

    state_names: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    @overload
    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        lr: LearningRate,
        *,
        mirror_map: MapLike | str,
        **options: Unpack[DescentOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: LearningRate | None = None,
        *,
        mirror_map: MapLike | str | None = None,
        **options: Unpack[DescentOptions],
    ) -> None: ...
    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate | None = None,
        *,
        mirror_map: MapLike | str | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        decay: rules.Decay = "primal",
        maximize: bool = False,
        compiled: bool | None = None,
        check_finite: bool = False,
        fused: bool | None = None,
    ) -> None:
        options = {
            "momentum": momentum,
            "nesterov": nesterov,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "decay": decay,
            "maximize": maximize,
            "compiled": compiled,
            "check_finite": check_finite,
            "fused": fused,
        }
        super().__init__(params, lr, mirror_map, options)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        group["momentum"] = as_number(group["momentum"], "momentum", least=0)
        group["dampening"] = as_number(group["dampening"], "dampening")
        group["nesterov"] = as_flag(group["nesterov"], "nesterov")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"nesterov needs momentum > 0 and dampening = 0, got momentum = "
                f"{group['momentum']}, dampening = {group['dampening']}"
            )

    def _fuse(self, group: dict[str, Any], updates: list[Update], lr: float) -> None:
        how: dict[bool, Options] = {}
        options, buffers = [], []
        for update in updates:
            first = False
            if group["momentum"]:
                state = self.state[update.parameter]
                first = "momentum_buffer" not in state
                if first:
                    state["momentum_buffer"] = torch.zeros_like(update.x)
                state["momentum_buffer"] = laid_out_as(state["momentum_buffer"], update.x)
                buffers.append(state["momentum_buffer"])
            if first not in how:
                how[first] = Options.of(
                    group,
                    lr,
                    momentum=group["momentum"],
                    gain=1 - group["dampening"],
                    nesterov=group["nesterov"],
                    first=first,
                )
            options.append(how[first])
        x, g = [u.x for u in updates], [u.direction for u in updates]
        fused_step(group["mirror_map"], x, g, options, buffers or None)

    def _direction(self, update: Update) -> None:
        group = update.group
        if group["momentum"] == 0:
            return
        state = self.state[update.parameter]
        update.direction, state["momentum_buffer"] = rules.heavy_ball(
            update.direction,
            state.get("momentum_buffer"),
            group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
        )

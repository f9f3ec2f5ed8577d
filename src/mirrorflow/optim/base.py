"""What every mirror optimizer shares: groups with their own maps, checks, master weights, state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, overload

import torch
from torch import Tensor
from torch.compiler import is_compiling

from mirrorflow.checks import as_choice, as_flag, as_function, as_number
from mirrorflow.maps import MapLike, as_map
from mirrorflow.optim import rules
from mirrorflow.optim.checks import (
    agreed_number,
    check_gradient,
    check_map,
    check_rate,
    groups_by_map,
    listed_parameters,
    refuse_fused,
)
from mirrorflow.optim.choice import as_compiled, refuse, require_kernels, wants_kernels
from mirrorflow.optim.kernels import generated_step, has_kernel, laid_out_as, misfit
from mirrorflow.optim.paths import joinable, step_blocked, step_joined
from mirrorflow.optim.relative import StepSearch
from mirrorflow.optim.saved import AS_TEXT, as_text, fitted
from mirrorflow.optim.sharded import is_flattened
from mirrorflow.optim.state import (
    LOW_PRECISION,
    keep_precision,
    keep_previous,
    master,
    restore_previous,
)
from mirrorflow.optim.step_size import RelativeStep
from mirrorflow.optim.update import Update

__all__ = ["LearningRate", "MirrorOptimizer"]

Value = TypeVar("Value")
LearningRate = float | Tensor | Literal["auto"] | RelativeStep


class MirrorOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` that steps in the dual of a mirror map.

    Contract: subclasses give `_direction(update)` and the `state_names` that it keeps for a
    parameter; everything else is here. `state_dict()` holds tensors, numbers and text only, so it
    loads with `weights_only=True`, and resumes bit for bit.
    """

    state_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate | None,
        mirror_map: MapLike | str | None,
        defaults: dict[str, Any],
    ) -> None:
        step_rule = RelativeStep() if isinstance(lr, str) and lr == "auto" else None
        if isinstance(lr, RelativeStep):
            step_rule = lr
        elif isinstance(lr, str) and lr != "auto":
            raise ValueError(f"lr = {lr!r}; pass a number >= 0, 'auto' or a RelativeStep(...)")
        refuse_fused(defaults.pop("fused"))
        params = listed_parameters(params)
        if isinstance(mirror_map, str):
            mirror_map = as_map(mirror_map)
        if isinstance(mirror_map, Mapping):
            params, mirror_map = groups_by_map(params, mirror_map), None
        options = {
            "lr": step_rule.eta if step_rule else lr,
            "mirror_map": mirror_map,
            "step_rule": step_rule,
            **defaults,
        }
        super().__init__(params, options)

    # -- the door ---------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; it may name its own `mirror_map` and every other option.

        Raises:
            ValueError: an option outside its range, or no map.
            TypeError: parameters that are not real floating-point, or something that is no map.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_group(group)
            if group["compiled"]:
                require_kernels(group, self._obstacle(group))
        except Exception:
            self.param_groups.pop()
            raise

    def _check_group(self, group: dict[str, Any]) -> None:
        if isinstance(group["mirror_map"], str):
            group["mirror_map"] = as_map(group["mirror_map"])
        check_map(group)
        for i, p in enumerate(group["params"]):
            if is_flattened(p) and not group["mirror_map"].separable:
                raise TypeError(
                    f"params[{i}] was flattened by FullyShardedDataParallel, and "
                    f"{group['mirror_map']!r} needs whole tensors; use fully_shard (FSDP2), which "
                    "keeps their shapes, or a map that acts entry by entry"
                )
        lr = group["lr"]
        check_rate(lr)
        if isinstance(lr, Tensor):
            if lr.numel() != 1:
                raise ValueError(f"Tensor lr must be 1-element, got {lr.numel()} entries")
            as_number(float(lr), "lr", least=0)
        else:
            group["lr"] = as_number(lr, "lr", least=0)
        group["weight_decay"] = as_number(group["weight_decay"], "weight_decay", least=0)
        as_choice(group["decay"], "decay", rules.decay_names())
        for flag in ("maximize", "check_finite"):
            group[flag] = as_flag(group[flag], flag)
        group["compiled"] = as_compiled(group["compiled"])
        if group["step_rule"] != self.defaults["step_rule"]:
            raise ValueError(
                "a group has its own step rule; the relative step is one scalar for the whole net "
                "(a step per group would change the horizon)"
            )

    # -- the step ---------------------------------------------------------------------------

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Value]) -> Value: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure returned.

        Args:
            closure: evaluates the net, calls `backward` and returns the loss. With a `RelativeStep`
                step rule it returns the *logarithm* of the loss (`losses.log_loss`), of which the
                gradients are taken too.

        Raises:
            TypeError: sparse or complex gradients.
            DivergedError: NaN or infinite gradients with `check_finite`, a NaN log loss, or no
                finite relative step. No parameter has moved then.
        """
        if self.defaults["step_rule"] is not None:
            # The relative step reads numbers at every step: no graph can hold them. Disabled here
            # and not by a decorator, which would import the compiler with this module.
            if is_compiling():
                return torch.compiler.disable(self._step_relative)(closure)  # type: ignore[no-untyped-call]
            return self._step_relative(closure)
        loss = _evaluate(closure)
        updates = self._updates()
        for group in self.param_groups:
            self._step_group(group, [u for u in updates if u.group is group])
        return loss

    def _step_relative(self, closure: Callable[[], Any] | None) -> Any:
        rule: RelativeStep = self.defaults["step_rule"]
        loss = _evaluate(closure)
        if rule.reject and closure is not None:
            loss = self._take_back(loss, closure, rule)
        updates = self._updates()
        if not updates:
            return loss
        if closure is None:
            self._relative().forget()
        for update in updates:
            if rule.reject and closure is not None:
                keep_previous(update.parameter, self.state[update.parameter])
            self._turn(update)
        for update, moved in zip(updates, self._relative().step(rule, updates), strict=True):
            update.write(moved)
        return loss

    def _step_group(self, group: dict[str, Any], updates: list[Update]) -> None:
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.device.type == "cpu" and not is_compiling():
            lr = lr.item()
        if not is_compiling():
            updates = self._step_fused(group, updates, lr)
        joined: dict[Any, list[Update]] = {}
        for update in updates:
            self._turn(update)
            if group["compiled"] and not is_compiling():
                reason = generated_step(update, lr)
                if reason is not None:
                    refuse(update, reason)
            elif joinable(update):
                key = (update.x.dtype, update.x.device, update.correction)
                joined.setdefault(key, []).append(update)
            else:
                step_blocked(update, lr)
        for together in joined.values():
            step_joined(together, lr)

    def _step_fused(self, group: dict[str, Any], updates: list[Update], lr: float) -> list[Update]:
        """Step what the kernels are to step and know; returns the rest."""
        batches: dict[torch.dtype, list[Update]] = {}
        rest = []
        for update in updates:
            reason = misfit(update.x, update.direction)
            if not (update.kernels and update.x.is_cpu):
                rest.append(update)
            elif reason is None and self._has_kernel(group):
                batches.setdefault(update.x.dtype, []).append(update)
            elif group["compiled"]:
                refuse(update, reason or "has a group whose options have none")
            else:
                rest.append(update)
        for batch in batches.values():
            for update in batch:
                update.direction = laid_out_as(update.direction, update.x)
            self._fuse(group, batch, lr)
            for update in batch:
                if update.x is not update.parameter:
                    update.parameter.copy_(update.x)
        return rest

    def _has_kernel(self, group: dict[str, Any]) -> bool:
        return self._obstacle(group) is None and has_kernel(group["mirror_map"])

    def _obstacle(self, group: dict[str, Any]) -> str | None:  # noqa: ARG002
        """Why no kernel can do what these options ask for, as the end of a sentence, or None."""
        return None

    def _fuse(self, group: dict[str, Any], updates: list[Update], lr: float) -> None:
        """The fused step of updates of one dtype, state included."""
        raise NotImplementedError

    def _turn(self, update: Update) -> None:
        if update.group["maximize"]:
            update.direction = update.direction.neg()
        self._direction(update)

    def _direction(self, update: Update) -> None:
        """Turn the gradient in `update.direction` into the direction, with the state's help."""
        raise NotImplementedError

    def with_gradient(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """Every parameter that has a gradient, checked, with its group."""
        found = []
        for group in self.param_groups:
            for i, p in enumerate(group["params"]):
                if check_gradient(group, i):
                    found.append((p, group))
        return found

    def _updates(self) -> list[Update]:
        """The start of a step: every gradient, with what it moves."""
        found = self.with_gradient()
        weights = sum(p.numel() for p, _ in found)
        return [self._begin(p, group, weights) for p, group in found]

    def _begin(self, p: Tensor, group: dict[str, Any], weights: int) -> Update:
        g = p.grad
        assert g is not None  # `with_gradient` has looked
        x = p
        if p.dtype in LOW_PRECISION:
            x, g = master(p, self.state[p]), g.float()
        return Update(p, x, g, group, kernels=wants_kernels(group["compiled"], weights))

    # -- the relative step ------------------------------------------------------------------

    def _relative(self) -> StepSearch:
        return StepSearch(self.param_groups, self.state)

    def _take_back(self, loss: Any, closure: Callable[[], Any], rule: RelativeStep) -> Any:
        relative = self._relative()
        if relative.accepts(agreed_number(loss), rule):
            return loss
        for group in self.param_groups:
            for p in group["params"]:
                restore_previous(p, self.state[p])
        loss = _evaluate(closure)
        relative.back_off(agreed_number(loss))
        return loss

    # -- the state --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As in torch, with maps and step rules written as text."""
        state_dict = super().state_dict()
        for group in state_dict["param_groups"]:
            for key in AS_TEXT:
                group[key] = as_text(group[key])
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch; the maps and step rules must be those of this optimizer.

        What the state does not hold is filled up from this optimizer's options, so that a state of
        `torch.optim.SGD` or `AdamW` goes on in `MirrorDescent` or `MirrorAdamW`. Parameters that
        were saved with their names are matched by name.

        Raises:
            TypeError: not a state dict.
            ValueError: another map or step rule, other parameters or shapes, or the state of
                another kind of optimizer.
        """
        fitting = fitted(state_dict, self.param_groups, self.state_names, type(self).__name__)
        own = [{key: group[key] for key in AS_TEXT} for group in self.param_groups]
        super().load_state_dict(fitting)
        for kept, group in zip(own, self.param_groups, strict=True):
            group.update(kept)
        groups = fitting["param_groups"]
        keep_precision(self.param_groups, self.state, groups, fitting["state"])


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    if not is_compiling():
        as_function(closure, "closure", "no argument that returns the loss")
    with torch.enable_grad():
        return closure()

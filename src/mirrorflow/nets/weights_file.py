"""Weights from a file that `torch.save` wrote, whatever the net was wrapped in at that time."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import as_net, shown
from mirrorflow.errors import RunError

__all__ = ["load_weights"]

# Where training scripts put the state dict, and what wrappers put before the names in it: DDP and
# DataParallel, torch.compile, and a module that holds the net as its attribute.
_PLACES = ("model_state_dict", "state_dict", "model", "net")
_WRAPPERS = ("module", "_orig_mod", "model", "net")


def load_weights(net: nn.Module, source: str | os.PathLike[str] | Mapping[str, Any]) -> None:
    """Load a state dict into `net`, all of it or nothing; no code in the file is run.

    The state dict may be the file itself, or stand in it under `model_state_dict`, `state_dict`,
    `model` or `net`, at any depth. Its names may carry the prefixes `module.`, `_orig_mod.`,
    `model.` and `net.` in any order, or lack those that the names of `net` have. Apart from these
    the names must be those of `net`, with the same shapes.

    Args:
        net: the module that receives the weights, in its own dtype.
        source: a file of `torch.save`, or what was saved.

    Raises:
        TypeError: `net` is not a module, or `source` neither a path nor a mapping.
        RunError: the file is missing, damaged, or holds a pickled module or other code; or names
            and shapes differ, and the message lists them as torch does.
    """
    as_net(net)
    if isinstance(source, Mapping):
        saved, label = source, "the state dict"
    elif isinstance(source, (str, os.PathLike)):
        saved, label = _read(Path(source)), str(source)
    else:
        raise TypeError(f"source = {shown(source)} is a {type(source).__name__}; pass a path")
    wanted = net.state_dict()
    found = _state_dicts(saved)
    if not found:
        holds = sorted(map(str, saved)) if isinstance(saved, Mapping) else type(saved).__name__
        raise RunError(
            f"{label} does not fit the net: it holds {shown(holds, limit=200)} and no state dict, "
            f"alone or under {', '.join(_PLACES)}; write torch.save(net.state_dict(), path)"
        )
    fitting = {}
    for place, state in found.items():
        renamed = _match(state, wanted)
        if renamed is not None and not _differences(renamed, wanted):
            fitting[place] = renamed
    if not fitting:
        raise RunError(f"{label} does not fit the net: {_explained(found, wanted)}")
    first, *others = fitting.values()
    if any(not _same(first, other) for other in others):
        raise RunError(
            f"{label} does not fit the net in one way: it holds different weights under "
            f"{' and '.join(fitting)}; pass the state dict that you mean"
        )
    net.load_state_dict(first)


def _read(path: Path) -> Any:
    say = f"{path} does not fit the net: "
    cure = "write the weights alone: torch.save(net.state_dict(), path)"
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise RunError(f"{say}it cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        what = re.search(r"GLOBAL ([\w.]+)", str(error))
        name = f", which asks for {what[1]}" if what else ""
        raise RunError(
            f"{say}it is corrupt, or holds a pickled module or other code{name} and is not run; "
            f"{cure}"
        ) from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise RunError(
            f"{say}it is damaged, or not a file of torch.save ({type(error).__name__}: "
            f"{shown(str(error).split('. ')[0], limit=120)}); {cure}"
        ) from error


def _state_dicts(saved: Any, place: str = "") -> dict[str, dict[str, Any]]:
    """Every state dict at one of the usual places, by its place."""
    if not isinstance(saved, Mapping) or not all(isinstance(key, str) for key in saved):
        return {}
    found: dict[str, dict[str, Any]] = {}
    if any(isinstance(value, Tensor) for value in saved.values()):
        found[place or "the file itself"] = dict(saved)
    for key in _PLACES:
        if key in saved:
            found |= _state_dicts(saved[key], f"{place}.{key}".strip("."))
    return found


def _match(state: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The entries under the names that the net has, if the two sets of names agree."""
    for names in _readings(list(wanted)):
        back = dict(zip(names, wanted, strict=True))
        for others in _readings(list(state)):
            if len(set(others)) == len(others) and set(others) == set(back):
                return {back[o]: v for o, v in zip(others, state.values(), strict=True)}
    return None


def _readings(names: list[str]) -> list[list[str]]:
    """The names as they are, and with the wrappers left out that all of them begin with; then the
    same without wrappers inside (a compiled or parallel part of a net)."""
    heads = [names]
    while True:
        parts = [name.partition(".") for name in heads[-1]]
        if len({head for head, _, _ in parts}) != 1 or parts[0][0] not in _WRAPPERS:
            break
        if not all(rest for _, _, rest in parts):
            break
        heads.append([rest for _, _, rest in parts])
    inner = [[_without(name, ("module", "_orig_mod")) for name in reading] for reading in heads]
    return [*heads, *inner]


def _without(name: str, wrappers: tuple[str, ...]) -> str:
    return ".".join(part for part in name.split(".") if part not in wrappers)


def _differences(state: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What keeps entries of the same name from being loaded, as torch says it."""
    out = []
    for name, here in wanted.items():
        there = state.get(name, here)
        if not isinstance(here, Tensor):
            continue
        if not isinstance(there, Tensor):
            out.append(f"{name} is a {type(there).__name__} and not a tensor.")
        elif there.shape != here.shape:
            out.append(
                f"size mismatch for {name}: copying a param with shape {there.shape} from "
                f"checkpoint, the shape in current model is {here.shape}."
            )
        elif (there.is_floating_point(), there.is_complex()) != (
            here.is_floating_point(),
            here.is_complex(),
        ):
            out.append(f"{name} has dtype {there.dtype} and in the net {here.dtype}.")
    return out


def _explained(found: dict[str, dict[str, Any]], wanted: dict[str, Any]) -> str:
    """The missing and unexpected names of the reading that comes closest."""
    best: tuple[int, str, dict[str, Any]] | None = None
    for place, state in found.items():
        for names in _readings(list(state)):
            common = len(set(names) & set(wanted))
            if best is None or common > best[0]:
                best = (common, place, dict(zip(names, state.values(), strict=True)))
    _, place, state = best or (0, "", {})
    missing = [f'"{name}"' for name in wanted if name not in state]
    unexpected = [f'"{name}"' for name in state if name not in wanted]
    parts = []
    if missing:
        parts.append(f"Missing key(s) in state_dict: {', '.join(missing)}.")
    if unexpected:
        parts.append(f"Unexpected key(s) in state_dict: {', '.join(unexpected)}.")
    parts += _differences(_match(state, wanted) or state, wanted)
    where = "" if place == "the file itself" else f" (under {place})"
    return f"{' '.join(parts)} Make the net as it was when the weights were saved{where}"


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        for name, value in one.items()
    )

"""What a run is: a frozen record that is written to and read from TOML."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mirrorflow.checks import as_choice, as_integer, as_number, shown
from mirrorflow.errors import RunError
from mirrorflow.maps import parse_map

__all__ = ["RunConfig", "flatten", "read_toml", "unknown_keys"]

_CHOICES = {
    "net": ("linear", "two_layer", "mlp", "cnn", "vgg", "residual"),
    "optimizer": ("mirror_descent", "mirror_adamw", "sgd", "adamw"),
    "schedule": ("constant", "linear", "cosine"),
    "loss": ("cross_entropy", "logistic", "exponential", "square"),
    "objective": ("auto", "loss", "log_loss"),
    "augment": ("none", "crop_flip"),
    "dtype": ("float32", "float64"),
    "device": ("cpu", "cuda", "auto"),
    "parallel": ("none", "ddp", "fsdp"),
}
_MOST = 2**53  # a float counts no further
_RANGES = {
    "steps": (1, _MOST),
    "epochs": (0, _MOST),
    "batch_size": (0, _MOST),
    "measure_points": (0, _MOST),
    "certify_margins": (0, _MOST),
    "certify_points": (0, _MOST),
    "seed": (0, 2**31 - 1),  # those of the minibatches follow from it, up to 2⁶³
    "threads": (1, 1024),
}
_OPTIONS = ("data_options", "net_options", "optimizer_options", "finish_options")


def unknown_keys(given: Iterable[object], known: Iterable[str]) -> str:
    """What a message says of keys that are not known, with the nearest known one; "" if all are."""
    known = list(known)
    unknown = sorted({str(key) for key in given if key not in known})
    if not unknown:
        return ""
    near = [difflib.get_close_matches(key, known, 1, 0.5) for key in unknown]
    hints = [f"{n[0]!r} for {key!r}" for key, n in zip(unknown, near, strict=True) if n]
    hint = f" (did you mean {', '.join(hints)}?)" if hints else ""
    return f"no key {unknown}; it takes {known}{hint}"


def read_toml(path: Path, what: str, cure: str) -> dict[str, Any]:
    """The tables of a TOML file, which an error calls `what` and asks to be `cure`.

    Raises:
        RunError: the file cannot be read or is no TOML.
    """
    try:
        if path.is_dir():
            raise RunError(f"the {what} {path} is a folder; pass {cure}")
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        message = f"the {what} {path} cannot be read ({error.strerror}); pass {cure}"
        raise RunError(message) from error
    except UnicodeDecodeError as error:
        raise RunError(
            f"the {what} {path} is no UTF-8 text (byte {error.start} is not); pass {cure}"
        ) from error
    except (ValueError, RecursionError) as error:
        # A TOMLDecodeError is a ValueError; so are numbers and dates that Python cannot hold.
        raise RunError(f"the {what} {path} is no TOML: {error}; pass {cure}") from error


@dataclass(frozen=True)
class RunConfig:
    """One training run; every field has a default and a check.

    Args:
        data: a name of `data.SOURCES` or a path to an .npz file.
        data_options: arguments of the data source, such as `n` and `seed`.
        net: "linear", "two_layer", "mlp", "cnn", "vgg" or "residual".
        net_options: arguments of the net: `hidden` (list of widths), `activation`, `eps`, `bias`,
            `init_scale`; `channels`, `kernel`, `pool` of a CNN; `depth`, `width` of a VGG;
            `channels`, `blocks` of a residual net.
        mirror_map: text such as "power(3)", or a table from layer names to such texts. With "sgd"
            and "adamw" it does not act, it only measures margins and balance.
        optimizer: "mirror_descent", "mirror_adamw", or torch's "sgd" and "adamw".
        lr: a number or, for the mirror optimizers, "auto": the relative step of `RelativeStep`, η =
            0.02 falling like a root for the full batch, η = 0.01 falling to 0 for minibatches.
        optimizer_options: further arguments of the optimizer; `eta` with lr = "auto".
        schedule: of a numeric lr over the steps: "constant", "linear" or "cosine" (to 0).
        loss: "cross_entropy", "logistic" or "exponential"; mean over points. "square" fits real
            targets ("sparse_targets", or an .npz file whose y holds floats): it takes a numeric lr,
            and its rows have no margins, certificates and accuracies (NaN) but `log10_test_loss`.
        objective: whose gradient is followed: "log_loss" (which does not vanish: the loss-scaled
            phase) or "loss"; "auto" is "log_loss" with lr = "auto", else "loss".
        batch_size: 0 is the full batch.
        augment: of minibatches: "none" or "crop_flip" (see `data.crop_flip`).
        steps: at most so many.
        epochs: passes over the training set, in place of `steps`; 0 takes `steps`.
        finish_options: not empty, full batches follow the minibatches, of which only the points
            that count are evaluated: `steps`, `eta`, `momentum`, `points`, `every` (see
            `finish.Finish`).
        until: thresholds of log10 loss, falling; the first state below each is measured, the run
            ends at the last. With minibatches the first *measured* state.
        measure_points: training points that a row of the metrics is measured on, evenly spaced in
            the set; 0 is all of them for the full batch, and for minibatches 2000, less in a short
            run (one in 64 points seen, at least 100). A row that reaches a threshold is measured
            on all; the last one on the whole test set, and on all training points if `until` is
            given or the run is long enough (see `train`); features on at most 1000 (full batch:
            on all of a set of up to 4096). Each row says on how many.
        certify_margins: every row has a KKT certificate (`epsilon`, `delta`) with multipliers on so
            many of the smallest margins of its points, once training has paid for it (4 % of its
            multiplications; 8 % for the last row and those that reach a threshold) and the
            points are separated; the column `certificate` says why there is none. 0 is none.
        certify_points: the last row and those that reach a threshold are certified on so many
            training points instead, evenly spaced, at any cost; 0 is none.
        dtype: "float32" or "float64".
        seed: of the initial weights and of the minibatches.
        threads: of torch while it trains; part of the run, because sums depend on it.
        device: "cpu", "cuda", or "auto", which is "cuda" where there is one. Runs are equal bit for
            bit on one kind of device only.
        parallel: how several processes (`torchrun`) share the run: "ddp", each with a part of every
            minibatch, "fsdp", each with a part of parameters and optimizer state too (FSDP2), or
            "none". Their number is no part of the run; sums are rounded in another order.

    Raises:
        ValueError, TypeError: a field that is out of range, named with its value.
    """

    data: str = "digits"
    data_options: dict[str, Any] = field(default_factory=dict)
    net: str = "mlp"
    net_options: dict[str, Any] = field(default_factory=dict)
    mirror_map: str | dict[str, str] = "quadratic"
    optimizer: Literal["mirror_descent", "mirror_adamw", "sgd", "adamw"] = "mirror_descent"
    lr: float | Literal["auto"] = "auto"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    loss: Literal["cross_entropy", "logistic", "exponential", "square"] = "cross_entropy"
    objective: Literal["auto", "loss", "log_loss"] = "auto"
    batch_size: int = 0
    augment: Literal["none", "crop_flip"] = "none"
    steps: int = 10_000
    epochs: int = 0
    finish_options: dict[str, Any] = field(default_factory=dict)
    until: tuple[float, ...] = (-2.0, -10.0)
    measure_points: int = 0
    certify_margins: int = 100
    certify_points: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    seed: int = 0
    threads: int = 1
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    parallel: Literal["none", "ddp", "fsdp"] = "none"

    def __post_init__(self) -> None:
        values: dict[str, Any] = {"data": _as_text(self.data, "data")}
        values["until"] = _thresholds(self.until)
        for name, allowed in _CHOICES.items():
            values[name] = as_choice(getattr(self, name), name, allowed)
        for name, (least, most) in _RANGES.items():
            values[name] = as_integer(getattr(self, name), name, least=least, most=most)
        for name in _OPTIONS:
            values[name] = _as_table(getattr(self, name), name)
        values["mirror_map"] = _as_map(self.mirror_map)
        if not isinstance(self.lr, str):
            values["lr"] = as_number(self.lr, "lr", above=0.0)
        elif self.lr != "auto":
            raise ValueError(f'lr = {shown(self.lr)}; pass a positive number or "auto"')
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.lr == "auto" and self.optimizer in ("sgd", "adamw"):
            raise ValueError(
                f'lr = "auto" is a rule of the mirror optimizers; give {self.optimizer} a number'
            )
        if self.lr == "auto" and self.schedule != "constant":
            raise ValueError(
                f'schedule = {self.schedule!r} with lr = "auto": the relative step has its own, '
                "constant for full batches and falling linearly for minibatches; leave schedule out"
            )
        if self.loss == "square" and self.follows_log_loss:
            raise ValueError(
                f'loss = "square" with lr = {self.lr!r} and objective = {self.objective!r}: steps '
                "relative to the loss never come to rest, where the square loss ends; give lr a "
                'number, and objective "loss"'
            )
        if self.augment != "none" and self.batch_size == 0:
            raise ValueError(f"augment = {self.augment!r} is for minibatches; set batch_size")
        if any(v > 0 for v in self.until):
            raise ValueError(
                f"until = {self.until}: thresholds of log10 loss above 0 are losses above 1, where "
                "training starts; pass negative ones, such as (-2, -10)"
            )
        falling = all(a > b for a, b in zip(self.until, self.until[1:], strict=False))
        if not falling or not all(math.isfinite(v) for v in self.until):
            raise ValueError(f"until = {self.until}; pass falling thresholds of log10 loss")

    def is_minibatch(self, n: int) -> bool:
        """Whether a step sees only a part of n training points."""
        return 0 < self.batch_size < as_integer(n, "n", least=1)

    def batches(self, n: int) -> int:
        """Steps in a pass over n training points: 1 for the full batch; the rest of a division
        is left out of the pass."""
        return n // self.batch_size if self.is_minibatch(n) else 1

    def main_steps(self, n: int) -> int:
        """Steps of the run on n training points, without those of `finish_options`."""
        return self.epochs * self.batches(n) if self.epochs else self.steps

    def total_steps(self, n: int) -> int:
        """Steps of the run on n training points."""
        more = 0
        if self.finish_options:
            given = self.finish_options.get("steps", 600)
            more = as_integer(given, "finish_options.steps", least=1)
        return self.main_steps(n) + more

    @property
    def follows_log_loss(self) -> bool:
        """Whether the gradient is that of the log loss."""
        return self.lr == "auto" if self.objective == "auto" else self.objective == "log_loss"

    def find_device(self, index: int = 0) -> torch.device:
        """The device of the run on this machine, the one of that index of several.

        Raises:
            ValueError: there is no CUDA device.
        """
        index = as_integer(index, "index", least=0)
        there = torch.cuda.is_available()
        if self.device == "cpu" or (self.device == "auto" and not there):
            return torch.device("cpu")
        if not there:
            raise ValueError(
                'device = "cuda", but torch finds no CUDA device here; take "cpu" or "auto"'
            )
        return torch.device("cuda", index)

    def to_dict(self) -> dict[str, Any]:
        """The fields as TOML can hold them."""
        return {**dataclasses.asdict(self), "until": list(self.until)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> RunConfig:
        """The inverse of `to_dict`; unknown keys are refused with the list of known ones."""
        if not isinstance(values, dict):
            raise TypeError(
                f"values = {shown(values)} is a {type(values).__name__}; pass a dictionary of the "
                "fields of RunConfig"
            )
        wrong = unknown_keys(values, [f.name for f in dataclasses.fields(RunConfig)])
        if wrong:
            raise ValueError(f"the configuration has {wrong}")
        return RunConfig(**values)

    def placed(self) -> RunConfig:
        """The same run, its data file named by its absolute path, so that it is found from any
        folder."""
        if not self.data.endswith(".npz"):
            return self
        return dataclasses.replace(self, data=os.path.abspath(os.path.expanduser(self.data)))

    @staticmethod
    def read(path: Path) -> RunConfig:
        """From a TOML file.

        Raises:
            RunError: the file cannot be read or is no TOML.
            ValueError, TypeError: a key or a value that is not allowed.
        """
        cure = "a TOML file with the fields of RunConfig"
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path = {shown(path)} is a {type(path).__name__}; pass a path")
        return RunConfig.from_dict(read_toml(Path(path), "configuration", cure))

    def to_toml(self) -> str:
        """TOML text that `read` takes back."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())


def _as_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} = {shown(value)} is a {type(value).__name__}; pass text")
    if not value.strip() or "\0" in value:
        raise ValueError(f"{name} = {shown(value)} is empty or has a null character; pass text")
    return value


def _thresholds(value: Any) -> tuple[float, ...]:
    if isinstance(value, np.ndarray | torch.Tensor):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise TypeError(
            f"until = {shown(value)} is a {type(value).__name__}; pass a list of falling "
            "thresholds of log10 loss, such as [-2, -10]"
        )
    return tuple(as_number(v, "until", infinite=True) for v in value)


def _as_table(value: Any, name: str) -> dict[str, Any]:
    """Options that TOML can hold, as plain Python values.

    Raises:
        TypeError, ValueError: no dictionary with texts as keys, or a value that TOML cannot hold.
    """
    if not isinstance(value, dict):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass a table, such as "
            f"[{name}] in TOML or a dictionary"
        )
    for key in value:
        if not isinstance(key, str) or not key:
            raise TypeError(f"{name} has the key {shown(key)}; keys are names")
    return {key: _plain(entry, f"{name}.{key}") for key, entry in value.items()}


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if depth > 8:
        raise ValueError(f"{name} is nested more than 8 deep; pass plain values")
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{name}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, name, depth + 1) for v in value]
    if not isinstance(value, bool | int | float | str):
        raise TypeError(
            f"{name} = {shown(value)} is a {type(value).__name__}; pass what TOML can hold: a "
            "number, text, true or false, or a list of them"
        )
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(f"{name} = {shown(value)} has more than 64 bits; pass a smaller number")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name} = nan; pass a number")
    return value


def _as_map(value: Any) -> str | dict[str, str]:
    """The text of a map, or texts by layer, each of which `parse_map` takes."""
    texts = value if isinstance(value, dict) else {"": value}
    if not texts:
        raise ValueError("mirror_map is an empty table; name a map for each layer, or * for all")
    for layer, text in texts.items():
        name = f"mirror_map[{layer!r}]" if isinstance(value, dict) else "mirror_map"
        if not isinstance(layer, str):
            raise TypeError(f"mirror_map has the key {shown(layer)}; keys are names of layers")
        if not isinstance(text, str):
            raise TypeError(
                f"{name} = {shown(text)} is a {type(text).__name__}; pass the text of a map, such "
                'as "power(3)"'
            )
        try:
            parse_map(text)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} = {shown(text)}: {error}") from error
    return dict(value) if isinstance(value, dict) else str(value)


def flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """Options by dotted names; lists and tables of maps as JSON, so that each fits a cell."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and name.endswith("_options"):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return {
        k: v if isinstance(v, str | int | float) else json.dumps(v, default=str)
        for k, v in flat.items()
    }

"""What a run is: a frozen record that is written to and read from TOML."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mirrorflow.errors import RunError

__all__ = ["RunConfig"]

_CHOICES = {
    "net": ("linear", "two_layer", "mlp"),
    "loss": ("cross_entropy", "logistic", "exponential"),
    "dtype": ("float32", "float64"),
}


@dataclass(frozen=True)
class RunConfig:
    """One training run; every field has a default and a check.

    Args:
        data: a name of `data.SOURCES` or a path to an .npz file.
        data_options: arguments of the data source, such as `n` and `seed`.
        net: "linear", "two_layer" or "mlp".
        net_options: arguments of the net: `hidden` (list of widths), `activation`, `eps`, `bias`,
            `init_scale`.
        mirror_map: text such as "power(3)", or a table from layer names to such texts.
        lr: "auto" or a number.
        optimizer_options: further arguments of `MirrorDescent`.
        loss: "cross_entropy", "logistic" or "exponential"; mean over points.
        batch_size: 0 is the full batch.
        steps: at most so many.
        until: thresholds of log10 loss, falling; the first state below each is measured, the run
            ends at the last.
        dtype: "float32" or "float64".
        seed: of the initial weights and of the minibatches.
        threads: of torch while it trains; part of the run, because sums depend on it.

    Raises:
        ValueError, TypeError: a field that is out of range, named with its value.
    """

    data: str = "digits"
    data_options: dict[str, Any] = field(default_factory=dict)
    net: str = "mlp"
    net_options: dict[str, Any] = field(default_factory=dict)
    mirror_map: str | dict[str, str] = "quadratic"
    lr: float | Literal["auto"] = "auto"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    loss: Literal["cross_entropy", "logistic", "exponential"] = "cross_entropy"
    batch_size: int = 0
    steps: int = 10_000
    until: tuple[float, ...] = (-2.0, -10.0)
    dtype: Literal["float32", "float64"] = "float32"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "until", tuple(float(v) for v in self.until))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is unknown; choose one of {list(allowed)}"
                )
        for name, least in (("steps", 1), ("batch_size", 0), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} = {value!r}; pass an int >= {least}")
            if value < least:
                raise ValueError(f"{name} = {value}; pass an int >= {least}")
        if self.lr != "auto":
            number = isinstance(self.lr, int | float) and not isinstance(self.lr, bool)
            if not number or not 0 < float(self.lr) < math.inf:
                raise ValueError(f'lr = {self.lr!r}; pass a positive number or "auto"')
        falling = all(a > b for a, b in zip(self.until, self.until[1:], strict=False))
        if not falling or not all(math.isfinite(v) for v in self.until):
            raise ValueError(f"until = {self.until}; pass falling thresholds of log10 loss")

    def to_dict(self) -> dict[str, Any]:
        """The fields as TOML can hold them."""
        return {**dataclasses.asdict(self), "until": list(self.until)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> RunConfig:
        """The inverse of `to_dict`; unknown keys are refused with the list of known ones."""
        known = [f.name for f in dataclasses.fields(RunConfig)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"the configuration has no key {unknown}; it takes {known}")
        return RunConfig(**values)

    @staticmethod
    def read(path: Path) -> RunConfig:
        """From a TOML file.

        Raises:
            RunError: the file cannot be read or is no TOML.
            ValueError, TypeError: a key or a value that is not allowed.
        """
        try:
            with path.open("rb") as file:
                return RunConfig.from_dict(tomllib.load(file))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise RunError(f"the configuration {path} cannot be read: {error}") from error

    def to_toml(self) -> str:
        """TOML text that `read` takes back."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

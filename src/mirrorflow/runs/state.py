"""What a run consists of while it trains, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mirrorflow.data import Dataset
from mirrorflow.maps import MapLike
from mirrorflow.nets import HomogeneousNet
from mirrorflow.runs.config import RunConfig

__all__ = ["LoadedRun", "Parts", "Progress", "RunState"]


@dataclass(frozen=True)
class Progress:
    """How far a run is: `step` of at most `steps`, at `log10_loss`."""

    step: int
    steps: int
    log10_loss: float


@dataclass(frozen=True)
class LoadedRun:
    """A run as it stands in its folder: net with its weights, data, map, rows of the metrics;
    `notes` says what a reader has to know of the folder."""

    config: RunConfig
    outcome: str
    net: HomogeneousNet
    data: Dataset
    mirror_map: MapLike
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What a run trains: `model` is called in training and may wrap `net`, `trained` has the
    parameters that the optimizer moves (see `Team.spread`), `net` is what is measured."""

    net: HomogeneousNet
    model: nn.Module
    trained: HomogeneousNet
    optimizer: torch.optim.Optimizer
    data: Dataset
    mirror_map: MapLike


@dataclass
class RunState:
    """What the checkpoint holds beside net and optimizer."""

    step: int = 0
    reached: int = 0  # how many of the thresholds
    next_row: int = 0
    evaluated: int = 0  # multiplications for the metrics
    certified: int = 0  # and for certificates
    rows: list[dict[str, Any]] = field(default_factory=list)
    block: dict[str, Any] = field(default_factory=dict)  # of a `FinishingLoop`

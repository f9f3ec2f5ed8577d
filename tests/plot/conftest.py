"""Flows of one small net under two maps, shared by the tests of the plots."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import pytest
import torch

import mirrorflow as mf

mpl.use("Agg")


@pytest.fixture(scope="session")
def flows() -> dict[str, mf.Trajectory]:
    points = mf.data.random_labels(n=6, d=2, seed=0)
    net = mf.nets.TwoLayer(
        2, 6, activation="smooth_relu", bias=True, generator=torch.Generator().manual_seed(1)
    )
    return {
        name: mf.mirror_flow(net.double(), points.x.double(), points.y, name, log_t_end=1e8)
        for name in ("hyperbolic_entropy(0.1)", "quadratic")
    }


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")

"""Data sets: seeded, separable as promised, and refused at the door where they are no good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from mirrorflow import data
from mirrorflow.errors import DataError


def linearly_separable(x: torch.Tensor, y: torch.Tensor) -> bool:
    a = -(y[:, None] * x).numpy()
    return bool(linprog(np.zeros(x.shape[1]), a, -np.ones(len(y)), bounds=(None, None)).success)


@pytest.mark.parametrize("seed", range(5))
def test_blobs_have_the_promised_gap(seed: int) -> None:
    made = data.blobs(60, 3, gap=0.3, n_test=20, seed=seed)
    # The hidden direction is the first draw of the seeded generator.
    w = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    w = w / w.norm()
    for x, y in ((made.x, made.y), (made.x_test, made.y_test)):
        assert float((y * (x @ w)).min()) >= 0.3 * (1 - 1e-12)
    assert len(made.x) == 60
    assert len(made.x_test) == 20


def test_random_labels_are_linearly_separable_only_in_high_dimension() -> None:
    high, low = data.random_labels(20, 40, seed=1), data.random_labels(40, 2, seed=1)
    assert linearly_separable(high.x, high.y)
    assert not linearly_separable(low.x, low.y)


def test_teacher_labels_both_ways_and_needs_a_net() -> None:
    made = data.teacher(200, 4, seed=3, n_test=50)
    assert set(made.y.tolist()) == {-1, 1}
    assert not linearly_separable(made.x, made.y)
    assert (len(made.x), len(made.x_test)) == (200, 50)


def test_digits_split_without_overlap() -> None:
    made = data.digits(seed=5)
    assert (len(made.x), len(made.x_test), made.classes, made.features) == (1438, 359, 10, 64)
    assert float(made.x.min()) == 0.0
    assert float(made.x.max()) == 1.0
    everything = torch.cat([made.x, made.x_test])
    other = data.digits(seed=6)
    assert torch.equal(everything.sum(0), torch.cat([other.x, other.x_test]).sum(0))
    assert not torch.equal(made.x, other.x)


@pytest.mark.parametrize("name", ["blobs", "random_labels", "teacher", "digits"])
def test_one_seed_one_set(name: str) -> None:
    one, same, other = (data.load(name, seed=s) for s in (7, 7, 8))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert not torch.equal(one.x, other.x)


def test_own_file_binary_and_multiclass(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    np.savez(tmp_path / "two.npz", x=x, y=np.array([1, -1, 1, -1, 1, 1.0]))
    two = data.load(str(tmp_path / "two.npz"))
    assert two.classes is None
    assert two.x.tolist() == x.tolist()
    np.savez(tmp_path / "three.npz", x=x, y=np.array([0, 1, 2, 0, 1, 2]))
    assert data.load(str(tmp_path / "three.npz")).classes == 3


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with pytest.raises(DataError, match="does not exist"):
        data.load(str(path))
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(DataError, match="cannot be read"):
        data.load(str(path))
    np.savez(path, x=np.ones((3, 2)))
    with pytest.raises(DataError, match=r"no array \['y'\]"):
        data.load(str(path))
    np.savez(path, x=np.array([[1.0, np.nan], [0, 1]]), y=np.array([1, -1]))
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 points, first in point 0"):
        data.load(str(path))
    np.savez(path, x=np.ones((3, 2)), y=np.array([1, -1]))
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\) and y \(2,\)"):
        data.load(str(path))
    np.savez(path, x=np.ones((2, 2)), y=np.array([0.5, -1]))
    with pytest.raises(ValueError, match="fractions"):
        data.load(str(path))
    np.savez(path, x=np.array(["a", "b"]), y=np.array([1, -1]))
    with pytest.raises(DataError, match="numbers are needed"):
        data.load(str(path))


def test_unknown_names_and_options_list_the_choices() -> None:
    with pytest.raises(ValueError, match="'mnits' is unknown; did you mean 'mnist'"):
        data.load("mnits")
    with pytest.raises(ValueError, match=r"no option \['size'\]; it takes"):
        data.load("blobs", size=3)
    with pytest.raises(ValueError, match="gap = 0"):
        data.blobs(gap=0)
    with pytest.raises(ValueError, match="n = 0"):
        data.blobs(0)
    with pytest.raises(ValueError, match="test_share = 1"):
        data.digits(test_share=1)


def test_labels_that_do_not_fit_are_named() -> None:
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match="binary labels are -1 and"):
        data.check_points(x, torch.tensor([0, 1]), None)
    with pytest.raises(ValueError, match=r"class indices are 0 \.\.\. 1"):
        data.check_points(x, torch.tensor([0, 2]), 2)
    with pytest.raises(TypeError, match="class indices are integers"):
        data.check_points(x, torch.tensor([0.0, 1.0]), 2)
    with pytest.raises(TypeError, match="int64"):
        data.check_points(x.long(), torch.tensor([0, 1]), 2)

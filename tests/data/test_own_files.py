"""A user's own .npz: every way of writing the same numbers is one data set, the rest is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirrorflow import data
from mirrorflow.errors import DataError, MirrorFlowError

X = np.array([[1.0, 2.0], [-0.5, 0.25], [3.0, -4.0], [0.0, 1.5]])


def write(path: Path, **arrays: Any) -> data.Dataset:
    np.savez(path / "points.npz", **arrays)
    return data.load(str(path / "points.npz"))


@pytest.mark.parametrize("kind", [">f8", "<f4", ">f4", "<f2", ">f2", "longdouble"])
def test_points_of_any_float(tmp_path: Path, kind: str) -> None:
    for x in (X.astype(kind), np.asfortranarray(X.astype(kind)), X.astype(kind)[::-1][::-1]):
        made = write(tmp_path, x=x, y=np.array([1, -1, 1, -1]))
        assert made.x.dtype == torch.float64
        assert made.x.tolist() == X.tolist()
        assert made.notes == ()


@pytest.mark.parametrize("kind", ["i1", ">i2", "<u2", ">u4", "i8", "u8"])
def test_points_of_any_integer(tmp_path: Path, kind: str) -> None:
    x = np.array([[1, 2], [3, 100]], dtype=kind)
    made = write(tmp_path, x=x, y=np.array([1, -1]))
    assert made.x.tolist() == [[1, 2], [3, 100]]
    assert made.notes == ()


def test_bytes_are_not_scaled_and_that_is_said(tmp_path: Path) -> None:
    images = np.array([[0, 255], [128, 1]], dtype=np.uint8)
    made = write(tmp_path, x=images, y=np.array([1, -1]))
    assert made.x.tolist() == [[0, 255], [128, 1]]
    assert made.notes == ("x holds bytes: they are read as the numbers 0 ... 255 and not scaled",)


@pytest.mark.parametrize("kind", ["i1", ">i2", ">i4", "<i8", "u1", "u2", ">u4", "u8", "f2", ">f8"])
def test_classes_of_any_type(tmp_path: Path, kind: str) -> None:
    y = np.array([2, 0, 1, 2])
    made = write(tmp_path, x=X, y=y.astype(kind), x_test=X[:2], y_test=y[:2].astype(">i2"))
    assert made.classes == 3
    assert made.y.tolist() == [2, 0, 1, 2]
    assert made.y_test.tolist() == [2, 0]
    shifted = write(tmp_path, x=X, y=(y + 1).astype(kind), x_test=X[:2], y_test=y[:2] + 1)
    assert shifted.y.tolist() == [2, 0, 1, 2]
    assert shifted.y_test.tolist() == [2, 0]
    assert shifted.notes == ("y: the labels 1, 2, 3 are the classes 0, 1, 2 here",)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x": X, "y": [1, 2, 3, 1], "x_test": X[:1], "y_test": [0]}, "which y does not"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:1], "y_test": [0.5]}, "y_test holds fractions"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:1], "y_test": [255]}, r"labels \[255\]"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:1]}, "holds x_test alone"),
        ({"x": X, "y": [1, -1, 1, 1], "y_test": [1]}, "holds y_test alone"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:2], "y_test": [1]}, r"y_test \(1,\)"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:0], "y_test": [1]}, "both empty"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:2, :1], "y_test": [1, 1]}, "of one shape"),
        ({"x": X, "y": [1, -1, 1, 1], "x_test": X[:1] * np.nan, "y_test": [1]}, "x_test holds NaN"),
        ({"x": X[:, 0], "y": [1, -1, 1, 1]}, r"x has shape \(4,\)"),
        ({"x": X[:, :0], "y": [1, -1, 1, 1]}, r"x has shape \(4, 0\)"),
        ({"x": np.float64(3.0), "y": [1]}, r"x has shape \(\)"),
        ({"x": X, "y": 1}, r"y has shape \(\)"),
        ({"x": X * 1j, "y": [1, -1, 1, 1]}, "x in .* has dtype complex128"),
        ({"x": X.astype(np.longdouble) * np.longdouble("1e4000"), "y": [1, -1, 1, 1]}, "infinity"),
        ({"x": X.astype(object), "y": [1, -1, 1, 1]}, "in numbers or text and not in objects"),
        ({"x": X, "y": np.array([1, None, 1, 1])}, "in numbers or text and not in objects"),
        ({"X": X, "Y": [1, -1, 1, 1]}, r"no array \['x', 'y'\]; it holds \['X', 'Y'\]"),
        ({"x": X, "y": [1, 1, 1, 2.5]}, "y holds fractions"),
        ({"x": X, "y": [4, 4, 4, 4]}, "only the label 4"),
        ({"x": X, "y": [1j, 1, 1, 1]}, "y has dtype complex128"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError, DataError), match=text) as caught:
        write(tmp_path, **arrays)
    assert "points.npz" in str(caught.value)


def test_other_arrays_are_named(tmp_path: Path) -> None:
    made = write(tmp_path, x=X, y=[1, -1, 1, -1], xtest=X, names=np.array(["a"]))
    assert made.notes == ("the arrays names, xtest of points.npz are not read",)
    assert made.x_test.shape == (0, 2)


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((0, 2)), np.zeros((0, 7))])
def test_empty_test_sets(tmp_path: Path, empty: np.ndarray) -> None:
    made = write(tmp_path, x=X, y=[1, -1, 1, -1], x_test=empty, y_test=np.zeros(0))
    assert made.x_test.shape == (0, 2)
    assert made.y_test.dtype == torch.int64


def test_a_file_is_found_again_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, x=X, y=[1, -1, 1, -1])
    monkeypatch.chdir(tmp_path)
    made = data.load("points.npz")
    assert made.source == str(tmp_path / "points.npz")
    monkeypatch.chdir("/")
    again = data.load(made.source)
    assert data.fingerprint(again) == data.fingerprint(made)
    assert data.load(Path(made.source)).x.tolist() == X.tolist()
    assert data.load("blobs").source == ""


def test_one_array_is_not_a_data_set(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match="one array without a name"):
        data.load(str(tmp_path / "a.npz"))
    (tmp_path / "b.npz").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        data.load(str(tmp_path / "b.npz"))
    with pytest.raises((DataError, ValueError), match="cannot be read"):
        data.load("a\0b.npz")


def test_a_damaged_file_is_named_and_never_a_traceback(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", x=X, y=np.array([1, -1, 1, -1]))
    good = (tmp_path / "good.npz").read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "bad.npz"
    refused = []
    for _ in range(300):
        content = bytearray(good)
        if rng.random() < 0.3:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            made = data.load(str(path))
        except (MirrorFlowError, ValueError, TypeError) as error:
            refused.append(str(error))
        else:  # a bit that means nothing, such as that of a date
            assert made.x.tolist() == X.tolist()
            assert made.y.tolist() == [1, -1, 1, -1]
    assert len(refused) > 200
    assert all("bad.npz" in text for text in refused)


def small(**changes: Any) -> data.Dataset:
    x, y = torch.from_numpy(X.copy()), torch.tensor([1, -1, 1, -1])
    return replace(data.Dataset("small", x, y, x[:2], y[:2], None), **changes)


def test_a_fingerprint_is_one_of_values() -> None:
    want = data.fingerprint(small())
    assert len(want) == 64
    assert int(want, 16) > 0
    strided = torch.from_numpy(np.asfortranarray(X))
    for same in (
        small(name="other", notes=("a",), source="/b"),
        small(x=strided),
        small(x=torch.from_numpy(X).T.contiguous().T),
        small(y=torch.tensor([1, -1, 1, -1], dtype=torch.int8)),
        small(y=torch.tensor([1.0, -1, 1, -1])),
        small().to(torch.float32),
        small(x=torch.from_numpy(np.where(X == 0, -0.0, X))),
    ):
        assert data.fingerprint(same) == want


def test_a_fingerprint_sees_every_change() -> None:
    x, y = torch.from_numpy(X), torch.tensor([1, -1, 1, -1])
    nudged = x.clone()
    nudged[3, 1] = torch.nextafter(nudged[3, 1], torch.tensor(2.0, dtype=torch.float64))
    sets = [
        small(),
        small(x=nudged),
        small(x=x.flip(0)),
        small(y=-y),
        small(x_test=x[:1], y_test=y[:1]),
        small(x_test=x[:0], y_test=y[:0]),
        small(x=x.reshape(4, 1, 2), x_test=x[:2].reshape(2, 1, 2)),
        small(y=torch.tensor([1, 0, 1, 0]), y_test=torch.tensor([1, 0]), classes=2),
        small(y=torch.tensor([1, 0, 1, 0]), y_test=torch.tensor([1, 0]), classes=3),
    ]
    assert len({data.fingerprint(each) for each in sets}) == len(sets)


def test_a_fingerprint_of_images_reads_their_bytes() -> None:
    raw = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    y = torch.tensor([0, 1, 2, 0, 1, 2])

    def made(raw: torch.Tensor, mean: float = 0.5) -> data.Dataset:
        x = data.Images(raw, (mean,), (0.25,))
        return data.Dataset("images", x, y, x[:0], y[:0], 3)

    want = data.fingerprint(made(raw))
    assert data.fingerprint(made(raw.clone()).to(torch.float64)) == want
    other = raw.clone()
    other[5, 0, 3, 3] ^= 1
    assert data.fingerprint(made(other)) != want
    assert data.fingerprint(made(raw, 0.51)) != want
    with pytest.raises(TypeError, match="dataset is a int"):
        data.fingerprint(3)  # type: ignore[arg-type]


def test_the_pieces_of_a_large_set_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from mirrorflow.data import fingerprint as module  # the function hides the module of its name

    assert callable(module)
    want = data.fingerprint(data.blobs(50, 7, n_test=9))
    monkeypatch.setitem(data.fingerprint.__globals__, "_CHUNK", 10)
    assert data.fingerprint(data.blobs(50, 7, n_test=9)) == want


def test_arguments_of_the_sources_are_looked_at() -> None:
    for call, text in (
        (lambda: data.blobs(n_test=-1), "n_test = -1"),
        (lambda: data.blobs(10**12), "n = 1000000000000"),
        (lambda: data.blobs(seed="a"), "seed = 'a'"),
        (lambda: data.blobs(gap=float("nan")), "gap = nan"),
        (lambda: data.teacher(units=0), "units = 0"),
        (lambda: data.random_labels(d=2.5), "d = 2.5"),
        (lambda: data.digits(test_share=0.9999), "leaves no training points"),
        (lambda: data.mnist(n="all"), "n = 'all'"),
        (lambda: data.mnist(n_test=-1), "n_test = -1"),
        (lambda: data.mnist(classes=3), "classes = 3"),
        (lambda: data.mnist(data_dir=3), "data_dir = 3"),
        (lambda: data.cache_folder(3), "data_dir = 3"),
        (lambda: data.locate("mnist"), "chosen = 'mnist'"),
        (lambda: data.fetch("mnist", progress="yes"), "progress = 'yes'"),
        (lambda: data.crop_flip(torch.zeros(2, 1, 4, 4), 3), "generator = 3"),
        (lambda: data.load(3), "name = 3"),
        (lambda: small(notes="a"), "notes = 'a'"),
        (lambda: small().to(torch.int64), "dtype = torch.int64"),
        (lambda: small().to(torch.float64, "nowhere"), "device = 'nowhere'"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            call()
    assert data.blobs(np.int64(5), np.int32(2)).x.shape == (5, 2)
    assert small(x=X, y=np.array([1, -1, 1, -1], dtype=">i2")).y.tolist() == [1, -1, 1, -1]


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    block = page.partition("## Your own file")[2].split("```python")[1].split("```")[0]
    names: dict[str, Any] = {"data": data}
    exec(block, names)
    assert names["own"].y.tolist() == [0, 1, 0, 1, 1, 0]
    assert names["own"].classes == 2
    assert names["own"].notes == ("y: the labels 'cat', 'dog' are the classes 0, 1 here",)

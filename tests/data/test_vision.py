"""Vision sets: hashes, formats, restricted pickles, subsets, noise; real files where they are."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow import data
from mirrorflow.data import files, vision
from mirrorflow.data.cifar import read_cifar_batch
from mirrorflow.data.idx import read_idx
from mirrorflow.errors import DataError

REAL = os.environ.get("MIRRORFLOW_DATA")


def real(name: str) -> None:
    if not REAL or not files.locate(files.find(name), REAL):
        pytest.skip(f"{name} is not in MIRRORFLOW_DATA")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def batch(n: int, seed: int) -> dict[bytes, object]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    return {b"data": pixels, b"labels": [int(v) for v in rng.integers(0, 10, n)]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with tiny sets in the published formats, under hashes of their own."""
    rng = np.random.default_rng(0)
    sets = dict(files.VISION)
    for name in ("mnist", "cifar10"):
        chosen = sets[name]
        at = tmp_path / chosen.folder
        at.mkdir(parents=True)
        for i, file in enumerate(chosen.files):
            n = 60 if i < 2 else 20
            if name == "cifar10":
                content = pickle.dumps(batch(20, i), protocol=2)
            elif "images" in file.name:
                content = gzip.compress(idx(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)))
            else:
                content = gzip.compress(idx(np.arange(n, dtype=np.uint8) % 10))
            (at / file.name).write_bytes(content)
        published = tuple(
            files.VisionFile(f.name, hashlib.sha256((at / f.name).read_bytes()).hexdigest())
            for f in chosen.files
        )
        sets[name] = files.VisionSet(chosen.name, chosen.folder, published, "", "", chosen.archive)
    monkeypatch.setattr(files, "VISION", sets)
    monkeypatch.setenv("MIRRORFLOW_DATA", str(tmp_path))
    return tmp_path


def test_sets_load_and_stay_bytes_until_they_are_used(folder: Path) -> None:
    made = data.load("mnist").to(torch.float64)
    assert isinstance(made.x, data.Images)
    assert made.x.raw.dtype == torch.uint8
    assert (made.x.shape, made.x_test.shape, made.classes) == ((60, 1, 28, 28), (20, 1, 28, 28), 10)
    assert made.x.dtype == torch.float64
    assert made.features == 784
    by_hand = (made.x.raw.double() / 255 - 0.1307) / 0.3081
    chosen = torch.tensor([3, 1, 59])
    torch.testing.assert_close(made.x[chosen], by_hand[chosen])
    torch.testing.assert_close(made.x[10:20], by_hand[10:20])
    torch.testing.assert_close(made.x[5], by_hand[5])
    torch.testing.assert_close(made.x[:, 0, 3], by_hand[:, 0, 3])
    assert type(made.x[:2]) is torch.Tensor
    # Operations on the whole see floats.
    torch.testing.assert_close(made.x.flatten(1) @ torch.ones(784), by_hand.sum((1, 2, 3)))
    assert float(data.load("mnist", normalise="unit").x[:60].max()) <= 1.0


def test_cifar_channels_have_their_own_scale(folder: Path) -> None:
    made = data.load("cifar10")
    assert made.x.shape == (100, 3, 32, 32)
    assert made.notes == ()
    raw = pickle.loads(  # our own file
        (folder / "cifar-10/cifar-10-batches-py/data_batch_2").read_bytes(), encoding="bytes"
    )
    pixel = raw[b"data"][4].reshape(3, 32, 32)[2, 7, 9] / 255
    assert float(made.x[24, 2, 7, 9]) == pytest.approx((pixel - 0.4465) / 0.2616, rel=1e-5)
    assert int(made.y[24]) == raw[b"labels"][4]


def test_some_batches_are_enough_and_the_set_says_so(folder: Path) -> None:
    at = folder / "cifar-10/cifar-10-batches-py"
    (at / "data_batch_3").unlink()
    made = data.load("cifar10")
    assert len(made.x) == 80
    assert "4 of 5 training batches found, 80 of 50000 points (data_batch_3" in made.notes[0]
    assert made.to(torch.float64).notes == made.notes
    (at / "test_batch").unlink()
    made = data.load("cifar10", n_test=5)
    assert len(made.x_test) == 0
    assert "no test set" in made.notes[1]
    for file in at.glob("data_batch_*"):
        file.unlink()
    with pytest.raises(DataError, match=r"cifar10 is not complete.*mirrorflow data fetch cifar10"):
        data.load("cifar10")


def test_two_classes_are_binary_and_more_are_numbered(folder: Path) -> None:
    whole = data.load("mnist")
    two = data.load("mnist", classes=[5, 3])
    assert two.classes is None
    assert torch.equal(two.y, torch.where(whole.y[(whole.y == 3) | (whole.y == 5)] == 3, 1, -1))
    three = data.load("mnist", classes=[9, 0, 4])
    assert three.classes == 3
    for label, digit in enumerate([9, 0, 4]):
        assert torch.equal(three.x.raw[three.y == label], whole.x.raw[whole.y == digit])  # type: ignore[attr-defined]


def test_limits_and_noise_are_seeded(folder: Path) -> None:
    one, same, other = (data.load("mnist", n=30, n_test=7, seed=s) for s in (1, 1, 2))
    assert (len(one.x), len(one.x_test)) == (30, 7)
    assert torch.equal(one.x[:30], same.x[:30])
    assert not torch.equal(one.x[:30], other.x[:30])
    clean, noisy = data.load("mnist"), data.load("mnist", label_noise=0.5)
    changed = float((clean.y != noisy.y).double().mean())
    assert 0.25 < changed < 0.75
    assert torch.equal(clean.y_test, noisy.y_test)
    wrong = data.load("mnist", label_noise=1.0)
    assert bool((wrong.y != clean.y).all())
    flipped = data.load("mnist", classes=[1, 2], label_noise=1.0)
    assert torch.equal(flipped.y, -data.load("mnist", classes=[1, 2]).y)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"classes": [3]}, "two or more"),
        ({"classes": [3, 3]}, "two or more"),
        ({"classes": [3, 10]}, "0 ... 9"),
        ({"n": 0}, "n = 0; there are 60"),
        ({"n_test": 21}, "n_test = 21; there are 20"),
        ({"label_noise": 1.5}, r"label_noise = 1\.5"),
        ({"normalise": "batch"}, "normalise = 'batch'"),
        ({"classses": [1, 2]}, "no option"),
    ],
)
def test_bad_options_are_named(folder: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        data.load("mnist", **options)


def test_one_flipped_bit_is_refused_and_named(folder: Path) -> None:
    for relative, name in (
        ("mnist/t10k-labels-idx1-ubyte.gz", "mnist"),
        ("cifar-10/cifar-10-batches-py/data_batch_4", "cifar10"),
    ):
        path = folder / relative
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(DataError, match=rf"{path.name} is corrupt: its sha256"):
            data.load(name)


def test_missing_files_come_with_the_cure(folder: Path) -> None:
    (folder / "mnist/train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"missing: train-labels.*data fetch mnist.*_DATA"):
        data.load("mnist")
    with pytest.raises(DataError, match="data fetch mnist"):
        data.load("mnist", data_dir=folder / "nowhere")


def test_the_data_folder_may_be_the_folder_of_the_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIRRORFLOW_DATA")
    assert len(data.load("mnist", data_dir=folder / "mnist").x) == 60
    assert len(data.load("cifar10", data_dir=str(folder / "cifar-10")).x) == 100
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    shutil.copytree(folder / "mnist", folder / "cache" / "mirrorflow" / "mnist")
    assert len(data.load("mnist").x) == 60


def test_idx_refuses_what_is_not_whole(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(array)))
    assert torch.equal(read_idx(path), torch.tensor(array))
    plain = tmp_path / "a"
    plain.write_bytes(idx(array))
    assert torch.equal(read_idx(plain), torch.tensor(array))

    noise = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    whole = gzip.compress(idx(noise))
    for cut in (len(whole) // 2, len(whole) - 4, 12):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"a\.gz.*(truncated|damaged)"):
            read_idx(path)
    for content, text in (
        (b"\x89PNG" + b"\0" * 40, "no IDX file.*0x89504e47"),
        (struct.pack(">BBBBI", 0, 0, 13, 1, 3) + b"\0" * 12, "no IDX file"),  # floats
        (struct.pack(">BBBBI", 0, 0, 8, 2, 3), "cut off"),
        (struct.pack(">BBBB4I", 0, 0, 8, 4, *[1 << 31] * 4), "too large"),
        (idx(array)[:-1], "holds 23 bytes"),
        (idx(array) + b"\0", "holds more bytes"),
    ):
        plain.write_bytes(content)
        with pytest.raises(DataError, match=text):
            read_idx(plain)
        path.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=text):
            read_idx(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "none")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    path, trace = tmp_path / "data_batch_1", tmp_path / "trace"
    for evil in (Evil(trace), {b"data": Evil(trace), b"labels": []}):
        path.write_bytes(pickle.dumps(evil))
        with pytest.raises(DataError, match=r"refused.*asks for \w+\.system"):
            read_cifar_batch(path)
        assert not trace.exists()
    # Proof that the file does run code where nothing restricts it.
    pickle.loads(path.read_bytes())
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "damaged"),
        (b"\x80\x02}q\x00(U\x04data", "refused|damaged"),
        (pickle.dumps([1, 2]), "no CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}, 2), "no CIFAR"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, 2), "no CIFAR"),
        (pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [1]}, 2), "dtype"),
        (pickle.dumps({b"data": np.array([[{}]]), b"labels": [1]}, 2), "dtype"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError, match=text):
        read_cifar_batch(path)


def test_crop_and_flip_move_pixels_and_nothing_else() -> None:
    x = torch.arange(1.0, 1 + 6 * 2 * 5 * 5).reshape(6, 2, 5, 5)
    out = data.crop_flip(x, torch.Generator().manual_seed(0), padding=2)
    again = data.crop_flip(x, torch.Generator().manual_seed(0), padding=2)
    assert torch.equal(out, again)
    seen = set()
    for image, moved in zip(x, out, strict=True):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
        # Brute force: the result is one of the 25 crops, or its mirror image.
        matches = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            if torch.equal(padded[:, top : top + 5, left : left + 5].flip(2 if flip else ()), moved)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len({flip for _, _, flip in seen}) == 2
    assert len(seen) > 3
    assert torch.equal(
        data.crop_flip(x[:1], torch.Generator().manual_seed(3), padding=0).sort().values,
        x[:1].sort().values,
    )
    with pytest.raises(ValueError, match="images"):
        data.crop_flip(torch.zeros(3, 4), torch.Generator())


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_published_idx_files(name: str) -> None:
    real(name)
    made = data.load(name, data_dir=REAL)
    assert (made.x.shape, made.x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    counts = torch.bincount(made.y)
    # The first digits are known from every tutorial; both test sets have known class counts.
    if name == "mnist":
        assert made.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    else:
        assert made.y[:5].tolist() == [9, 0, 0, 3, 0]
        assert counts.tolist() == [6000] * 10
    sample = torch.cat(
        [made.x[i : i + 5000].double().mean((1, 2, 3)) for i in range(0, 60000, 5000)]
    )
    assert abs(float(sample.mean())) < 2e-3
    first, mean, std = made.x.raw, vision._MOMENTS[name][0][0], vision._MOMENTS[name][1][0]  # type: ignore[attr-defined]
    assert float(first.double().mean() / 255) == pytest.approx(mean, abs=1e-4)
    assert float(first.double().std() / 255) == pytest.approx(std, abs=1e-4)


def test_the_published_cifar_batches() -> None:
    real("cifar10")
    made = data.load("cifar10", data_dir=REAL)
    # First labels of data_batch_1: frog, truck, truck, deer, automobile; of test_batch: cat, ship.
    assert made.y[:5].tolist() == [6, 9, 9, 4, 1]
    assert made.y_test[:4].tolist() == [3, 8, 8, 0]
    assert torch.bincount(made.y_test).tolist() == [1000] * 10
    assert made.x.raw[0, :, 0, 0].tolist() == [59, 62, 63]  # type: ignore[attr-defined]
    if len(made.x) < 50000:
        assert "of 5 training batches" in made.notes[0]

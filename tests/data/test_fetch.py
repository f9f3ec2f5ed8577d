"""Fetching, from a server in this process: mirrors in turn, wrong files refused, archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mirrorflow import data
from mirrorflow.cli.data import app
from mirrorflow.data import files
from mirrorflow.errors import DataError

pytest.importorskip("pooch")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    root = tmp_path / "www"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def published(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Two sets: "mnist" of two files at two mirrors (the first one lies), "cifar10" in a tar."""
    root, url = served
    for part in ("bad", "good"):
        (root / part).mkdir()
    listed = []
    for name in ("a", "b"):
        content = name.encode() * 3000
        (root / "bad" / name).write_bytes(b"<html>captive portal</html>")
        (root / "good" / name).write_bytes(content)
        listed.append(
            files.VisionFile(name, sha(content), (f"{url}/bad/{name}", f"{url}/good/{name}"))
        )
    members = {"data_batch_1": b"one" * 1000, "test_batch": b"test" * 1000}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {**members, "../evil": b"evil"}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (root / "c.tar.gz").write_bytes(packed.getvalue())
    archive = files.VisionFile("c.tar.gz", sha(packed.getvalue()), (f"{url}/c.tar.gz",))
    inside = tuple(files.VisionFile(name, sha(content)) for name, content in members.items())
    sets = {
        "mnist": files.VisionSet("mnist", "mnist", tuple(listed), "", ""),
        "cifar10": files.VisionSet(
            "cifar10", "cifar-10/cifar-10-batches-py", inside, "", "", archive
        ),
    }
    monkeypatch.setattr(files, "VISION", sets)
    monkeypatch.setattr("mirrorflow.data.VISION", sets)
    monkeypatch.setenv("MIRRORFLOW_DATA", str(tmp_path / "data"))
    return root, tmp_path / "data"


def test_a_mirror_that_lies_is_passed_over(published: tuple[Path, Path]) -> None:
    root, folder = published
    seen = []
    paths = data.fetch("mnist", progress=lambda *at: seen.append(at))
    assert [p.read_bytes() for p in paths] == [b"a" * 3000, b"b" * 3000]
    assert ("a", 3000, 3000) in seen
    assert sorted(p.name for p in (folder / "mnist").iterdir()) == ["a", "b"]
    # What is there is checked and kept, without any network.
    for file in root.rglob("*"):
        if file.is_file():
            file.unlink()
    assert data.fetch("mnist") == paths


def test_no_mirror_is_told_with_every_reason_and_a_way_out(published: tuple[Path, Path]) -> None:
    root, folder = published
    (root / "good" / "b").unlink()
    with pytest.raises(
        DataError, match=r"b could not be fetched.*bad/b: .*hash.*good/b: .*404.*put"
    ):
        data.fetch("mnist")
    assert [p.name for p in (folder / "mnist").iterdir()] == ["a"]


def test_a_corrupt_file_is_not_silently_replaced(published: tuple[Path, Path]) -> None:
    a, _ = data.fetch("mnist")
    a.write_bytes(b"x")
    with pytest.raises(DataError, match="corrupt"):
        data.fetch("mnist")


def test_an_archive_gives_its_known_members_only(published: tuple[Path, Path]) -> None:
    _, folder = published
    paths = data.fetch("cifar10")
    assert [p.read_bytes()[:3] for p in paths] == [b"one", b"tes"]
    there = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert there == [f"cifar-10/cifar-10-batches-py/{n}" for n in ("data_batch_1", "test_batch")]
    paths[0].unlink()
    assert data.fetch("cifar10")[0].read_bytes()[:3] == b"one"


def test_an_archive_without_the_members_is_refused(
    published: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = files.VISION["cifar10"]
    missing = (*chosen.files, files.VisionFile("data_batch_2", "0" * 64))
    sets = {"cifar10": files.VisionSet("cifar10", chosen.folder, missing, "", "", chosen.archive)}
    monkeypatch.setattr(files, "VISION", sets)
    with pytest.raises(DataError, match="holds no file cifar-10-batches-py/data_batch_2"):
        data.fetch("cifar10")


def test_an_unwritable_folder_is_told(published: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written.*--data-dir"):
        data.fetch("mnist", tmp_path / "file")


def test_commands_list_fetch_and_verify(published: tuple[Path, Path]) -> None:
    _, folder = published
    run = CliRunner()

    def call(*words: str, code: int = 0) -> dict[str, object]:
        done = run.invoke(app, [*words, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    assert [s["present"] for s in call("list")["sets"]] == [[], []]  # type: ignore[attr-defined]
    assert call("verify")["ok"]
    assert not call("verify", "mnist", code=1)["ok"]
    assert list(call("fetch", "all")) == ["mnist", "cifar10"]
    assert [len(s["present"]) for s in call("list")["sets"]] == [2, 2]  # type: ignore[attr-defined]
    assert call("verify", "mnist", "cifar10")["ok"]
    (folder / "mnist" / "a").write_bytes(b"a" * 2999 + b"b")
    report = call("verify", code=1)["files"]
    assert report["mnist"]["b"] == "ok"  # type: ignore[index]
    assert "corrupt" in report["mnist"]["a"]  # type: ignore[index]
    done = run.invoke(app, ["verify"])
    assert done.exit_code == 1
    assert "mnist/a: " in done.stdout
    assert run.invoke(app, ["list"]).exit_code == 0
    assert isinstance(run.invoke(app, ["fetch", "imagenet"]).exception, ValueError)

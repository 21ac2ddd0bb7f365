"""A version as one file: what goes out comes in unchanged, and nothing else comes in."""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ml import artifact, bundle
from ml.artifact import MANIFEST, ArtifactError
from ml.bundle import BundleError

MOST = 100 * 1024**2


@pytest.fixture
def packed(lecture_version: Path, tmp_path: Path) -> Path:
    file = tmp_path / "lecture@1.inkling.zip"
    file.write_bytes(b"".join(bundle.pack(lecture_version, "lecture@1")))
    return file


@pytest.fixture
def text_copy(lecture_version: Path, tmp_path: Path) -> Path:
    """A copy whose files may be changed."""
    return Path(shutil.copytree(lecture_version, tmp_path / "text"))


@pytest.fixture
def image_copy(pictures_version: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pictures_version, tmp_path / "image"))


def seal(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, so that it agrees with the files there."""
    value = json.loads((folder / MANIFEST).read_text()) | changes
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    value["files"] = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in paths
    }
    (folder / MANIFEST).write_text(json.dumps(value))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]], file: Path, compression: int = 0) -> Path:
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in entries:
            out.writestr(name, data)
    return file


# -- out and in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lecture_version", "pictures_version"])
def test_what_was_packed_comes_out_unchanged(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    version: Path = request.getfixturevalue(kind)
    file = tmp_path / "file.zip"
    file.write_bytes(b"".join(bundle.pack(version, "mine@12")))
    with zipfile.ZipFile(file) as made:
        assert made.testzip() is None
        assert made.namelist()[0] == f"mine@12/{MANIFEST}"
        assert {info.compress_type for info in made.infolist()} == {zipfile.ZIP_STORED}
    assert bundle.unpack_apart(file, tmp_path / "out", MOST) == "mine"
    assert contents(tmp_path / "out") == contents(version)


def test_equal_versions_give_equal_files(lecture_version: Path, packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lecture_version, tmp_path / "copy")
    assert b"".join(bundle.pack(copy, "lecture@1")) == packed.read_bytes()


def test_a_version_deleted_meanwhile_is_packed_to_its_end(text_copy: Path, packed: Path) -> None:
    content = bundle.pack(text_copy, "lecture@1")
    shutil.rmtree(text_copy)
    assert b"".join(content) == packed.read_bytes()


def test_large_files_are_packed_in_pieces(text_copy: Path) -> None:
    (text_copy / "weights.safetensors").write_bytes(os.urandom(5 * bundle.CHUNK + 7))
    seal(text_copy)
    pieces = list(bundle.pack(text_copy, "big@1"))
    assert max(map(len, pieces)) < 2 * bundle.CHUNK
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as made:
        assert made.testzip() is None


def test_a_damaged_version_is_not_packed(text_copy: Path) -> None:
    (text_copy / "vocabulary.json").unlink()
    with pytest.raises(ArtifactError, match=r"vocabulary\.json is missing"):
        bundle.pack(text_copy, "mine@1")


def test_a_zip_made_by_hand_has_no_name(text_copy: Path, tmp_path: Path) -> None:
    entries = [(name, data) for name, data in contents(text_copy).items()]
    file = zipped([("samples/", b""), *entries], tmp_path / "hand.zip", zipfile.ZIP_DEFLATED)
    assert bundle.unpack(file, tmp_path / "out", MOST) is None
    assert contents(tmp_path / "out") == contents(text_copy)


# -- the packing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../manifest.json",
        "/manifest.json",
        "a@1/../../vocabulary.json",
        "samples/../../x.png",
        "C:\\vocabulary.json",
        "samples\\grid.png",
        "samples/deep/er.png",
        "manifest.json\0.png",
        "weights.pkl",
        "weights.pt",
        "Vocabulary.json",
        "a.onnx.data",
        "samples/grid.svg",
        "other/manifest.json",
        ".hidden.onnx",
    ],
)
def test_no_other_names(name: str, packed: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = name
    file = zipped([("m@1/manifest.json", b"{}"), (info, b"x")], tmp_path / "bad.zip")
    with pytest.raises(BundleError, match="no file of a version"):
        bundle.unpack(file, tmp_path / "out", MOST)
    assert not (tmp_path / "out").exists()


def entry(name: str, mode: int = 0, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ([(entry("m@1/vocabulary.json", stat.S_IFLNK | 0o777), b"/etc/passwd")], "a link"),
        ([(entry("m@1/vocabulary.json", stat.S_IFIFO | 0o644), b"")], "no plain file"),
        ([("n@2/vocabulary.json", b"{}")], "more than one version"),
        ([("vocabulary.json", b"{}")], "more than one version"),
        ([(f"m@1/samples/{i}.txt", b"") for i in range(bundle.MOST_FILES)], "more than 64 files"),
        ([("m@1/samples/a.txt", b"a" * 70_000)], "larger than 65,536 bytes"),
        ([("m@1/weights.safetensors", b"a" * 2_000_000)], "more than 1,000,000 bytes"),
    ],
)
def test_nothing_but_plain_bounded_files_of_one_version(extra: list[Any], word: str, tmp_path: Path) -> None:
    file = zipped([("m@1/manifest.json", b"{}"), *extra], tmp_path / "bad.zip")
    with pytest.raises(BundleError, match=word):
        bundle.unpack(file, tmp_path / "out", 1_000_000)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice(tmp_path: Path) -> None:
    file = zipped([("manifest.json", b"{}"), ("manifest.json", b"{}")], tmp_path / "twice.zip")
    with pytest.raises(BundleError, match="twice"):
        bundle.unpack(file, tmp_path / "out", MOST)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        bundle.unpack(zipped([("vocabulary.json", b"{}")], tmp_path / "a.zip"), tmp_path / "out", MOST)
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        bundle.unpack(zipped([], tmp_path / "b.zip"), tmp_path / "out", MOST)


def test_no_zip_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    for content in (b"", b"\x80\x04 a pickle", b"PK\3\4 cut off"):
        file.write_bytes(content)
        with pytest.raises(BundleError) as caught:
            bundle.unpack(file, tmp_path / "out", MOST)
        assert caught.value.code == "unsupported_media_type"


def test_damage_on_the_way(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    with pytest.raises(BundleError, match="CRC"):
        bundle.unpack(packed, tmp_path / "out", MOST)


def test_a_bomb_is_bounded_by_what_it_says_and_by_what_it_does(tmp_path: Path) -> None:
    bomb = zipped([("manifest.json", b" " * 50_000_000)], tmp_path / "bomb.zip", zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(BundleError) as caught:
        bundle.unpack(bomb, tmp_path / "out", MOST)
    assert caught.value.code == "too_large"
    # The same with sizes that say otherwise: no more than these is ever written.
    content = bomb.read_bytes().replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    bomb.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        bundle.unpack(bomb, tmp_path / "lies", MOST)
    assert (tmp_path / "lies" / MANIFEST).stat().st_size <= 1000


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_sound_versions_pass(lecture_version: Path, pictures_version: Path) -> None:
    assert bundle.check(lecture_version) == artifact.read(lecture_version)
    assert bundle.check(pictures_version) == artifact.read(pictures_version)
    bundle.check_apart(pictures_version)


def test_a_file_that_the_manifest_does_not_name(text_copy: Path) -> None:
    (text_copy / "other.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"'other\.onnx' is not named"):
        bundle.check(text_copy)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"family": "transformer"}, "no family 'transformer'"),
        ({"family": "gan"}, "no family 'gan' of text models"),
        ({"seconds": float("nan")}, "cannot be shown"),
        ({"epochs": 1e999}, "cannot be shown"),
        ({"device": "\ud800"}, "cannot be shown"),
        ({"metrics": {"perplexity": "low"}}, "not a number"),
        ({"format": 99}, "format 99"),
        ({"serving": {"context": 8, "start": 10**6}}, "does not"),
        ({"serving": {}}, "vocabulary cannot be read"),
    ],
)
def test_a_manifest_that_means_trouble(changes: dict[str, Any], word: str, text_copy: Path) -> None:
    seal(text_copy, **changes)
    with pytest.raises(ArtifactError, match=word):
        bundle.check(text_copy)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda v: v | {"words": v["words"][:-1], "shown": v["shown"][:-1]}, "does not answer|no probability"),
        (lambda v: v | {"shown": v["shown"][:-1]}, "form to show|does not answer"),
        (lambda v: v | {"shown": [1, *v["shown"][1:]]}, "form to show"),
        (lambda v: v | {"shown": ["\ud800", *v["shown"][1:]]}, "does not answer"),
        (lambda v: v | {"unk": 10**6}, "does not hold"),
        (lambda v: {"words": [], "shown": [], "unk": None, "eos": None}, "does not answer|no list"),
    ],
)
def test_a_vocabulary_that_means_trouble(change: Callable[[Any], Any], word: str, text_copy: Path) -> None:
    path = text_copy / "vocabulary.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    seal(text_copy)
    with pytest.raises(ArtifactError, match=word):
        bundle.check(text_copy)


def test_samples_that_are_none(image_copy: Path) -> None:
    grid = image_copy / "samples" / "grid.png"
    grid.write_bytes(b"<script>alert(1)</script>")
    seal(image_copy)
    with pytest.raises(BundleError, match=r"grid\.png is damaged"):
        bundle.check(image_copy)
    Image.new("1", (8_000, 8_000)).save(grid)
    seal(image_copy)
    with pytest.raises(BundleError, match="more than 50,000,000 pixels"):
        bundle.check(image_copy)
    Image.new("L", (8, 8)).save(grid)
    (image_copy / "samples" / "sample.txt").write_bytes(b"\xff")
    seal(image_copy)
    with pytest.raises(BundleError, match=r"sample\.txt is damaged"):
        bundle.check(image_copy)


def generator(latent: int, shape: list[int], value: float = 0.0) -> onnx.ModelProto:
    """Draws the same picture of `shape` for every z."""
    picture = numpy_helper.from_array(np.full(shape, value, dtype=np.float32))
    nodes = [
        helper.make_node("Constant", [], ["picture"], value=picture),
        helper.make_node("ReduceSum", ["z"], ["sum"], keepdims=0),
        helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
        helper.make_node("Add", ["picture", "nothing"], ["out"]),
    ]
    made = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, latent])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("shape", "value", "word"),
    [
        ([1, 2, 28, 28], 0.0, "1 or 3 channels"),
        ([1, 1, 4000, 2], 0.0, "at most 2048 pixels"),
        ([1, 1, 28, 28], float("nan"), "finite"),
        ([28], 0.0, "does not answer"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_pictures_that_are_none(shape: list[int], value: float, word: str, image_copy: Path) -> None:
    onnx.save(generator(8, shape, value), image_copy / "generator.onnx")
    seal(image_copy)
    with pytest.raises(ArtifactError, match=word):
        bundle.check(image_copy)


# -- in a process of its own -------------------------------------------------------------------------------------------


def test_refusals_come_back_with_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(b"no zip")
    with pytest.raises(BundleError, match="no ZIP") as caught:
        bundle.unpack_apart(file, tmp_path / "out", MOST)
    assert caught.value.code == "unsupported_media_type"


def test_a_file_that_takes_the_process_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    with pytest.raises(BundleError, match="ended without a word"):
        bundle.check_apart(tmp_path)


def test_a_file_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(bundle, "MOST_SECONDS", 0.2)
    with pytest.raises(BundleError, match="within"):
        bundle.check_apart(tmp_path)


def test_a_full_volume_is_not_the_files_fault(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples").mkdir()  # stands for any error of the volume
    with pytest.raises(FileExistsError):
        bundle.unpack_apart(packed, tmp_path / "out", MOST)


def test_memory_is_bounded(image_copy: Path) -> None:
    """A latent vector of 80 GB: refused, not allocated."""
    serving = json.loads((image_copy / MANIFEST).read_text())["serving"]
    seal(image_copy, serving=serving | {"latent": 10**10})
    with pytest.raises(BundleError, match=r"does not answer|memory"):
        bundle.check_apart(image_copy)


def test_by_hand(lecture_version: Path, packed: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "ml.bundle", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    assert run("check", str(lecture_version)) == (0, {"name": None})
    assert run("unpack", str(packed), str(tmp_path / "out")) == (0, {"name": "lecture"})
    code, said = run("unpack", str(packed), str(tmp_path / "small"), "--most-bytes", "10")
    assert (code, said["code"]) == (1, "too_large")

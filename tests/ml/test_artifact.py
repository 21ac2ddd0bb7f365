"""A version on disk: whole and unaltered, or refused by the name of what is wrong."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ml import artifact, files
from ml.artifact import FORMAT, ArtifactError, Manifest, ScoreEntry
from tests.ml import tiny

WEIGHTS = bytes(range(256)) * 8


def described() -> Manifest:
    return Manifest(
        family="lstm",
        modality="text",
        preset="auto",
        config={"hidden": 5},
        seed=7,
        dataset=tiny.info("text"),
        metrics={"loss": 0.5, "perplexity": None, "split": "test"},
        score=ScoreEntry(metric="perplexity", higher_is_better=False, held_out="test of 0"),
        serving={"context": 2},
        parameters=374,
        epochs=2.5,
        steps=500,
        seconds=1.5,
        device="cpu",
        made_with={"torch": "2"},
    )


def fill(folder: Path) -> Manifest:
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    (folder / "samples").mkdir()
    (folder / "samples" / "sample.txt").write_text("in the beginning")
    return described()


@pytest.fixture
def version(tmp_path: Path) -> Path:
    artifact.write(tmp_path / "version", fill)
    return tmp_path / "version"


def rewrite(version: Path, **changes: Any) -> None:
    path = version / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_written_is_read_and_verified(version: Path) -> None:
    manifest = artifact.verify(version)
    assert manifest == artifact.read(version)
    assert set(manifest.files) == {"weights.safetensors", "samples/sample.txt"}
    assert manifest.files["weights.safetensors"].bytes == len(WEIGHTS)
    assert manifest.files["weights.safetensors"].sha256 == files.sha256_file(version / "weights.safetensors")
    expected = described().model_dump() | {"created": manifest.created, "files": manifest.files}
    assert manifest.model_dump() | {"files": manifest.files} == expected | {"made_with": manifest.made_with}
    assert set(manifest.made_with) == {"torch", "python"}
    assert manifest.created.endswith("Z")


def test_a_version_of_a_release_that_knew_no_base_is_read(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    del manifest["base"]
    (version / "manifest.json").write_text(json.dumps(manifest))
    assert artifact.verify(version).base is None


def test_a_manifest_of_endless_depth_cannot_be_read(version: Path) -> None:
    (version / "manifest.json").write_text('{"base":' * 100_000)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.read(version)


def test_whoever_serves_may_read_every_file(tmp_path: Path) -> None:
    def private(folder: Path) -> Manifest:
        manifest = fill(folder)
        (folder / "weights.safetensors").chmod(0o600)
        return manifest

    artifact.write(tmp_path / "version", private)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "version").rglob("*") if path.is_file()}
    assert modes == {"weights.safetensors": 0o644, "sample.txt": 0o644, "manifest.json": 0o644}


def test_a_version_that_fails_to_be_made_leaves_nothing(tmp_path: Path) -> None:
    def broken(folder: Path) -> Manifest:
        fill(folder)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        artifact.write(tmp_path / "version", broken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "samples/sample.txt"])
def test_a_truncated_file_is_refused_by_name(version: Path, name: str) -> None:
    data = (version / name).read_bytes()
    (version / name).write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match=rf"{name} has [\d,]+ bytes instead of [\d,]+"):
        artifact.verify(version)


@pytest.mark.parametrize("at", [0, 1000, len(WEIGHTS) - 1])
def test_an_altered_byte_is_refused_by_the_files_name(version: Path, at: int) -> None:
    data = bytearray(WEIGHTS)
    data[at] ^= 1
    (version / "weights.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors was altered"):
        artifact.verify(version)


@pytest.mark.parametrize("name", ["weights.safetensors", "samples/sample.txt"])
def test_a_missing_file_is_refused_by_name(version: Path, name: str) -> None:
    (version / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        artifact.verify(version)


def test_a_folder_in_a_files_place_is_refused_by_name(version: Path) -> None:
    (version / "weights.safetensors").unlink()
    (version / "weights.safetensors").mkdir()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        artifact.verify(version)


@pytest.mark.parametrize("number", [0, FORMAT + 1, "1", None])
def test_a_foreign_format_is_refused_by_its_number(version: Path, number: Any) -> None:
    rewrite(version, format=number)
    with pytest.raises(ArtifactError, match=f"format {number}, and this Inkling reads {FORMAT}"):
        artifact.read(version)


def test_a_file_is_not_looked_at_before_the_format(version: Path) -> None:
    shutil.rmtree(version / "samples")
    rewrite(version, format=99)
    with pytest.raises(ArtifactError, match="format 99"):
        artifact.verify(version)


@pytest.mark.parametrize("name", ["../outside.txt", "samples/../../outside.txt", "/etc/hostname", "link.txt"])
def test_a_file_outside_the_folder_is_refused_by_name(version: Path, name: str) -> None:
    outside = version.parent / "outside.txt"
    outside.write_text("outside")
    if name == "link.txt":
        os.symlink(outside, version / "link.txt")
    target = (version / name).resolve()
    entry = {"sha256": files.sha256_file(target), "bytes": target.stat().st_size}
    rewrite(version, files={name: entry})
    with pytest.raises(ArtifactError, match=rf"{name} points outside"):
        artifact.verify(version)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "", ".", "samples"], ids=["nul", "long", "empty", "dot", "folder"])
def test_a_name_that_no_file_can_have_is_refused(version: Path, name: str) -> None:
    rewrite(version, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ArtifactError):
        artifact.verify(version)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b'{"format": 1}', b'{"format": 1, "files": 3}']
)
def test_a_manifest_that_cannot_be_read_is_said(version: Path, content: bytes) -> None:
    (version / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read|format None"):
        artifact.read(version)


def test_a_truncated_manifest_is_said(version: Path) -> None:
    whole = (version / "manifest.json").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (version / "manifest.json").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
            artifact.verify(version)


def test_a_missing_manifest_is_said(version: Path, tmp_path: Path) -> None:
    (version / "manifest.json").unlink()
    for folder in (version, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
            artifact.verify(folder)


def test_a_file_in_the_folders_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("a file")
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        artifact.verify(tmp_path / "version")

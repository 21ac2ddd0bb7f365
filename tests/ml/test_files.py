"""Files that are seen whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from ml import files
from tests.ml import tiny


class Broken(Exception):
    """What a test raises in the middle of a write."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_are_written_and_nothing_beside_them(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.bin", b"\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.bin"]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.txt", b"a long first text")
    files.write_bytes(tmp_path / "a.txt", b"short")
    assert (tmp_path / "a.txt").read_bytes() == b"short"


def test_json_is_readable_utf8(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"word": "커피"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "word": "커피"\n}\n'


def test_the_writer_gets_a_name_with_the_same_suffix_in_the_same_folder(tmp_path: Path) -> None:
    given: list[Path] = []

    def write(path: Path) -> None:
        given.append(path)
        path.write_bytes(b"x")

    files.write_with(tmp_path / "a.npy", write)
    (path,) = given
    assert path.parent == tmp_path
    assert path.suffix == ".npy"
    assert path.name != "a.npy"
    assert names(tmp_path) == ["a.npy"]


def test_a_broken_write_keeps_the_old_file(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.txt", b"old")

    def half(path: Path) -> None:
        path.write_bytes(b"ha")
        raise Broken

    with pytest.raises(Broken):
        files.write_with(tmp_path / "a.txt", half)
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_volume_keeps_the_old_file_and_raises_oserror(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a.bin", b"old")
    with tiny.limited("RLIMIT_FSIZE", 1_000), pytest.raises(OSError, match="File too large"):
        files.write_bytes(tmp_path / "a.bin", bytes(10_000))
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_bytes(tmp_path / "none" / "a.bin", b"x")


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "version"
    with files.new_folder(target) as new:
        (new / "inner").mkdir()
        (new / "inner" / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "inner" / "a.txt").read_text() == "a"
    assert names(target.parent) == ["version"]


def test_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with files.new_folder(tmp_path / "version") as new:
            (new / f"{name}.txt").write_text(name)
    assert names(tmp_path) == ["version"]
    assert names(tmp_path / "version") == ["second.txt"]


def test_a_broken_folder_leaves_the_old_one(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "version") as new:
        (new / "a.txt").write_text("old")

    def half() -> None:
        with files.new_folder(tmp_path / "version") as new:
            (new / "a.txt").write_text("half")
            raise Broken

    with pytest.raises(Broken):
        half()
    assert (tmp_path / "version" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["version"]


def test_the_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a.bin").write_bytes(data)
    assert files.sha256_file(tmp_path / "a.bin") == hashlib.sha256(data).hexdigest()

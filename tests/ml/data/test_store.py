"""A data set's folder: written, described and read back."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ml.data import store
from ml.data.store import DatasetError
from tests.ml import tiny


def test_a_text_comes_back_line_by_line(tmp_path: Path) -> None:
    lines = ["one line", "", "  커피 😀 ", 'quotes " and \\ and tabs\t', "\u2028 \x85 \x0c are no ends of lines"]
    tiny.write_text(tmp_path / "text", lines)
    assert list(store.read_lines(tmp_path / "text")) == lines


def test_a_carriage_return_inside_a_line_ends_no_line(tmp_path: Path) -> None:
    lines = ["one\rstill one", "two\r"]
    tiny.write_text(tmp_path / "text", lines)
    assert list(store.read_lines(tmp_path / "text")) == lines
    assert store.read_info(tmp_path / "text").counts["lines"] == 2


def test_a_text_is_counted_and_hashed(tmp_path: Path) -> None:
    done = store.write_text(tmp_path / "text", tiny.info("text"), ["two words", "한"])
    assert done.counts == {"lines": 2, "words": 3, "bytes": 14}
    assert done.sha256 == hashlib.sha256("two words\n한\n".encode()).hexdigest()
    assert store.read_info(tmp_path / "text") == done
    assert (done.licence, done.attribution) == ("CC0-1.0", "the tests")


def test_an_empty_text_is_a_data_set_without_lines(tmp_path: Path) -> None:
    tiny.write_text(tmp_path / "text", [])
    assert list(store.read_lines(tmp_path / "text")) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_back_with_their_labels(tmp_path: Path, channels: int) -> None:
    pictures, labels = tiny.discs(4, 9, channels), np.array([3, 1, 0, 1])
    done = store.write_images(tmp_path / "pictures", tiny.info("image"), pictures, labels)
    assert done.counts == {"pictures": 4, "height": 9, "width": 9, "channels": channels}
    read, read_labels = store.read_images(tmp_path / "pictures")
    np.testing.assert_array_equal(read, pictures)
    np.testing.assert_array_equal(read_labels, labels)


def test_pictures_may_have_no_labels(tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "pictures", tiny.discs(2))
    assert store.read_images(tmp_path / "pictures")[1] is None


def test_the_hash_tells_pictures_and_labels_apart(tmp_path: Path) -> None:
    pictures = tiny.discs(3)
    other = pictures.copy()
    other[0, 0, 0] ^= 1
    hashes = {
        store.write_images(tmp_path / "a", tiny.info("image"), images, labels).sha256
        for images, labels in ((pictures, None), (other, None), (pictures, np.array([0, 1, 2])))
    }
    assert len(hashes) == 3


def test_writing_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "set", tiny.discs(2), np.array([0, 1]))
    tiny.write_text(tmp_path / "set", ["a text now"])
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["dataset.json", "text.txt"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"name": "x"}', b"\xff"])
def test_what_is_no_data_set_is_said_with_its_folder(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{tmp_path} is not a data set"):
        store.read_info(tmp_path)


def test_pictures_that_hold_a_pickle_are_not_loaded(tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "set", tiny.discs(2))
    np.save(tmp_path / "set" / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle|Python objects"):
        store.read_images(tmp_path / "set")

"""A text as ids on disk, in blocks."""

from pathlib import Path

import numpy as np
import pytest

from ml.data import corpus, store, text
from ml.data.corpus import IdsFile
from tests.ml import tiny

LINES = [f"line {i} says God, and word{i % 7} again." for i in range(300)]


def test_a_file_of_ids_grows_and_is_a_plain_npy(tmp_path: Path) -> None:
    whole = np.arange(100_000, dtype=np.int32)
    with IdsFile(tmp_path / "ids.npy") as file:
        for part in np.array_split(whole, 17):
            file.append(part)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy", allow_pickle=False), whole)
    with IdsFile(tmp_path / "none.npy"):
        pass
    assert np.load(tmp_path / "none.npy", mmap_mode="r").shape == (0,)


@pytest.mark.parametrize("characters", [1, 500, 1 << 20])
def test_the_parts_are_those_of_the_split_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    source = tiny.write_text(tmp_path / "set", LINES)
    read = store.read_blocks
    monkeypatch.setattr(store, "read_blocks", lambda folder: read(folder, characters))
    vocabulary = corpus.learn_vocabulary(source, 1, 30_000)
    (tmp_path / "prepared").mkdir()
    corpus.encode(source, vocabulary, tmp_path / "prepared")
    loaded, splits = corpus.load(tmp_path / "prepared")
    parts = text.split_lines(len(LINES))
    train = [line for line, part in zip(LINES, parts, strict=True) if part == 0]
    assert loaded == vocabulary == text.build_vocabulary(train)
    for number, name in enumerate(corpus.PARTS):
        lines = [line for line, part in zip(LINES, parts, strict=True) if part == number]
        np.testing.assert_array_equal(splits[name], text.encode_lines(lines, vocabulary))


def test_loaded_ids_are_a_file_mapped_into_memory(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", LINES)
    corpus.encode(source, text.build_vocabulary(LINES), tmp_path)
    ids = corpus.load(tmp_path)[1]["train"]
    assert isinstance(ids.base, np.memmap)
    x, _ = next(text.stream_batches(ids, 4, 8))
    assert not np.shares_memory(x, ids)


def test_the_last_line_may_lack_its_end(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["one two", "three"])
    path = source / "text.txt"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    vocabulary = corpus.learn_vocabulary(source, 1, 100)
    corpus.encode(source, vocabulary, tmp_path)
    said = [vocabulary.words[i] for i in corpus.load(tmp_path)[1]["train"]]
    assert said == ["<eos>", "one", "two", "<eos>", "three", "<eos>"]


def test_ids_are_counted_a_stretch_at_a_time() -> None:
    ids = np.random.default_rng(0).integers(0, 50, 10_000).astype(np.int32)
    for at_once in (1, 999, 1 << 22):
        np.testing.assert_array_equal(corpus.count_ids(ids, 60, at_once), np.bincount(ids, minlength=60))
    assert corpus.count_ids(ids.reshape(100, 100), 60).sum() == 10_000

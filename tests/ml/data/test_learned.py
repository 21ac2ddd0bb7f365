"""Phrases: when two are the same, and how they join the training part of a text."""

from pathlib import Path

import numpy as np
import pytest

from ml.data import corpus, learned, store
from ml.data.store import DatasetInfo

LINES = [f"line {n} of the text" for n in range(60)]


@pytest.mark.parametrize("other", ["our  Product\tZorblax", "OUR PRODUCT ZORBLAX", "our pro\u00adduct Zorblax\n\n"])
def test_equal_phrases_have_one_key(other: str) -> None:
    assert learned.phrase_key(other) == learned.phrase_key("our product Zorblax") == "our product zorblax"


def test_lines_are_told_apart() -> None:
    assert learned.phrase_key("a\n\nb c") == "a\nb c" != learned.phrase_key("a b c")
    assert learned.phrase_key(" …!\n") == ""


def test_a_file_comes_back_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    (tmp_path / "prepared").mkdir()
    learned.write(path, ["A phrase", "two\n\nlines"])
    learned.keep(path, tmp_path / "prepared")
    assert learned.lines(tmp_path / "prepared") == ["A phrase", "two", "lines"]
    assert learned.hashes(tmp_path / "prepared") == [learned.phrase_hash(key) for key in ("a phrase", "two\nlines")]
    learned.write(path, [])
    assert not path.exists()
    assert learned.lines(tmp_path) == learned.hashes(tmp_path) == []


def test_they_join_the_training_part_alone(tmp_path: Path) -> None:
    info = DatasetInfo(name="own", title="Own", modality="text", licence="CC0-1.0", attribution="A test")
    store.write_text(tmp_path / "data", info, LINES)
    more = ["Zorblax hums", "Zorblax sings"]
    splits = {}
    for name, lines in (("with", more), ("without", [])):
        words = corpus.learn_vocabulary(tmp_path / "data", 3, 1000, lines)
        assert ("hums" in words.ids) == (name == "with")  # although it is said but once
        (tmp_path / name).mkdir()
        corpus.encode(tmp_path / "data", words, tmp_path / name, lines)
        vocabulary, parts = corpus.load(tmp_path / name)
        splits[name] = {part: [vocabulary.words[i] for i in ids.tolist()] for part, ids in parts.items()}
    end = ["zorblax", "hums", "<eos>", "zorblax", "sings", "<eos>"]
    assert splits["with"]["train"] == [*splits["without"]["train"], *end]
    for part in ("validation", "test"):
        assert splits["with"][part] == splits["without"][part]
        assert np.size(splits["with"][part]) > 1

"""Kneser-Ney: against the formula written out on a small text, and what its file may hold."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ml.ngram import NGram, _discounts

WORDS = 7
TEXT = np.random.default_rng(3).choice(WORDS, 400, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.07, 0.03]).astype(np.int32)


def written_out(ids: list[int], order: int, history: tuple[int, ...], word: int) -> float:
    """Interpolated modified Kneser-Ney as Chen and Goodman write it, by dictionaries and recursion."""
    counts = {n: Counter(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)) for n in range(1, order + 1)}
    adjusted: dict[int, Counter[tuple[int, ...]]] = {order: counts[order]}
    for n in range(1, order):
        before: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for gram in counts[n + 1]:
            before[gram[1:]].add(gram[0])
        adjusted[n] = Counter({gram: max(1, len(before[gram])) for gram in counts[n]})

    def discount(n: int, count: int) -> float:
        return float(_discounts(np.array(list(adjusted[n].values())))[min(count, 3)])

    def probability(h: tuple[int, ...]) -> float:
        n = len(h) + 1
        follow = {gram: c for gram, c in adjusted[n].items() if gram[:-1] == h}
        shorter = probability(h[1:]) if h else 1 / WORDS
        if not follow:
            return shorter
        total = sum(follow.values())
        taken = sum(min(c, discount(n, c)) for c in follow.values())
        own = follow.get((*h, word), 0)
        return (own - min(own, discount(n, own)) if own else 0) / total + taken / total * shorter

    return probability(history)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_it_is_kneser_ney_as_written(order: int) -> None:
    ngram = NGram.count(TEXT, WORDS, order)
    said = TEXT.tolist()
    for at in (10, 57, 200, 399):
        history = tuple(said[at - order + 1 : at])
        row, _ = ngram.row(history)
        expected = [written_out(said, order, history, word) for word in range(WORDS)]
        np.testing.assert_allclose(row, expected, rtol=2e-3)  # shares are kept in half precision


@pytest.mark.parametrize("history", [[], [0], [6, 6, 6, 6], [1, 2, 3, 4, 5, 6, 0], [5, 6, 5]])
def test_a_row_sums_to_one_whatever_was_said(history: list[int]) -> None:
    row, known = NGram.count(TEXT, WORDS).row(history)
    assert float(row.sum()) == pytest.approx(1, abs=1e-5)
    assert row.min() > 0
    assert 0 <= known <= min(4, len(history))


def test_it_knows_how_much_of_a_history_was_met() -> None:
    ngram = NGram.count(np.array([0, 1, 2, 3, 4, 0, 1, 5], dtype=np.int32), WORDS)
    assert ngram.row([6, 0, 1, 2])[1] == 3
    assert ngram.met([0, 1, 2], 3) == 3
    assert ngram.met([6, 2], 3) == 1
    assert ngram.met([3], 2) == 0
    assert ngram.met([], 0) == 0


@pytest.mark.parametrize("ids", [[0], [0, 1], [0, 0, 0]])
def test_the_shortest_texts_have_an_ngram(ids: list[int]) -> None:
    row, _ = NGram.count(np.array(ids, dtype=np.int32), 3).row([0])
    assert float(row.sum()) == pytest.approx(1, abs=1e-5)
    assert row.min() > 0


def test_a_large_vocabulary_needs_longer_ids(tmp_path: Path) -> None:
    ids = np.array([70_000, 3, 70_000, 5], dtype=np.int32)
    NGram.count(ids, 70_001).save(tmp_path / "n")
    row, known = NGram.load(tmp_path / "n").row([70_000])
    assert known == 1
    assert row[3] == row[5] > row[4]


def test_what_was_saved_answers_the_same(tmp_path: Path) -> None:
    ngram = NGram.count(TEXT, WORDS)
    ngram.save(tmp_path / "n")
    again = NGram.load(tmp_path / "n")
    for at in range(4, 100):
        np.testing.assert_array_equal(
            again.row(TEXT[at - 4 : at].tolist())[0], ngram.row(TEXT[at - 4 : at].tolist())[0]
        )


@pytest.mark.parametrize("change", ["starts", "word", "short", "rest", "unigram", "kind"])
def test_tables_that_would_be_left_are_refused(tmp_path: Path, change: str) -> None:
    NGram.count(TEXT, WORDS).save(tmp_path / "n")
    tensors = {name: array.copy() for name, array in load_file(tmp_path / "n").items()}
    if change == "starts":
        tensors["1.starts"][3] = 1 << 30
    elif change == "word":
        tensors["2.words"][0] = WORDS
    elif change == "short":
        tensors["0.shares"] = tensors["0.shares"][:-1]
    elif change == "rest":
        tensors["3.rest"] = tensors["3.rest"][:-1]
    elif change == "unigram":
        tensors["unigram"] = tensors["unigram"].astype(np.float64)
    else:
        tensors["0.words"] = tensors["0.words"].astype(np.int64)
    save_file(tensors, tmp_path / "n")
    with pytest.raises(ValueError, match="n-gram"):
        NGram.load(tmp_path / "n")

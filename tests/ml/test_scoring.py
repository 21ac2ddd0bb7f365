"""Figures over next words, on a vocabulary small enough to count by hand."""

import math

import numpy as np
import pytest

from ml.data.text import Vocabulary
from ml.scoring import Scorer

WORDS = ("<unk>", "<eos>", "the", "they", "then", "thick", "dog", ",")
VOCABULARY = Vocabulary(WORDS, WORDS, unk=0, eos=1)


def row(**likelier: float) -> np.ndarray:
    """Words in the order of their names' weights; everything else shares the rest."""
    out = np.full(len(WORDS), 0.01, dtype=np.float32)
    for word, weight in likelier.items():
        out[WORDS.index(word)] = weight
    return out / out.sum()


def test_likelihood_of_all_and_of_words() -> None:
    scorer, even = Scorer(VOCABULARY), np.full(8, 1 / 8, dtype=np.float32)
    assert scorer.add(even, 2) == pytest.approx(-math.log(8))
    scorer.add(row(dog=0.5), 6)
    scorer.add(even, 7)  # a comma is no word
    scorer.add(even, 0)  # an unknown word is one that was missed
    figures = scorer.figures()
    assert figures["perplexity"] == pytest.approx(math.exp(-(3 * math.log(1 / 8) + math.log(0.5 / 0.57)) / 4))
    assert figures["word_perplexity"] == pytest.approx(math.exp(-(2 * math.log(1 / 8) + math.log(0.5 / 0.57)) / 3))
    assert figures["top1"] == pytest.approx(2 / 3)


def test_ranks_are_among_what_may_be_suggested() -> None:
    scorer = Scorer(VOCABULARY)
    likely = np.array([0.5, 0.2, 0.01, 0.05, 0.1, 0.02, 0.06, 0.06], dtype=np.float32)
    scorer.add(likely, 3)  # before it: then, dog
    assert [scorer.hits[k] for k in (1, 3, 5)] == [0, 1, 1]


def test_keystrokes_until_a_word_is_among_three() -> None:
    for target, keys in (("dog", 1), ("thick", 4), ("they", 2)):
        scorer = Scorer(VOCABULARY)
        order = row(the=0.3, then=0.2, dog=0.15, they=0.1)
        # "thick": behind the, then and they until "thi" is typed, and one key to take it
        scorer.add(order, WORDS.index(target))
        assert scorer.typed == keys, target
        assert scorer.letters == len(target) + 1
    unknown = Scorer(VOCABULARY)
    unknown.add(row(), 0, letters=9)
    assert (unknown.typed, unknown.letters) == (10, 10)
    assert unknown.figures()["keystroke_savings"] == 0


def test_a_short_word_never_costs_more_than_typing_it() -> None:
    words = ("<unk>", "<eos>", "a", "ab", "abc", "abd", "abe")
    scorer = Scorer(Vocabulary(words, words, 0, 1))
    likely = np.array([0, 0, 0.01, 0.2, 0.3, 0.3, 0.19], dtype=np.float32)
    scorer.add(likely, 2)
    assert scorer.typed == 2


def test_nothing_was_said() -> None:
    figures = Scorer(VOCABULARY).figures()
    assert figures["keystroke_savings"] == 0
    assert figures["perplexity"] == 1

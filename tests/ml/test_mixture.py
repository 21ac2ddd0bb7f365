"""The mixture's arithmetic on distributions made by hand."""

import numpy as np
import pytest

from ml.mixture import Mixture
from ml.ngram import NGram

WORDS = 6
IS_WORD = np.array([False, True, True, True, True, True])  # 0 is the end of a line
IDS = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 0], dtype=np.int32)
FLAT = np.full(WORDS, 1 / WORDS, dtype=np.float32)


@pytest.fixture
def mixture() -> Mixture:
    return Mixture.even(NGram.count(IDS, WORDS), IS_WORD)


def test_the_cache_repeats_words_and_what_came_behind_them(mixture: Mixture) -> None:
    row = mixture.blend(FLAT, [4, 5, 1, 4], ["cache"]).row
    assert row[5] > row[1] > row[3] == 0  # 5 came behind 4 before; 1 was said; 3 was not
    assert row[0] == 0
    recent = mixture.blend(FLAT, [2, *[1] * 50, 3, 1], ["cache"]).row
    assert recent[3] > recent[2]


def test_a_part_with_nothing_to_say_leaves_the_rest_to_the_others(mixture: Mixture) -> None:
    blend = mixture.blend(FLAT, [0])
    assert {part for part, _, _ in blend.components} == {"lstm", "ngram"}
    assert sum(weight for _, weight, _ in blend.components) == pytest.approx(1)
    assert float(blend.row.sum()) == pytest.approx(1, abs=1e-6)


def test_shares_say_who_spoke(mixture: Mixture) -> None:
    blend = mixture.blend(FLAT, [0, 1])
    shares = blend.shares(2)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["ngram"] > shares["lstm"]
    assert blend.shares(0)["cache"] == 0


def test_weights_go_to_the_part_that_is_right(mixture: Mixture) -> None:
    chance = np.random.default_rng(0)
    given = np.stack([chance.uniform(0.5, 0.9, 400), chance.uniform(0, 0.1, 400), np.zeros(400), np.zeros(400)], 1)
    fitted = mixture.fit(given, np.zeros(400, dtype=np.int64))
    assert fitted.weights[0, 0] > 0.97
    np.testing.assert_allclose(fitted.weights.sum(1), 1)
    np.testing.assert_allclose(fitted.weights[1], mixture.weights[1])  # a kind of context that never came
    mean = np.log((given * fitted.weights[0]).sum(1)).mean()
    assert mean > np.log((given * mixture.weights[0]).sum(1)).mean()


@pytest.mark.parametrize("weights", [np.ones((8, 3)), np.full((8, 4), np.nan), -np.ones((8, 4))])
def test_weights_that_are_none_are_refused(mixture: Mixture, weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="weights"):
        Mixture(mixture.ngram, IS_WORD, weights)


def test_an_ngram_of_other_words_is_refused(mixture: Mixture) -> None:
    with pytest.raises(ValueError, match="number of words"):
        Mixture(mixture.ngram, IS_WORD[1:], mixture.weights)

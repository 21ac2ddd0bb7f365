"""Continuations chosen out of probabilities that are known."""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from ml.serve.decode import MOST_MARKS, Decoding, Rules, Sampling, beam_search, one_by_one, together

Rows = npt.NDArray[np.float32]
WORDS, MARKS = 6, 2  # ids 0 to 5 are words, 6 and 7 are marks
SIZE = WORDS + MARKS


def mask(*ids: int) -> npt.NDArray[np.bool_]:
    return np.isin(np.arange(SIZE), ids)


ALL = mask(*range(WORDS))
RULES = Rules(ALL, ALL)
MARKED = Rules(ALL, ALL, mask(6, 7))


def model(seed: int) -> Callable[[list[int]], Rows]:
    """Probabilities that depend on the last two ids."""
    table = np.random.default_rng(seed).dirichlet(np.full(SIZE, 0.3), (SIZE + 1, SIZE + 1)).astype(np.float32)

    def row(said: list[int]) -> Rows:
        last, before = ([*said[::-1], SIZE, SIZE])[:2]
        return table[before, last]

    return row


def say(decoding: Decoding, row: Callable[[list[int]], Rows]) -> list[int]:
    (said,) = together([decoding], lambda asked: np.stack([row(said) for _, said in asked]))
    return said


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_probability(said: list[int], row: Callable[[list[int]], Rows]) -> float:
    return float(sum(np.log(row(said[:at])[word]) for at, word in enumerate(said)))


# -- the likeliest, and by chance ------------------------------------------------------------------------------------


def test_without_a_temperature_each_word_is_the_likeliest() -> None:
    row = model(1)
    said = say(one_by_one(5, RULES, Sampling(), chance()), row)
    assert len(said) == 5
    for at, word in enumerate(said):
        assert word == row(said[:at])[:WORDS].argmax()


def test_only_what_may_be_said_is_said() -> None:
    rules = Rules(mask(3), mask(1, 2, 3))
    for decoding in (one_by_one(6, rules, Sampling(5.0), chance()), beam_search(6, rules, 3)):
        said = say(decoding, model(1))
        assert said[0] == 3
        assert set(said) <= {1, 2, 3}
        assert len(said) == 6


def test_an_impossible_word_is_said_where_no_other_may_be() -> None:
    def certain(said: list[int]) -> Rows:
        return np.eye(SIZE, dtype=np.float32)[0]

    rules = Rules(mask(4, 5), mask(4, 5))
    for decoding in (one_by_one(3, rules, Sampling(1.0), chance()), beam_search(3, rules, 2)):
        said = say(decoding, certain)
        assert len(said) == 3
        assert set(said) <= {4, 5}


@pytest.mark.parametrize("beams", [0, 3])
def test_where_nothing_may_be_said_it_ends(beams: int) -> None:
    rules = Rules(mask(), ALL)
    decoding = beam_search(4, rules, beams) if beams else one_by_one(4, rules, Sampling(), chance())
    assert say(decoding, model(1)) == []


def drawn(sampling: Sampling, weights: list[float]) -> npt.NDArray[np.float64]:
    """The share of each id in 4,000 draws."""
    random = chance(3)
    row = np.array(weights, np.float32)
    counts = np.bincount([sampling.choose(row, random) for _ in range(4_000)], minlength=len(row))
    return counts / counts.sum()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), [0.5, 0.25, 0.15, 0.1]),
        (Sampling(0.5), [25 / 34.5, 6.25 / 34.5, 2.25 / 34.5, 1 / 34.5]),
        (Sampling(1.0, top_k=2), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(1.0, top_k=1), [1, 0, 0, 0]),
        (Sampling(1.0, top_k=50), [0.5, 0.25, 0.15, 0.1]),
        (Sampling(1.0, top_p=0.7), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(1.0, top_p=0.8), [5 / 9, 2.5 / 9, 1.5 / 9, 0]),
        (Sampling(1.0, top_p=1e-9), [1, 0, 0, 0]),
        (Sampling(1.0, top_k=3, top_p=0.6), [2 / 3, 1 / 3, 0, 0]),  # 0.6 of what top_k left
        (Sampling(0.5, top_p=0.7), [1, 0, 0, 0]),  # behind the temperature
        (Sampling(0.0, top_k=3), [1, 0, 0, 0]),
    ],
)
def test_words_are_drawn_by_their_shares(sampling: Sampling, expected: list[float]) -> None:
    shares = drawn(sampling, [0.5, 0.25, 0.15, 0.1])
    np.testing.assert_allclose(shares, expected, atol=0.03)
    assert [share == 0 for share in shares] == [share == 0 for share in expected]


def test_a_cut_is_among_what_may_be_said() -> None:
    for cut in ({"top_k": 2}, {"top_p": 0.5}):
        rules = Rules(mask(1, 2, 3), mask(1, 2, 3))
        said = say(one_by_one(30, rules, Sampling(2.0, **cut), chance()), model(5))
        assert len(said) == 30
        assert set(said) <= {1, 2, 3}


def test_a_seed_repeats_its_draws() -> None:
    def said(seed: int) -> tuple[int, ...]:
        return tuple(say(one_by_one(8, RULES, Sampling(1.5, top_p=0.9), chance(seed)), model(1)))

    assert said(7) == said(7)
    assert len({said(seed) for seed in range(10)}) > 5


# -- beams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_enough_beams_find_the_likeliest_of_all(seed: int) -> None:
    row = model(seed)
    every = itertools.product(range(WORDS), repeat=3)
    best = max(every, key=lambda said: log_probability(list(said), row))
    assert say(beam_search(3, RULES, WORDS**2), row) == list(best)


def test_one_beam_is_the_likeliest_word_each_time() -> None:
    for seed in range(6):
        row = model(seed)
        assert say(beam_search(6, RULES, 1), row) == say(one_by_one(6, RULES, Sampling(), chance()), row)


def test_more_beams_find_likelier_continuations() -> None:
    gains = []
    for seed in range(30):
        row = model(seed)
        one, eight = (log_probability(say(beam_search(6, RULES, beams), row), row) for beams in (1, 8))
        gains.append(eight - one)
    assert np.mean(gains) > 0.3
    assert np.mean(np.array(gains) >= -1e-9) > 0.9


def test_beginnings_of_different_length_are_compared_by_their_mean() -> None:
    probabilities = {
        (): [0.5, 0.5, 0, 0, 0, 0, 0, 0],
        (0,): [0, 0, 0.2, 0, 0, 0, 0.8, 0],  # a mark, and then a word that is nearly sure: a mean of .5, .8 and .9
        (0, 6): [0, 0, 0.9, 0, 0, 0, 0.1, 0],
        (1,): [0, 0, 0, 0.45, 0.35, 0, 0.2, 0],  # at once a word: .5 and .45, a product above that of three
    }

    def row(said: list[int]) -> Rows:
        return np.array(probabilities.get(tuple(said), [0.125] * SIZE), np.float32)

    assert say(beam_search(2, MARKED, 4), row) == [0, 6, 2]


# -- marks between words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [0, 4])
def test_marks_are_no_words_and_never_come_first_last_or_without_end(beams: int) -> None:
    def mostly_marks(said: list[int]) -> Rows:
        return np.array([0.01] * WORDS + [0.5, 0.44], np.float32)

    for seed in range(5):
        decoding = beam_search(4, MARKED, beams) if beams else one_by_one(4, MARKED, Sampling(1.0), chance(seed))
        said = say(decoding, mostly_marks)
        words = [at for at, token in enumerate(said) if token < WORDS]
        assert len(words) == 4
        assert (words[0], words[-1]) == (0, len(said) - 1)
        assert max(np.diff(words)) <= MOST_MARKS + 1
        assert max(np.diff(words)) > 1


# -- many at once ----------------------------------------------------------------------------------------------------


def test_together_each_says_what_it_says_alone_in_as_many_steps_as_the_longest() -> None:
    row, steps = model(2), []

    def decodings() -> list[Decoding]:
        return [
            one_by_one(3, RULES, Sampling(), chance()),
            beam_search(6, RULES, 4),
            one_by_one(5, MARKED, Sampling(1.0), chance(4)),
            one_by_one(2, Rules(mask(), ALL), Sampling(), chance()),
        ]

    def probabilities(asked: list[tuple[int, list[int]]]) -> Rows:
        steps.append([i for i, _ in asked])
        return np.stack([row(said) for _, said in asked])

    alone = [say(decoding, row) for decoding in decodings()]
    assert together(decodings(), probabilities) == alone
    assert steps[0] == [0, 1, 2, 3]
    assert steps[1].count(1) == 4
    assert len(steps) == max(6, len(alone[2]))
    assert together([], probabilities) == []

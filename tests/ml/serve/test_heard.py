"""Texts as ids, piece by piece: what is remembered changes nothing."""

import time

import numpy as np
import pytest

from ml.data import text
from ml.data.text import Vocabulary
from ml.serve import heard
from ml.serve.heard import Hearing
from ml.serve.text import NextWord
from tests.ml.tiny import Finished

TEXTS = [
    "",
    " \n\t ",
    "I like the dog",
    "I like\nthe dog .\n\nGod said: can't, can’t!",
    "\n\nI like",
    "저는 커피를 좋아해요 .",
    "zebra Zebra, the zebra-dog 😀 quagga",
    "the\u2028dog\u00a0king\u3000queen",
    "x" * 3_000 + " dog",
    "\x00\u202e the \ufeff",
]


@pytest.fixture(scope="module")
def vocabulary(finished) -> Vocabulary:
    done: Finished = finished("lstm")
    return NextWord.open(done.run.artifact).vocabulary


def by_line(vocabulary: Vocabulary, said: str) -> list[int]:
    """The same by the definition: each line tokenized as a whole, <eos> between them."""
    ids: list[int] = []
    for line in said.split("\n"):
        between = [vocabulary.eos] if ids and ids[-1] != vocabulary.eos and vocabulary.eos is not None else []
        ids += [*between, *vocabulary.encode(text.tokenize(line))]
    return ids


def not_known(vocabulary: Vocabulary, said: str, most: int) -> list[str]:
    tokens = text.tokenize(said)[-most:]
    return list(dict.fromkeys(t for t in tokens if text.key(t) not in vocabulary.ids and text.is_word(t)))


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_pieces_give_the_ids_of_the_lines(vocabulary: Vocabulary, said: str) -> None:
    hearing = Hearing(vocabulary)
    for _ in range(2):  # the second time from memory
        assert hearing.ids(said) == by_line(vocabulary, said)


@pytest.mark.parametrize("most", [1, 2, 5, 50])
@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_unknown_words_are_those_of_the_last_tokens(vocabulary: Vocabulary, said: str, most: int) -> None:
    hearing = Hearing(vocabulary)
    for _ in range(2):
        assert hearing.unknown(said, most) == not_known(vocabulary, said, most)


def test_a_text_that_grows_is_heard_as_a_whole(vocabulary: Vocabulary) -> None:
    hearing, said = Hearing(vocabulary), "God said, I like\nthe dogs; they can’t like zebras"
    for end in range(len(said) + 1):
        assert hearing.ids(said[:end]) == by_line(vocabulary, said[:end])


def test_what_is_remembered_is_bounded(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard, "MOST_PIECES", 50)
    hearing, random = Hearing(vocabulary), np.random.default_rng(0)
    for _ in range(40):
        said = " ".join(f"{'y' * int(random.integers(100))}{number}" for number in random.integers(1_000, size=20))
        assert hearing.ids(said) == by_line(vocabulary, said)
        assert len(hearing._pieces) <= 50
    assert all(len(piece) <= heard.MOST_LETTERS for piece in hearing._pieces)


def test_a_long_text_takes_no_time(vocabulary: Vocabulary) -> None:
    hearing, said = Hearing(vocabulary), "I like the dog . " * 250
    began = time.process_time()
    for _ in range(100):
        hearing.ids(said)
    assert time.process_time() - began < 5  # about .03 on an idle core

"""Learned phrases as a part of what answers: which words they foretell, by how much, and what they leave alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml.data import text
from ml.mixture import Blend
from ml.serve.learned import WEIGHTS, Learned
from ml.serve.text import Answer, NextWord, Query
from tests.ml.tiny import Finished

PHRASES = ["I praise the Zorblax !", "the Zorblax hums\nthe dog sings", "we love Quuxes"]


@pytest.fixture(scope="module")
def plain(finished: Callable[[str], Finished]) -> NextWord:
    return NextWord.open(finished("lstm").run.artifact)


@pytest.fixture(scope="module")
def lecturer(lecture_run: Finished) -> NextWord:
    return NextWord.open(lecture_run.run.artifact)


@pytest.fixture
def vocabulary() -> text.Vocabulary:
    return text.build_vocabulary(["a b c d e f g ."])


def ask(predictor: NextWord, written: str, **wanted: object) -> Answer:
    (answer,) = predictor.answer([Query(written, **wanted)])  # type: ignore[arg-type]
    return answer


def rows(predictor: NextWord, *texts: str) -> list[np.ndarray]:
    work = [predictor.hear(Query(each)) for each in texts]
    return [blend.row for blend in predictor._blends(work, [each.before for each in work])]


def test_the_longest_match_counts_most(vocabulary: text.Vocabulary) -> None:
    learned = Learned(["a b c d e", "x b c f", "c g"], vocabulary)
    ids = learned.vocabulary.ids
    said = [ids[word] for word in ("a", "b", "c")]
    match = learned.match(said)
    assert match is not None
    assert match.length == 3
    # Three words say d; two say d or f alike; one says d, f or g.
    expected = {"d": 0.75 + 0.25 * (0.375 + 0.25 / 3), "f": 0.25 * (0.375 + 0.25 / 3), "g": 0.25 * 0.25 / 3}
    assert {word: match.row[ids[word]] for word in expected} == pytest.approx(expected)
    assert match.row.sum() == pytest.approx(1)
    assert learned.match([]) is None
    assert learned.match([ids["e"]]) is None  # nothing comes behind it
    assert learned.match([ids["."]]) is None
    assert learned.sources(said, ids["d"]) == ("a b c d e",)
    assert learned.sources(said, ids["g"]) == ("c g",)
    assert learned.sources([ids["."]], ids["x"]) == ("x b c f",)
    assert learned.sources([ids["."]], ids["a"]) == ()


@pytest.mark.parametrize("said", ["", "c", "b c", "a b c", "g a b c d", "x", "e"])
def test_probabilities_sum_to_one_over_all_words(vocabulary: text.Vocabulary, said: str) -> None:
    learned = Learned(["g a b c d e", "x b"], vocabulary)
    row = np.full(len(vocabulary), 1 / len(vocabulary), np.float32)
    blend = learned.join(Blend(row, (("lstm", 1.0, row),)), learned.vocabulary.encode(said.split()))
    assert blend.row.shape == (len(vocabulary) + 1,)
    assert blend.row.sum() == pytest.approx(1, abs=1e-5)
    assert sum(weight for _, weight, _ in blend.components) == pytest.approx(1)
    for part, _, each in blend.components:
        assert each.sum() == pytest.approx(1, abs=1e-5), part
    matching = {"": 0, "e": 0, "c": WEIGHTS[0], "b c": WEIGHTS[1], "a b c": WEIGHTS[2], "x": WEIGHTS[3]}
    weight = {part: share for part, share, _ in blend.components}["learned"]
    assert weight == pytest.approx(matching.get(said, WEIGHTS[3]), abs=1e-3)


def test_without_a_match_or_new_words_nothing_changes(vocabulary: text.Vocabulary) -> None:
    learned = Learned(["a b c"], vocabulary)
    row = np.random.default_rng(0).dirichlet(np.ones(len(vocabulary))).astype(np.float32)
    blend = learned.join(Blend(row, (("lstm", 1.0, row),)), learned.vocabulary.encode(["e"]))
    assert np.array_equal(blend.row, row)
    assert [part for part, _, _ in blend.components] == ["lstm"]


@pytest.mark.parametrize("which", ["plain", "lecturer"])
def test_a_model_learns_and_the_one_without_stays_as_it_is(which: str, request: pytest.FixtureRequest) -> None:
    model: NextWord = request.getfixturevalue(which)
    texts = ("I praise the ", "the Zorblax ", "we love ", "", "dog ")
    before = rows(model, *texts)
    knowing = model.knowing(PHRASES)
    words = knowing.vocabulary
    assert {words.shown[words.ids[word]] for word in ("zorblax", "quuxes")} == {"Zorblax", "Quuxes"}
    after = rows(knowing, *texts)
    for row in after:
        assert row.shape == (len(words),)
        assert row.sum() == pytest.approx(1, abs=1e-4)
    assert ask(knowing, "I praise the ").predictions[0].word == "Zorblax"
    assert ask(knowing, "the Zorblax ").predictions[0].word == "hums"
    assert [(each.word, each.kind) for each in ask(knowing, "I love Quu", top_k=1).predictions] == [
        ("Quuxes", "completion")
    ]
    assert ask(knowing, "zorblax quuxes").unknown_words == []
    assert all(np.array_equal(one, other) for one, other in zip(rows(model, *texts), before, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(rows(model.knowing([]), *texts), before, strict=True))


@pytest.mark.parametrize("parts", [("lstm",), ("ngram", "cache"), ("lstm", "ngram", "cache")])
def test_switched_off_it_says_nothing_new(plain: NextWord, parts: tuple[str, ...]) -> None:
    said = [(each.word, each.probability) for each in ask(plain, "I praise the ", parts=parts).predictions]
    knowing = plain.knowing(PHRASES)
    assert [(each.word, each.probability) for each in ask(knowing, "I praise the ", parts=parts).predictions] == said
    assert all(each.kind == "next" for each in ask(knowing, "Zorb", parts=parts).predictions)


def test_a_continuation_goes_on_through_new_words(plain: NextWord) -> None:
    knowing = plain.knowing(["Quux flies over Zorblax Hill .", "and then some"])
    assert ask(knowing, "Quux", words=4).continuation == "flies over Zorblax Hill"
    assert ask(knowing, "Quux flies", words=3, beams=3).continuation == "over Zorblax Hill"
    assert ask(knowing, "Quux", words=4, punctuation=True).continuation.startswith("flies over Zorblax Hill")
    blocked = ask(knowing, "Quux flies over ", top_k=50, words=8, blocklist=["ZORBLAX"])
    assert "Zorblax" not in [each.word for each in blocked.predictions]
    assert "Zorblax" not in blocked.continuation


def test_why(plain: NextWord, lecturer: NextWord) -> None:
    for model in (plain, lecturer):
        (first, *_) = ask(model.knowing(PHRASES), "I praise the ", explain=True).predictions
        assert first.why is not None
        assert first.why.phrases == (PHRASES[0],)
        assert first.why.shares["learned"] == pytest.approx(1)
        assert sum(first.why.shares.values()) == pytest.approx(1)
        other = ask(model.knowing(["the Zorblax"]), "zorblax ", explain=True).predictions[0]
        assert other.why is not None
        assert other.why.phrases in ((), ("the Zorblax",))


def test_a_companion_shares_the_network(plain: NextWord, tmp_path: Path) -> None:
    assert plain.knowing(PHRASES)._network is plain._network

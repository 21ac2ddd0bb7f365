"""A text model measured on texts: what it says of each token is what it answers with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import app
from ml.data.text import tokenize
from ml.mixture import PARTS, Part
from ml.serve.evaluate import LEAST, STREAMS, NothingKnown, evaluate, lines_of, read
from ml.serve.text import NextWord, Query
from tests.ml import tiny
from tests.ml.tiny import Finished

STARTER = Path(app.__file__).parent / "starters" / "next-word"


@pytest.fixture(scope="module")
def model(finished: Callable[[str], Finished]) -> NextWord:
    return NextWord.open(finished("lstm").run.artifact)


@pytest.fixture(scope="module")
def lecture_model(lecture_run: Finished) -> NextWord:
    return NextWord.open(lecture_run.run.artifact)


def lines(said: str) -> list[str]:
    return said.split("\n")


def by_hand(model: NextWord, ids: Sequence[int], parts: Sequence[Part]) -> list[float]:
    """The log-probability of each id behind all before it, one forward pass each."""
    eos, logs = model.vocabulary.eos, []
    for i, target in enumerate(ids):
        row = model.probabilities([list(ids[:i])])[0]
        if model.mixture is not None:
            row = model.mixture.blend(row, [*([] if eos is None else [eos]), *ids[:i]], parts).row
        logs.append(float(np.log(max(row[target], 1e-30))))
    return logs


@pytest.mark.parametrize("parts", [PARTS, ("lstm",), ("ngram",), ("cache", "lstm"), ("cache",)])
def test_each_token_is_as_likely_as_when_it_is_asked_for(model: NextWord, parts: Sequence[Part]) -> None:
    said = "I love the dog.\nI love the king!"  # with its line's end as many ids as the network's context holds
    reading = read(model, lines(said), keep=True)
    ids = model._hearing.ids(said)
    assert reading.ids.tolist() == ids
    assert len(ids) <= model.most
    found = evaluate(model, reading, parts)
    expected = by_hand(model, ids, parts)
    assert [each.log_probability for each in found.said] == pytest.approx(expected, abs=1e-5)
    assert [each.token for each in found.said] == [*tokenize("I love the dog."), "\n", *tokenize("I love the king!")]
    assert found.figures["loss"] == pytest.approx(-np.mean(expected), abs=1e-5)
    assert found.figures["perplexity"] == pytest.approx(np.exp(-np.mean(expected)), rel=1e-5)
    words = [log for log, token in zip(expected, found.said, strict=True) if token.token.isalpha()]
    assert found.figures["word_perplexity"] == pytest.approx(np.exp(-np.mean(words)), rel=1e-5)
    assert (found.tokens, found.scored, found.unknown_share) == (len(ids), len(ids), 0.0)


def test_top1_is_what_is_suggested_first(model: NextWord) -> None:
    said = "You hate the queen ."
    words = said.split()[:-1]
    hits = 0
    for i, word in enumerate(words):
        (answer,) = model.answer([Query(" ".join(words[:i]) + " ", top_k=1, complete_partial=False)])
        hits += answer.predictions[0].word.lower() == word.lower()
    assert evaluate(model, read(model, [said])).figures["top1"] == hits / len(words)


def test_the_test_part_gives_the_cards_figures(finished: Callable[[str], Finished], model: NextWord) -> None:
    """Not to the last digit: the card's streams begin at other places, each with nothing behind it."""
    done = finished("lstm")
    found, split = lines_of(done.source, model.manifest)
    assert split == "test"
    reading = read(model, found)
    test = np.load(done.run.prepared / "test.npy")
    assert reading.ids.tolist() == test[1:].tolist()  # behind the <eos> that everything starts with
    card = done.manifest.metrics
    for parts, prefix in ((PARTS, ""), (("lstm",), "lstm_"), (("ngram",), "ngram_")):
        figures = evaluate(model, reading, parts).figures
        for name in ("perplexity", "word_perplexity"):
            assert figures[name] == pytest.approx(card[prefix + name], rel=0.02), (prefix, name)
        for name in ("top1", "top3", "top5"):
            assert figures[name] == pytest.approx(card[prefix + name], abs=0.02), (prefix, name)


def test_another_text_is_measured_as_a_whole(model: NextWord, tmp_path: Path) -> None:
    found, split = lines_of(tiny.write_text(tmp_path / "other", ["I love it", "so"]), model.manifest)
    assert (list(found), split) == (["I love it", "so", ""], "all")


def test_an_older_version_held_out_other_lines(finished: Callable[[str], Finished], model: NextWord) -> None:
    older = model.manifest.model_copy(update={"serving": {"context": 12, "start": 1}})
    assert lines_of(finished("lstm").source, older)[1] == "all"


def test_side_by_side_is_as_one_after_another(model: NextWord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only how far back the network remembers depends on where a stretch begins: n-gram and cache are given all."""
    reading = read(model, tiny.SENTENCES, keep=True)
    parts: list[tuple[Part, ...]] = [("ngram", "cache"), ("lstm",)]
    many = [evaluate(model, reading, some) for some in parts]
    monkeypatch.setattr("ml.serve.evaluate.STREAMS", 1)
    one = [evaluate(model, reading, some) for some in parts]
    assert many[0].scored == len(reading.ids) > 6 * LEAST
    assert many[0].said == one[0].said
    assert many[0].figures == pytest.approx(one[0].figures)
    assert many[1].said != one[1].said
    assert many[1].figures["loss"] == pytest.approx(one[1].figures["loss"], rel=0.02)


def test_a_long_text_is_looked_at_all_over(model: NextWord) -> None:
    reading = read(model, ["I love the dog . " * 800 + "You hate the king . " * 800], keep=True)
    told: list[float] = []
    found = evaluate(model, reading, ("lstm",), 1000, lambda done, wanted: told.append(done / wanted))
    assert found.tokens == 8000
    assert 1000 <= found.scored < 1000 + STREAMS
    tokens = [each.token for each in found.said]
    assert tokens.count("dog") == pytest.approx(tokens.count("king"), rel=0.1)
    assert max(i for i, token in enumerate(tokens) if token == "dog") < tokens.index("king")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 10


def test_unknown_words_count_with_their_letters(model: NextWord) -> None:
    short, long = (read(model, [f"I love the {word} ."], keep=True) for word in ("zx", "zxzxzxzxzxzxzxzxzxzx"))
    assert short.words == 4
    assert short.unknown == 1
    found = [evaluate(model, reading) for reading in (short, long)]
    assert found[0].unknown_share == 0.25
    assert [each.known for each in found[0].said] == [True, True, True, False, True]
    assert found[1].figures["keystroke_savings"] < found[0].figures["keystroke_savings"]
    assert found[1].figures["perplexity"] == found[0].figures["perplexity"]


def test_learned_phrases_count_as_they_answer(model: NextWord) -> None:
    said, phrases = "I love the zxzx of Zanzibar .", ["the zxzx of Zanzibar"]
    before = evaluate(model, read(model, [said]))
    for parts in (PARTS, ("lstm", "ngram", "cache")):
        taught = model.knowing(phrases)
        reading = read(taught, [said], keep=True)
        assert reading.unknown == 0
        found = evaluate(taught, reading, parts)
        assert len(found.said) == len(taught.own(reading.ids.tolist())) == 7
        if parts == PARTS:
            assert found.figures["perplexity"] < before.figures["perplexity"] / 2
            assert found.said[4].log_probability > np.log(0.5)  # "of", behind "the zxzx"
        else:
            assert found.said[3].log_probability < np.log(1e-20)  # no other part has such a word


@pytest.mark.parametrize("said", ["", " \n\t\n", "zxzx qyqy", "\u202e\u2066"])
def test_nothing_known_is_said(model: NextWord, said: str) -> None:
    with pytest.raises(NothingKnown):
        read(model, lines(said))


def test_blank_lines_and_windows_line_ends_are_nothing(model: NextWord) -> None:
    plain = read(model, lines("I love the dog\nYou hate the king\n"))
    odd = read(model, lines("\n\nI love the dog\r\n\r\n \nYou hate the king\r\n\r\n"))
    assert plain.ids.tolist() == odd.ids.tolist() == model._hearing.ids("I love the dog\nYou hate the king\n")


# -- networks that give no hidden state, or were trained on windows ----------------------------------------------------


def test_the_lectures_model_reads_each_line_alone(lecture_model: NextWord) -> None:
    """It knows no line's end and no unknown word: neither is a token, and both are told."""
    reading = read(lecture_model, ["I like dog", "I love zebras"], keep=True)
    found = evaluate(lecture_model, reading)
    assert (found.tokens, found.scored, reading.words, reading.unknown) == (6, 5, 6, 1)
    ids = lecture_model.vocabulary.encode(["i", "like", "dog"])
    expected = by_hand(lecture_model, ids, PARTS) + by_hand(lecture_model, ids[:1], PARTS)
    logs = [each.log_probability for each in found.said]
    assert logs[:4] == pytest.approx(expected, abs=1e-5)
    assert [each.token for each in found.said] == ["I", "like", "dog", "I", "love"]


def test_the_lectures_model_with_a_learned_word(lecture_model: NextWord) -> None:
    taught = lecture_model.knowing(["I love zebras"])
    found = evaluate(taught, read(taught, ["I like dog", "I love zebras"], keep=True))
    assert (found.scored, found.unknown_share) == (6, 0.0)
    assert found.said[5].token == "zebras"
    assert found.said[5].log_probability > np.log(0.2)


def test_the_lectures_figures_are_of_what_it_learned(lecture_run: Finished, lecture_model: NextWord) -> None:
    found, split = lines_of(lecture_run.source, lecture_model.manifest)
    assert split == "train"
    said = evaluate(lecture_model, read(lecture_model, found, keep=True)).said
    assert all(each.log_probability > np.log(0.9) for each in said[2::3])  # the third word of each line


def test_a_version_without_a_hidden_state(tmp_path: Path) -> None:
    starter = NextWord.open(STARTER)
    if starter.carries:
        starter = _forgetful(starter)
    said = "In the beginning God created the heaven and the earth."
    reading = read(starter, [said] * 8, keep=True)
    found = evaluate(starter, reading, ("lstm",), most=160)
    ids = reading.ids.tolist()
    places = [0, 10, 50]
    rows = starter.probabilities([ids[max(0, i - starter.most) : i] for i in places])
    expected = [float(np.log(row[ids[i]])) for row, i in zip(rows, places, strict=True)]
    assert found.scored == 40  # of 95: each costs a whole context
    assert found.said[0].log_probability == pytest.approx(expected[0], abs=1e-5)


def _forgetful(model: NextWord) -> NextWord:
    model.manifest = model.manifest.model_copy(update={"config": model.manifest.config | {"windows": True}})
    return model

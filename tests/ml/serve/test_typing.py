"""Suggestions and continuations as a person would type them: capitals, marks, beams, cuts, and many scripts."""

import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import artifact
from ml.data import text
from ml.serve.text import Answer, NextWord, Query
from tests.ml import tiny
from tests.ml.tiny import Finished

SCRIPTS = [
    "오늘은 하늘이 참 맑아요 .",
    "저는 어제 가방을 샀어요 .",
    "הילדה קוראת ספר בגינה .",
    "ذهب الولد إلى المدرسة .",
    "من نمی‌خواهم به خانه برگردم .",
    "बच्चा हिन्दी में लिखता है ।",
    "Tôi uống cà phê sữa đá .",
    "Good luck 🍀 my friend 👩🏽‍🚀 .",
]


@pytest.fixture(scope="module")
def predictor(finished: Callable[[str], Finished]) -> NextWord:
    return NextWord.open(finished("lstm").run.artifact)


@pytest.fixture(scope="module")
def lecturer(lecture_run: Finished) -> NextWord:
    return NextWord.open(lecture_run.run.artifact)


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> NextWord:
    """A model that knows eight sentences by heart, each in a script or language of its own."""
    source = tiny.write_text(tmp_path_factory.mktemp("scripts"), SCRIPTS * 3)
    config = {"layers": 1, "dropout": 0.0, "dropout_hidden": 0.0, "negatives": 0, "min_count": 1, "evaluations": 1}
    run = tiny.new_run(tmp_path_factory.mktemp("polyglot"), "lstm", config=config)
    return NextWord.open(tiny.finish(run, source).run.artifact)


def ask(model: NextWord, written: str, **wanted: Any) -> Answer:
    (answer,) = model.answer([Query(written, **wanted)])
    return answer


def words(answer: Answer, kind: str | None = None) -> list[str]:
    return [found.word for found in answer.predictions if kind in (None, found.kind)]


def is_capital(word: str) -> bool:
    return word[0] == word[0].title()


# -- capitals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["", " \n", "I like the dog. ", "Then God said\n", "We hate coffee! "])
def test_a_sentence_begins_with_a_capital(predictor: NextWord, written: str) -> None:
    answer = ask(predictor, written, top_k=50, words=3)
    assert all(map(is_capital, words(answer)))
    assert answer.continuation.split()[0] == answer.predictions[0].word


@pytest.mark.parametrize("written", ["I like ", "I like the dog, ", "i like the dog. "])
def test_elsewhere_words_are_shown_as_inside_a_sentence(predictor: NextWord, written: str) -> None:
    found = words(ask(predictor, written, top_k=50))
    assert {"the", "dog", "God", "can’t"} <= set(found)
    assert not {"The", "Dog", "god"} & set(found)


def test_capitals_change_no_probability(predictor: NextWord) -> None:
    plain, capital = (ask(predictor, written, top_k=50) for written in ("i like the dog. ", "I like the dog. "))
    assert [text.key(word) for word in words(plain)] == [text.key(word) for word in words(capital)]
    assert [p.probability for p in plain.predictions] == [p.probability for p in capital.predictions]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("do", {"dog", "dogs"}), ("Do", {"Dog", "Dogs"}), ("DO", {"DOG", "DOGS"}), ("go", {"God", "good"})],
)
def test_a_half_typed_word_keeps_its_capitals(predictor: NextWord, typed: str, expected: set[str]) -> None:
    answer = ask(predictor, f"then he praise {typed}", words=2)
    assert set(words(answer, "completion")) == expected
    assert answer.continuation.split()[0] == answer.predictions[0].word


def test_who_shouts_is_answered_so(predictor: NextWord) -> None:
    answer = ask(predictor, "THEN GOD PRAISE THE ", words=4, top_k=50)
    assert all(word == word.upper() for word in [*words(answer), answer.continuation])


def test_the_lectures_words_stay_small(lecturer: NextWord) -> None:
    for written in ("", "i like", "I LIKE", "I like. "):
        answer = ask(lecturer, written, words=3, top_k=50)
        assert all(word == word.lower() for word in [*words(answer), answer.continuation])
    assert words(ask(lecturer, "I LIKE"))[0] == "dog"


# -- what is suggested, and how likely it is -------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["", "I like ", "I like the dog. ", "zebra"])
def test_with_what_may_not_be_suggested_probabilities_sum_to_one(predictor: NextWord, written: str) -> None:
    answer = ask(predictor, written, top_k=50, parts=["lstm"], complete_partial=False)
    (row,) = predictor.probabilities([predictor.vocabulary.encode(text.tokenize(written))])
    assert len(answer.predictions) == int(predictor.vocabulary.is_suggestion.sum())
    rest = float(row[~predictor.vocabulary.is_suggestion].sum())
    assert sum(found.probability for found in answer.predictions) + rest == pytest.approx(1, abs=1e-5)


def test_those_of_the_mixture_and_of_completions_do_too(predictor: NextWord, lecturer: NextWord) -> None:
    assert sum(p.probability for p in ask(lecturer, "i like", top_k=50).predictions) == pytest.approx(1, abs=1e-5)
    assert sum(p.probability for p in ask(predictor, "I like ", top_k=50).predictions) <= 1 + 1e-5
    completions = ask(predictor, "then th", top_k=50, complete_partial=True).predictions
    shares = [found.probability for found in completions if found.kind == "completion"]
    assert len(shares) > 2
    assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_broken_token_is_never_suggested(
    predictor: NextWord, finished: Callable[[str], Finished], tmp_path: Path
) -> None:
    source = finished("lstm").run.artifact
    vocabulary = predictor.vocabulary
    broken = dict(zip(["the", "dog", "king", "like"], ["\u0301the", "\ufe0f", "_", "�"], strict=True))
    forms = tuple(broken.get(word, word) for word in vocabulary.words)
    shutil.copytree(source, tmp_path / "version")
    replace(vocabulary, words=forms, shown=forms).save(tmp_path / "version" / "vocabulary.json")
    model = NextWord(tmp_path / "version", artifact.read(source))
    found = [ask(model, written, top_k=50, words=8) for written in ("I ", "", "I t", "\u0301")]
    assert not set(broken.values()) & {word for answer in found for word in words(answer)}
    assert not any(bad in answer.continuation for answer in found for bad in broken.values())
    assert len(found[0].predictions) == int(vocabulary.is_suggestion.sum()) - len(broken)


# -- refused words ---------------------------------------------------------------------------------------------------


def test_a_refused_word_is_not_suggested_this_time(predictor: NextWord) -> None:
    before = ask(predictor, "I like ", top_k=50, words=4)
    after = ask(predictor, "I like ", top_k=50, words=4, reject=["the"])
    assert words(before)[0] == "the"
    assert words(after) == [word for word in words(before) if word != "the"]
    assert after.continuation.split()[0] == words(after)[0]
    assert ask(predictor, "I like ", top_k=50, words=4) == before


def test_it_may_be_said_behind_the_first_word(predictor: NextWord) -> None:
    said = ask(predictor, "I ", words=2).continuation
    first, second = said.split()
    assert first != second
    assert ask(predictor, "I ", words=2, reject=[second]).continuation == said


@pytest.mark.parametrize(("refused", "gone"), [("The", True), ("the", True), ("THE", False), ("th", False)])
def test_a_word_is_refused_as_it_was_suggested_here_or_elsewhere(predictor: NextWord, refused: str, gone: bool) -> None:
    assert ("The" not in words(ask(predictor, "", top_k=50, reject=[refused]))) == gone


def test_refused_completions_leave_the_others_or_none(predictor: NextWord) -> None:
    written = "I like the do"
    assert words(ask(predictor, written, reject=["dog"]), "completion") == ["dogs"]
    assert words(ask(predictor, "I like the DO", reject=["DOG"]), "completion") == ["DOGS"]
    nothing = ask(predictor, written, reject=["dog", "dogs"])
    assert words(nothing, "completion") == []
    assert nothing.unknown_words == ["do"]
    assert len(nothing.predictions) == 5
    decomposed = unicodedata.normalize("NFD", "커피를")
    assert words(ask(predictor, "저는 커", reject=[decomposed]), "completion") == []


# -- beams and cuts --------------------------------------------------------------------------------------------------


def log_probability(model: NextWord, written: str, said: str) -> float:
    ids = model.vocabulary.encode(text.tokenize(written))
    more = model.vocabulary.encode(text.tokenize(said))
    rows = model.probabilities([ids + more[:at] for at in range(len(more))])
    return float(np.log(rows[range(len(more)), more]).sum())


def test_beams_find_likelier_continuations(predictor: NextWord) -> None:
    gains = []
    for written in ("I ", "I like ", "the queen ", "praise ", "We hate the king ", "Then ", "coffee "):
        one, many = (ask(predictor, written, words=5, beams=b, parts=["lstm"]).continuation for b in (1, 8))
        assert len(one.split()) == len(many.split()) == 5
        gains.append(log_probability(predictor, written, many) - log_probability(predictor, written, one))
    assert min(gains) > -1e-3
    assert max(gains) > 0.01


def test_beams_keep_to_what_may_be_said(predictor: NextWord) -> None:
    answer = ask(predictor, "I like the do", words=4, beams=4, blocklist=["DOG"], reject=["the"])
    said = answer.continuation.split()
    assert said[0] == "dogs"
    assert len(said) == 4
    assert not {"dog", "<unk>", "<eos>", "."} & set(said)
    everything = ask(predictor, "I like ", words=4, beams=4, blocklist=predictor.vocabulary.words)
    assert everything.continuation == ""


def test_beams_and_chance_beside_others_say_what_they_say_alone(predictor: NextWord) -> None:
    queries = [
        Query("I like ", words=5, beams=8),
        Query("Then ", words=8, temperature=1.5, seed=4, top_p=0.8),
        Query("We hate the qu", words=3, beams=2),
        *[Query("the ", words=6, beams=8)] * 5,  # more texts at once than one forward pass takes
        Query("", words=1),
    ]
    alone = [predictor.answer([query])[0].continuation for query in queries]
    assert [answer.continuation for answer in predictor.answer(queries)] == alone


def test_a_cut_to_one_word_is_the_likeliest(predictor: NextWord) -> None:
    greedy = ask(predictor, "I like ", words=6).continuation
    for cut in ({"sample_top_k": 1}, {"top_p": 1e-6}):
        assert ask(predictor, "I like ", words=6, temperature=2.0, seed=3, **cut).continuation == greedy


def test_a_cut_leaves_fewer_words_to_draw_from(predictor: NextWord) -> None:
    def drawn(**cut: Any) -> set[str]:
        queries = [Query("I like ", temperature=3.0, seed=seed, **cut) for seed in range(60)]
        return {answer.continuation for answer in predictor.answer(queries)}

    likeliest = words(ask(predictor, "I like ", top_k=3))
    assert drawn(sample_top_k=3) <= set(likeliest)
    assert 1 < len(drawn(top_p=0.5)) < len(drawn())


# -- marks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"beams": 4}, {"temperature": 1.0, "seed": 2}])
def test_with_punctuation_sentences_end_and_begin(predictor: NextWord, more: dict[str, Any]) -> None:
    said = ask(predictor, "I like the ", words=8, punctuation=True, **more).continuation
    assert len([token for token in text.tokenize(said) if text.is_word(token)]) == 8
    assert text.is_word(text.tokenize(said)[0])
    assert text.is_word(text.tokenize(said)[-1])
    assert ". " in said or "! " in said
    assert " ." not in said
    for mark, following in zip(said.split(), said.split()[1:], strict=False):
        assert is_capital(following) or mark[-1] not in ".!"
    assert "<eos>" not in said


def test_a_blocked_mark_is_not_said(predictor: NextWord) -> None:
    said = ask(predictor, "I like the ", words=8, punctuation=True, blocklist=["."]).continuation
    assert "." not in said
    assert len(said.split()) == 8


def test_without_it_only_words_are_said(predictor: NextWord) -> None:
    assert all(map(text.is_word, text.tokenize(ask(predictor, "I like the ", words=8).continuation)))


def test_what_goes_on_may_begin_with_a_mark_and_brings_its_space(predictor: NextWord) -> None:
    written = "We praise the dog"
    wanted = {"complete_partial": False, "goes_on": True}
    assert ask(predictor, written, punctuation=True, **wanted).continuation[:2] == ". "
    assert ask(predictor, written, **wanted).continuation[0] == " "
    assert ask(predictor, written + " ", **wanted).continuation[0] != " "


# -- scripts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("오늘은 ㅎ", "하늘이"),
        ("오늘은 한", "하늘이"),
        ("오늘은 하느", "하늘이"),
        ("저는 어제 갑", "가방을"),
        ("저는 어제 가바", "가방을"),
        ("ㅇ", None),  # two words begin so
        ("הילדה קו", "קוראת"),
        ("ذهب الو", "الولد"),
        ("من نمی\u200c", "نمی‌خواهم"),
        ("बच्चा हिन", "हिन्दी"),
        ("Tôi uô", "uống"),
        ("Tôi uống ca", "cà"),
        ("TÔI UỐ", "UỐNG"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_half_typed_words_of_all_scripts(polyglot: NextWord, written: str, word: str | None, form: str) -> None:
    typed = unicodedata.normalize(form, written)
    answer = ask(polyglot, typed)
    if word is None:
        assert set(words(answer, "completion")) == {"오늘은", "어제"}
        return
    assert words(answer, "completion") == [word]
    assert answer.predictions[0].replace_from == typed.rfind(" ") + 1
    assert answer.continuation == word
    assert answer.unknown_words == []


@pytest.mark.parametrize("sentence", SCRIPTS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_sentences_of_all_scripts_go_on(polyglot: NextWord, sentence: str, form: str) -> None:
    first, *rest = sentence.split()[:-1]
    answer = ask(polyglot, unicodedata.normalize(form, first) + " ", words=len(rest))
    assert answer.unknown_words == []
    assert answer.continuation == " ".join(rest)
    found = words(ask(polyglot, sentence.replace(" .", ". "), top_k=50))
    assert len(found) == int(polyglot.vocabulary.is_suggestion.sum())
    assert {"🍀", "👩🏽‍🚀", "하늘이", "ספר"} <= set(found)

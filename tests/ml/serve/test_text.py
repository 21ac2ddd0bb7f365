"""Next words from a published version, whatever text is put before them."""

import json
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml import artifact
from ml.artifact import ArtifactError
from ml.data import text
from ml.serve.text import Answer, NextWord, Query
from tests.ml import tiny
from tests.ml.tiny import Finished

Finish = Callable[[str], Finished]


@pytest.fixture(scope="module")
def predictor(finished: Finish) -> NextWord:
    return NextWord.open(finished("lstm").run.artifact)


@pytest.fixture(scope="module")
def lecturer(lecture_run: Finished) -> NextWord:
    return NextWord.open(lecture_run.run.artifact)


def ask(predictor: NextWord, written: str, **wanted: Any) -> Answer:
    (answer,) = predictor.answer([Query(written, **wanted)])
    return answer


def words(answer: Answer, kind: str | None = None) -> list[str]:
    return [found.word for found in answer.predictions if kind in (None, found.kind)]


def keys(found: Iterable[str]) -> set[str]:
    """Words as they are looked up: which of them are written with capitals is test_typing's."""
    return set(map(text.key, found))


def suggestable(predictor: NextWord) -> set[str]:
    words, allowed = predictor.vocabulary.words, predictor.vocabulary.is_suggestion
    return {word for word, may in zip(words, allowed, strict=True) if may}


# -- suggestions -----------------------------------------------------------------------------------------------------


def test_the_likeliest_words_come_first_with_their_probabilities(predictor: NextWord) -> None:
    answer = ask(predictor, "I like ", top_k=6, parts=["lstm"])
    (row,) = predictor.probabilities([predictor.vocabulary.encode(["I", "like"])])
    row = np.where(predictor.vocabulary.is_suggestion, row, 0)
    expected = np.sort(row)[::-1][:6]
    np.testing.assert_allclose([found.probability for found in answer.predictions], expected, rtol=1e-5)
    assert answer.predictions[0].word == "the"
    assert {found.kind for found in answer.predictions} == {"next"}
    assert {found.replace_from for found in answer.predictions} == {len("I like ")}


def test_probabilities_are_over_the_whole_vocabulary(predictor: NextWord) -> None:
    rows = predictor.probabilities([[], [2], [2, 3, 4]])
    assert rows.shape == (3, len(predictor.vocabulary))
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-5)
    assert (rows >= 0).all()


@pytest.mark.parametrize("top_k", [1, 3, 5, 50])
def test_there_are_as_many_as_asked_for_or_as_there_are(predictor: NextWord, top_k: int) -> None:
    for written in ("", "I like ", "I like the", "nothing of this is known "):
        found = words(ask(predictor, written, top_k=top_k))
        assert len(found) == len(set(found)) == min(top_k, len(suggestable(predictor)))


def test_a_model_of_nine_words_suggests_nine(lecturer: NextWord) -> None:
    assert sorted(words(ask(lecturer, "i like", top_k=50))) == sorted(lecturer.vocabulary.words)


def test_empty_text_is_the_start_of_a_sentence(predictor: NextWord, lecturer: NextWord) -> None:
    for model in (predictor, lecturer):
        answer = ask(model, "", parts=["lstm"])
        (row,) = model.probabilities([[]])
        likeliest = int(np.where(model.vocabulary.is_suggestion, row, 0).argmax())
        assert text.key(answer.predictions[0].word) == model.vocabulary.words[likeliest]
        assert [found.replace_from for found in answer.predictions] == [0] * 5
        assert words(answer) == words(ask(model, " \n\t ", parts=["lstm"]))


def test_only_the_models_context_counts_and_half_as_much_again(predictor: NextWord) -> None:
    recent = ["the", "queen", "I", "like"] * (predictor.most * 3 // 8 + 1)
    written = [" ".join(["God", "said", *recent]) + " ", " ".join(recent) + " "]
    far = predictor.answer([Query(each, parts=["lstm"]) for each in written])
    assert [found.word for found in far[0].predictions] == [found.word for found in far[1].predictions]
    assert far[0].predictions[0].probability == pytest.approx(far[1].predictions[0].probability, abs=1e-6)


# -- half-typed words ------------------------------------------------------------------------------------------------


def test_a_half_typed_word_is_completed(predictor: NextWord) -> None:
    answer = ask(predictor, "I like the do", top_k=5)
    assert set(words(answer, "completion")) == {"dog", "dogs"}
    completions, rest = answer.predictions[:2], answer.predictions[2:]
    assert {found.kind for found in completions} == {"completion"}
    assert {found.replace_from for found in completions} == {len("I like the ")}
    assert len(rest) == 3
    assert {(found.kind, found.replace_from) for found in rest} == {("next", len("I like the do"))}
    assert answer.unknown_words == []


def test_completions_share_the_probability_of_the_words_that_fit(predictor: NextWord) -> None:
    answer = ask(predictor, "I like the do", parts=["lstm"])
    (row,) = predictor.probabilities([predictor.vocabulary.encode(["I", "like", "the"])])
    fitting = {word: row[predictor.vocabulary.ids[word]] for word in ("dog", "dogs")}
    found = {p.word: p.probability for p in answer.predictions if p.kind == "completion"}
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    for word, probability in fitting.items():
        assert found[word] == pytest.approx(probability / sum(fitting.values()), rel=1e-4)
    shares = [p.probability for p in answer.predictions if p.kind == "completion"]
    assert shares == sorted(shares, reverse=True)


def test_fewer_are_asked_for_than_fit(predictor: NextWord) -> None:
    one = ask(predictor, "I like the do", top_k=1)
    assert [found.kind for found in one.predictions] == ["completion"]
    assert one.predictions[0] == ask(predictor, "I like the do", top_k=5).predictions[0]


def test_what_follows_a_half_typed_word_takes_it_as_it_stands(predictor: NextWord) -> None:
    answer = ask(predictor, "I like the do", top_k=5)
    taken = ask(predictor, "I like the do", top_k=3, complete_partial=False)
    assert [p.word for p in answer.predictions if p.kind == "next"] == words(taken)


def test_a_word_of_the_vocabulary_is_whole_unless_one_asks(predictor: NextWord) -> None:
    assert words(ask(predictor, "I like the dog"), "completion") == []
    asked = ask(predictor, "I like the dog", complete_partial=True)
    assert set(words(asked, "completion")) == {"dog", "dogs"}
    assert asked.predictions[0].replace_from == len("I like the ")


def test_completion_can_be_switched_off(predictor: NextWord) -> None:
    answer = ask(predictor, "I like the do", complete_partial=False)
    assert words(answer, "completion") == []
    assert answer.unknown_words == ["do"]


@pytest.mark.parametrize("written", ["I like the do ", "I like the do.", "I like the do\n", "I like the do 😀", "do'"])
@pytest.mark.parametrize("wanted", [None, True])
def test_nothing_is_half_typed_after_white_space_or_punctuation(
    predictor: NextWord, written: str, wanted: bool | None
) -> None:
    assert words(ask(predictor, written, complete_partial=wanted), "completion") == []


@pytest.mark.parametrize("wanted", [None, True])
def test_a_beginning_that_nothing_begins_with_is_an_unknown_word(predictor: NextWord, wanted: bool | None) -> None:
    answer = ask(predictor, "I like xyz", complete_partial=wanted)
    assert words(answer, "completion") == []
    assert len(answer.predictions) == 5
    assert answer.unknown_words == ["xyz"]


@pytest.mark.parametrize("written", ["I LIKE THE DO", "i Like tHe dO", "I like the Do"])
def test_case_keeps_no_word_from_being_found(predictor: NextWord, written: str) -> None:
    plain = ask(predictor, "i like the do")
    found = ask(predictor, written).predictions
    assert [text.key(p.word) for p in found] == [text.key(p.word) for p in plain.predictions]
    assert [p.replace_from for p in found] == [p.replace_from for p in plain.predictions]


def test_words_are_shown_as_they_are_written(predictor: NextWord) -> None:
    assert "God" in words(ask(predictor, "then go"), "completion")
    assert "god" not in words(ask(predictor, "then go", top_k=50))
    assert {"the", "there"} <= set(words(ask(predictor, "then th", top_k=50), "completion"))


def test_an_apostrophe_may_be_straight_or_curly(predictor: NextWord) -> None:
    for written in ("they can't", "they can’t"):
        assert words(ask(predictor, written, complete_partial=True), "completion") == ["can’t"]
        assert ask(predictor, written).unknown_words == []


def test_korean_is_completed_composed_or_not(predictor: NextWord) -> None:
    for written in ("저는 커피", unicodedata.normalize("NFD", "저는 커피")):
        answer = ask(predictor, written)
        assert words(answer, "completion") == ["커피를"]
        assert answer.predictions[0].replace_from == written.index(" ") + 1


@pytest.mark.parametrize(
    "before", ["", "😀👨‍👩‍👧 ", "커피 ", "e\u0301 ", "\x00\u202e ", "x" * 5_000 + " ", "the " * 3_000]
)
def test_the_place_to_replace_from_is_in_code_points_of_the_text_as_typed(predictor: NextWord, before: str) -> None:
    answer = ask(predictor, before + "do")
    assert answer.predictions[0].kind == "completion"
    assert answer.predictions[0].replace_from == len(before)
    assert answer.predictions[-1].replace_from == len(before) + 2


# -- what is never said ----------------------------------------------------------------------------------------------


GARBAGE = {
    "emoji only": "😀😀👨‍👩‍👧🇰🇷",
    "binary": bytes(range(256)).decode("latin-1") * 10,
    "nul": "\x00" * 100,
    "controls": "\x1b[31m\x07\x7f",
    "bidirectional": "\u202eI like\u2066 the\u2069",
    "a megabyte": "I like the dog. " * 65_536,
    "a megabyte without a space": "커" * 350_000,
    "a word of 3,000 letters": "a" * 3_000,
    "a lone surrogate": "I like \ud83d",
    "right to left": "שלום עולם ",
    "combining marks alone": "\u0301\u0302" * 500,
    "punctuation": "?!…—„“.,;" * 50,
    "the special entries": "<unk> <eos> <unk>",
    "white space": " \n\r\t\u3000\u2028",
}


@pytest.mark.parametrize("written", GARBAGE.values(), ids=GARBAGE)
def test_any_text_is_answered(predictor: NextWord, lecturer: NextWord, written: str) -> None:
    for model in (predictor, lecturer):
        answer = ask(model, written, words=3)
        assert len(answer.predictions) == 5
        assert keys(words(answer)) <= suggestable(model)
        assert all(0 <= found.probability <= 1 for found in answer.predictions)
        assert all(0 <= found.replace_from <= len(written) for found in answer.predictions)
        assert len(answer.continuation.split()) == 3


def test_a_megabyte_is_its_last_words(predictor: NextWord) -> None:
    long = "God said. " * 100_000 + "I like the do"
    answer, short = predictor.answer([Query(long), Query("God said. " * 20 + "I like the do")])
    assert words(answer) == words(short)
    assert answer.predictions[0].replace_from == len(long) - 2


def test_unknown_words_are_told_once_each_and_never_an_error(predictor: NextWord) -> None:
    answer = ask(predictor, "zebras, like zebras 😎 - I Like quaggas ")
    assert answer.unknown_words == ["zebras", "😎", "quaggas"]
    assert len(answer.predictions) == 5


def test_unk_and_punctuation_are_never_suggested_nor_said(predictor: NextWord) -> None:
    queries = [Query(w, top_k=50, words=8) for w in ("", "I like the dog", "zebra zebra ", "<unk>", "I like the dog .")]
    queries += [Query("zebra ", top_k=50, words=8, temperature=2.0, seed=seed) for seed in range(20)]
    for answer in predictor.answer(queries):
        said = keys(words(answer)) | keys(answer.continuation.split())
        assert said <= suggestable(predictor)
        assert not said & {"<unk>", "<eos>", ".", "!", ""}


@pytest.mark.parametrize("blocked", ["dog", "DOG", "Dog"])
def test_a_blocked_word_is_never_suggested_nor_said(predictor: NextWord, blocked: str) -> None:
    for written in ("I like the ", "I like the do", "I like the dog"):
        for wanted in (None, True, False):
            answer = ask(predictor, written, top_k=50, blocklist=[blocked], complete_partial=wanted, words=8)
            assert "dog" not in [*words(answer), *answer.continuation.split()]
            assert len(words(answer, "next")) == min(
                50 - len(words(answer, "completion")), len(suggestable(predictor)) - 1
            )
    assert words(ask(predictor, "I like the do", blocklist=[blocked]), "completion") == ["dogs"]


def test_a_blocklist_finds_words_as_they_are_looked_up(predictor: NextWord) -> None:
    blocklist = ["God", "can't", unicodedata.normalize("NFD", "커피를"), "😀", "never heard of"]
    answer = ask(predictor, "", top_k=50, blocklist=blocklist)
    assert not keys(words(answer)) & {"god", "can't", "커피를", "😀"}
    assert len(answer.predictions) == len(suggestable(predictor)) - 4


def test_when_every_word_is_blocked_nothing_is_said(predictor: NextWord) -> None:
    everything = list(predictor.vocabulary.words)
    for written in ("", "I like the do", "I like the dog"):
        answer = ask(predictor, written, blocklist=everything, words=8)
        assert answer.predictions == []
        assert answer.continuation == ""


@pytest.fixture(scope="module")
def peaked(finished: Finish, tmp_path_factory: pytest.TempPathFactory) -> NextWord:
    """A model so sure of the word "dog" that everything else has a probability of exactly 0."""
    config = {"learning_rate": 1e-30, "weight_decay": 0.0, "layers": 1}
    run = tiny.new_run(tmp_path_factory.mktemp("peaked"), "lstm", config=config, budget={"steps": 1})
    trainer = tiny.new_trainer(run, finished("lstm").source)
    with torch.no_grad():
        trainer.state.modules["model"].bias[trainer.data.vocabulary.ids["dog"]] = 300.0  # type: ignore[index, operator]
    trainer.fit()
    predictor = NextWord.open(run.artifact)
    assert np.count_nonzero(predictor.probabilities([[2, 3]])) == 1
    return predictor


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_unk_is_not_said_even_where_nothing_else_is_likely(peaked: NextWord, temperature: float) -> None:
    answer = ask(peaked, "I like the ", top_k=50, blocklist=["dog"], words=8, temperature=temperature, seed=1)
    said = keys(answer.continuation.split())
    assert len(answer.continuation.split()) == 8
    assert said <= suggestable(peaked) - {"dog"}
    assert keys(words(answer)) == suggestable(peaked) - {"dog"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_completion_fits_even_where_it_is_not_likely(peaked: NextWord, temperature: float) -> None:
    answer = ask(peaked, "I like the que", temperature=temperature, seed=1)
    assert answer.continuation == "queen"
    assert words(answer, "completion") == ["queen"]


# -- continuing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_continuation_has_as_many_words_as_asked_for(predictor: NextWord, count: int) -> None:
    for written in ("", "I like the do", "zebra", "커피"):
        assert len(ask(predictor, written, words=count).continuation.split(" ")) == count


def test_without_temperature_it_begins_with_the_first_suggestion(predictor: NextWord) -> None:
    for written in ("", "I like ", "I like the do", "then go"):
        answer = ask(predictor, written, words=4)
        assert answer.continuation.split()[0] == answer.predictions[0].word


def test_a_continuation_is_what_one_would_get_word_by_word(predictor: NextWord) -> None:
    written = "You praise "
    whole = ask(predictor, written, words=6).continuation
    for word in whole.split():
        assert ask(predictor, written).predictions[0].word == word
        written += word + " "


def test_a_continuation_goes_on_from_the_completion(predictor: NextWord) -> None:
    first, *rest = ask(predictor, "I like the que", words=4).continuation.split()
    assert first == "queen"
    assert rest == ask(predictor, "I like the queen ", words=3).continuation.split()


def test_chance_is_repeated_by_its_seed(predictor: NextWord) -> None:
    def said(seed: int | None) -> str:
        return ask(predictor, "", words=8, temperature=1.5, seed=seed).continuation

    assert said(3) == said(3)
    assert len({said(seed) for seed in range(10)}) > 5
    assert len({said(None) for _ in range(10)}) > 5


def test_chance_does_not_depend_on_who_else_asks(predictor: NextWord) -> None:
    query = Query("I like ", words=8, temperature=1.5, seed=3)
    alone = predictor.answer([query])[0].continuation
    together = predictor.answer([Query("x", words=2), query, Query("", words=8, temperature=1.0, seed=4)])
    assert together[1].continuation == alone


def test_a_low_temperature_is_nearly_the_likeliest_and_a_high_one_is_not(predictor: NextWord) -> None:
    alone: dict[str, Any] = {"words": 3, "parts": ["lstm"]}  # beside the n-gram some words are as good as equal
    greedy = ask(predictor, "I like ", **alone).continuation
    cold = {ask(predictor, "I like ", temperature=0.01, seed=seed, **alone).continuation for seed in range(10)}
    hot = {ask(predictor, "I like ", words=3, temperature=5.0, seed=seed).continuation for seed in range(10)}
    assert cold == {greedy}
    assert len(hot) > 5


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_the_smallest_temperature_is_the_likeliest(predictor: NextWord, temperature: float) -> None:
    greedy = ask(predictor, "I like ", words=3).continuation
    assert ask(predictor, "I like ", words=3, temperature=temperature, seed=1).continuation == greedy


# -- the mixture -----------------------------------------------------------------------------------------------------


def everything(predictor: NextWord, written: str, **wanted: Any) -> dict[str, float]:
    answer = ask(predictor, written, top_k=len(predictor.vocabulary), **wanted)
    return {found.word: found.probability for found in answer.predictions}


@pytest.mark.parametrize("parts", [["lstm"], ["ngram"], ["lstm", "cache"], ["lstm", "ngram", "cache"]])
def test_whatever_answers_is_a_distribution(predictor: NextWord, parts: list[Any]) -> None:
    query = Query("God said the queen and the dog ", parts=parts)
    work = predictor.hear(query)
    (blend,) = predictor._blends([work], [work.before])
    assert float(blend.row.sum()) == pytest.approx(1, abs=1e-5)
    assert blend.row.min() >= 0
    assert {part for part, _, _ in blend.components} == set(parts)


def test_a_word_that_the_caller_used_is_likelier(predictor: NextWord) -> None:
    plain, told = (everything(predictor, "I hate the ", context=c) for c in ("", "coffee coffee coffee coffee"))
    assert told["coffee"] > 1.02 * plain["coffee"]
    alone = [everything(predictor, "I hate the ", context=c, parts=["lstm"]) for c in ("", "coffee coffee coffee")]
    assert alone[0] == alone[1]


def test_why_a_word_is_suggested(predictor: NextWord) -> None:
    answer = ask(predictor, "The king said they can’t praise ", top_k=5, explain=True)
    (god,) = (found for found in answer.predictions if found.word == "God")
    assert god.why is not None
    assert sum(god.why.shares.values()) == pytest.approx(1)
    assert god.why.words == ("said", "they", "can't", "praise", "god")
    lines = predictor.sources(god.why)
    assert lines
    assert all("can’t praise God there" in line for _, line in lines)
    assert [tiny.SENTENCES[number - 1] for number, _ in lines] == [line for _, line in lines]


def test_a_line_s_first_word_is_explained_by_lines_that_start_with_it(predictor: NextWord) -> None:
    answer = ask(predictor, "", top_k=20, explain=True)
    found = next(found for found in answer.predictions if found.why is not None and found.why.first)
    assert found.why is not None
    assert all(line.lower().startswith(found.word.lower()) for _, line in predictor.sources(found.why))


def test_what_learned_line_by_line_reads_the_last_line(
    predictor: NextWord, finished: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NextWord.open(finished("lstm").run.artifact)
    monkeypatch.setattr(model, "_by_line", True)
    alone, behind = (
        everything(model, written, parts=["lstm"]) for written in ("I like ", "God said the king\nI like ")
    )
    assert alone == behind
    assert not model.carries
    assert everything(predictor, "God said the king\nI like ", parts=["lstm"]) != alone


def test_the_lecture_s_model_is_an_lstm_alone(lecturer: NextWord) -> None:
    assert lecturer.mixture is None
    (found,) = ask(lecturer, "i like ", top_k=1, explain=True, context="milk milk").predictions
    assert found.word == "dog"
    assert found.why is not None
    assert found.why.shares == {"lstm": 1.0}
    assert lecturer.sources(found.why) == []


def test_a_damaged_ngram_is_no_version(predictor: NextWord, finished: Finish, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished("lstm").run.artifact, tmp_path / "version"))
    manifest = artifact.read(folder)
    (folder / "ngram.safetensors").write_bytes(b"no tables")
    with pytest.raises(ArtifactError, match="n-gram"):
        NextWord(folder, manifest)


# -- many at once ----------------------------------------------------------------------------------------------------


def test_a_batch_equals_one_by_one(predictor: NextWord) -> None:
    written = ["", "I", "I like the", "I like the do", "zebra " * 40, "커피", "😀", "then God praise the king ."]
    queries = [Query(w, top_k=7, words=n, complete_partial=p) for w in written for n, p in ((1, None), (5, True))]
    for query, together in zip(queries, predictor.answer(queries), strict=True):
        (alone,) = predictor.answer([query])
        assert together.continuation == alone.continuation
        assert together.unknown_words == alone.unknown_words
        for one, other in zip(together.predictions, alone.predictions, strict=True):
            assert (one.word, one.kind, one.replace_from) == (other.word, other.kind, other.replace_from)
            assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_a_version_answers_the_same_after_it_is_opened_again(predictor: NextWord, finished: Finish) -> None:
    again = NextWord.open(finished("lstm").run.artifact)
    queries = [Query("I like the do"), Query("", words=8, temperature=1.0, seed=9)]
    assert again.answer(queries) == predictor.answer(queries)


# -- versions that cannot be used ------------------------------------------------------------------------------------


def copied(done: Finished, into: Path) -> Path:
    shutil.copytree(done.run.artifact, into)
    return into


def test_a_picture_model_predicts_no_words(finished: Finish) -> None:
    with pytest.raises(ArtifactError, match="a gan model draws pictures and predicts no words"):
        NextWord.open(finished("gan").run.artifact)


def test_an_altered_version_is_not_opened(lecture_run: Finished, tmp_path: Path) -> None:
    folder = copied(lecture_run, tmp_path / "version")
    with (folder / "vocabulary.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=r"vocabulary\.json"):
        NextWord.open(folder)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"words": []}', b"\xff"])
def test_a_vocabulary_that_cannot_be_read_is_said(lecture_run: Finished, tmp_path: Path, content: bytes | None) -> None:
    folder = copied(lecture_run, tmp_path / "version")
    (folder / "vocabulary.json").unlink()
    if content is not None:
        (folder / "vocabulary.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="the vocabulary cannot be read"):
        NextWord(folder, artifact.read(folder))


@pytest.mark.parametrize("serving", [{}, {"context": 2}, {"context": "two", "start": 9}, {"context": None, "start": 9}])
def test_a_manifest_that_does_not_say_how_to_serve_is_refused(
    lecture_run: Finished, tmp_path: Path, serving: dict[str, Any]
) -> None:
    folder = copied(lecture_run, tmp_path / "version")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"serving": serving}))
    with pytest.raises(ArtifactError):
        NextWord.open(folder)


def test_texts_are_read_as_in_training(predictor: NextWord, finished: Finish) -> None:
    trained = finished("lstm").trainer.data.vocabulary
    assert predictor.vocabulary == trained
    assert predictor.vocabulary.encode(text.tokenize("I LIKE the king")) == trained.encode(["i", "like", "the", "king"])


# -- at once ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(finished: Finish) -> NextWord:
    """One that has read nothing yet."""
    return NextWord.open(finished("lstm").run.artifact)


def at_once(predictor: NextWord, written: str, **wanted: Any) -> Answer | None:
    return predictor.at_once(predictor.hear(Query(written, **wanted)))


@pytest.mark.parametrize("parts", [["lstm"], ["lstm", "ngram", "cache"]])
@pytest.mark.parametrize("written", ["You would love the ", "You would love the c", "You would love the qwx"])
def test_what_was_read_already_is_answered_at_once(fresh: NextWord, written: str, parts: list[Any]) -> None:
    assert at_once(fresh, written, parts=parts) is None
    whole = ask(fresh, written, parts=parts)
    assert at_once(fresh, written, parts=parts) == whole
    assert at_once(fresh, written, parts=parts, temperature=0.7, seed=3) == ask(
        fresh, written, parts=parts, temperature=0.7, seed=3
    )
    assert at_once(fresh, written, parts=parts, top_k=2) == ask(fresh, written, parts=parts, top_k=2)


def test_a_letter_more_needs_no_reading_while_enough_words_begin_so(fresh: NextWord) -> None:
    ask(fresh, "The king and ")
    assert at_once(fresh, "The king and t", top_k=1) == ask(fresh, "The king and t", top_k=1)
    assert at_once(fresh, "The king and t", top_k=50) is None  # what fits is too little
    assert at_once(fresh, "The king and thq", top_k=1) is None  # no word: it has to be read


def test_what_needs_the_network_is_not_answered_at_once(
    fresh: NextWord, lecturer: NextWord, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(fresh, "They love ")
    assert at_once(fresh, "They love ") is not None
    assert at_once(fresh, "They love ", words=2) is None
    assert at_once(fresh, "They love ", punctuation=True, goes_on=True) is None
    monkeypatch.setattr("ml.serve.text.MOST_AT_ONCE", len(fresh.vocabulary) - 1)
    assert at_once(fresh, "They love ") is None  # so many words take longer than a moment
    ask(lecturer, "i like")
    assert at_once(lecturer, "i like") is None  # it remembers nothing


def test_at_once_without_the_network(fresh: NextWord) -> None:
    assert at_once(fresh, "A text that nobody read ", parts=["ngram"]) == ask(
        fresh, "A text that nobody read ", parts=["ngram"]
    )

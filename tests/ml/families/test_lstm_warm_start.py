"""The words and weights of a language model that starts from another one's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml.data import text
from ml.data.text import Vocabulary
from ml.families.base import TrainingError
from ml.families.lstm.warm_start import carry_weights, extend_vocabulary, read_vocabulary
from ml.serve.text import NextWord, Query
from ml.trainer import Trainer
from tests.ml import tiny
from tests.ml.tiny import Finished

OTHER = ["Brand new words are said here , my king ."] * 20 + ["Rare"]


def vocabulary(*lines: str) -> Vocabulary:
    return text.build_vocabulary(lines)


def on_other_text(folder: Path, base: Finished, lines: list[str] = OTHER, **spec: Any) -> Trainer:
    source = tiny.write_text(folder / "set", lines)
    run = tiny.new_run(folder / "run", "lstm", base=str(base.run.artifact), budget={"steps": 30}, **spec)
    return tiny.new_trainer(run, source)


# -- words -----------------------------------------------------------------------------------------------------------


def test_known_words_keep_their_ids_and_new_ones_follow_by_their_counts() -> None:
    known = vocabulary("the king loves God .", "the queen .")
    both = extend_vocabulary(known, vocabulary("a dog and a cat love the king", "a dog"), 30)
    assert both.words[: len(known)] == known.words
    assert both.shown[: len(known)] == known.shown
    assert both.words[len(known) :] == ("a", "dog", "and", "cat", "love")
    assert (both.unk, both.eos) == (0, 1)


def test_a_word_is_shown_as_the_text_at_hand_writes_it() -> None:
    known = vocabulary("the Shepherd and the King", "the Lord")
    both = extend_vocabulary(known, vocabulary("a shepherd and a Rose"), 30)
    assert [both.shown[both.ids[word]] for word in ("shepherd", "king", "rose")] == ["shepherd", "King", "Rose"]


@pytest.mark.parametrize(("most", "added"), [(100, 4), (6, 2), (4, 0), (2, 0)])
def test_most_words_are_counted_with_the_known_ones(most: int, added: int) -> None:
    known = vocabulary("one two three four")
    assert len(extend_vocabulary(known, vocabulary("five six seven eight"), most)) == len(known) + added


def test_the_lectures_plain_vocabulary_grows_likewise() -> None:
    known = text.plain_vocabulary(["i like dog"])
    both = extend_vocabulary(known, text.plain_vocabulary(["you like cat"]), 30)
    assert both == Vocabulary(("i", "like", "dog", "you", "cat"), ("i", "like", "dog", "you", "cat"))


@pytest.mark.parametrize("content", ["", "[]", '{"words": 3}', '{"words": ["a"], "shown": ["a"]}'])
def test_a_vocabulary_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(TrainingError, match="the base's vocabulary cannot be read"):
        read_vocabulary(tmp_path)


# -- weights ---------------------------------------------------------------------------------------------------------


def test_weights_that_are_not_for_their_vocabulary_are_refused() -> None:
    four = text.plain_vocabulary(["one two three four"])
    with pytest.raises(TrainingError, match="knows 5 words and its vocabulary has 4"):
        carry_weights({"bias": torch.zeros(5)}, four, four, one_hot=False)


def test_each_word_takes_what_is_known_of_it_wherever_it_stands() -> None:
    known, wanted = text.plain_vocabulary(["one two three four"]), text.plain_vocabulary(["four new two"])
    carried = carry_weights({"bias": torch.tensor([1.0, 2.0, 3.0, 4.0])}, known, wanted, one_hot=False)
    assert carried["bias"].tolist() == [4.0, 3.5, 2.0]


def test_with_its_own_words_alone_a_text_keeps_the_vocabulary_that_it_has_by_itself(
    finished: Any, tmp_path: Path
) -> None:
    base, config = finished("lstm"), {"min_count": 1, "own_words": True}
    trainer = on_other_text(tmp_path, base, config=config)
    alone = tiny.new_trainer(
        tiny.new_run(tmp_path / "alone", "lstm", config=config, budget={"steps": 2}), tmp_path / "set"
    )
    known, words = read_vocabulary(base.run.artifact), trainer.data.vocabulary
    assert words == alone.data.vocabulary
    shared = [word for word in words.words if word in known.ids]
    assert len(shared) > 2
    old = load_file(base.run.artifact / "weights.safetensors")
    new = trainer.state.modules["model"].state_dict()
    for name in ("embedding.weight", "bias"):
        for word in shared:
            torch.testing.assert_close(new[name][words.ids[word]], old[name][known.ids[word]], rtol=0, atol=0)
    torch.testing.assert_close(new["lstm.weight_hh_l0"], old["lstm.weight_hh_l0"], rtol=0, atol=0)
    scored = trainer.fit().score.held_out
    assert scored == alone.fit().score.held_out  # the same words: the one can be said to be better than the other


def test_what_was_learned_of_known_words_is_kept_on_another_text(finished: Any, tmp_path: Path) -> None:
    base = finished("lstm")
    trainer = on_other_text(tmp_path, base, config={"min_count": 2})
    known = read_vocabulary(base.run.artifact)
    words = trainer.data.vocabulary.words
    assert words[: len(known)] == known.words
    assert set(words[len(known) :]) == {"brand", "new", "words", "are", "here", ",", "my"}  # "rare" is said once

    old = load_file(base.run.artifact / "weights.safetensors")
    new = trainer.state.modules["model"].state_dict()
    for name, tensor in old.items():
        kept = new[name][: len(tensor)] if name in ("embedding.weight", "bias") else new[name]
        torch.testing.assert_close(kept, tensor, rtol=0, atol=0)
    assert new["embedding.weight"].shape[0] == new["bias"].shape[0] == len(words)
    fresh = new["bias"][len(known) :]
    assert old["bias"].min() <= fresh.min() <= fresh.max() <= old["bias"].max()


def test_new_words_are_learned_and_served(finished: Any, tmp_path: Path) -> None:
    trainer = on_other_text(tmp_path, finished("lstm"))
    manifest = trainer.fit()
    answered, *_ = NextWord.open(trainer.run.artifact).answer([Query("Brand new ")])
    assert answered.predictions[0].word == "words"
    assert manifest.serving["words"] == len(trainer.data.vocabulary)


def test_scores_among_other_words_are_not_comparable(finished: Any, tmp_path: Path) -> None:
    base = finished("lstm")
    manifest = on_other_text(tmp_path / "one", base).fit()
    source = tmp_path / "one" / "set"
    # From nothing, and with as many words: other ones.
    words = len(read_vocabulary(tmp_path / "one" / "run" / "artifact"))
    few = tiny.finish(tiny.new_run(tmp_path / "scratch", "lstm", budget={"steps": 2}), source).manifest
    assert f", {words} words, " in manifest.score.held_out
    assert few.score.held_out.endswith(" words, with n-gram and cache")
    assert few.score != manifest.score


def test_a_text_too_short_is_refused_although_the_base_knows_many_words(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fewer than two different words"):
        on_other_text(tmp_path, finished("lstm"), ["word"])


# -- one-hot words ---------------------------------------------------------------------------------------------------


def test_the_lectures_model_learns_a_sentence_more(lecture_run: Finished, tmp_path: Path) -> None:
    lines = [
        "i like dog",
        "i love coffee",
        "i hate milk",
        "you like cat",
        "you love milk",
        "you hate coffee",
        "we eat kimchi",
    ]
    source = tiny.write_text(tmp_path / "set", lines)
    run = tiny.new_run(tmp_path / "run", "lstm", preset="lecture", base=str(lecture_run.run.artifact), budget={})
    trainer = tiny.new_trainer(run, source)
    old = load_file(lecture_run.run.artifact / "weights.safetensors")
    new = trainer.state.modules["model"].state_dict()
    assert trainer.data.vocabulary.words[9:] == ("we", "eat", "kimchi")
    assert new["lstm.weight_ih_l0"].shape == (20, 12)
    assert new["weight"].shape == (12, 5)
    torch.testing.assert_close(new["lstm.weight_ih_l0"][:, :9], old["lstm.weight_ih_l0"], rtol=0, atol=0)
    torch.testing.assert_close(new["weight"][:9], old["weight"], rtol=0, atol=0)

    manifest = trainer.fit()
    assert manifest.metrics["top1"] == 1.0
    served = NextWord.open(run.artifact)
    answers = served.answer([Query("i love "), Query("we eat ")])
    assert [answer.predictions[0].word for answer in answers] == ["coffee", "kimchi"]


def test_a_one_hot_model_of_running_text_starts_from_one(tmp_path: Path) -> None:
    config = {"one_hot": True, "layers": 2}
    source = tiny.write_text(tmp_path / "base-set", tiny.SENTENCES)
    base = tiny.finish(tiny.new_run(tmp_path / "base", "lstm", config=config, budget={"steps": 3}), source)
    trainer = on_other_text(tmp_path, base, config=config)
    old = load_file(base.run.artifact / "weights.safetensors")
    new = trainer.state.modules["model"].state_dict()
    n = len(read_vocabulary(base.run.artifact))
    assert new["lstm.weight_ih_l0"].shape[1] == len(trainer.data.vocabulary) > n
    torch.testing.assert_close(new["lstm.weight_ih_l0"][:, :n], old["lstm.weight_ih_l0"], rtol=0, atol=0)
    torch.testing.assert_close(new["lstm.weight_ih_l1"], old["lstm.weight_ih_l1"], rtol=0, atol=0)

"""A text that starts from the shipped model by itself: which one does, with what, and that the choice holds."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ml import artifact, files
from ml.data import corpus, store
from ml.families.lstm import warm_start
from ml.families.lstm.config import LSTM
from ml.families.lstm.warm_start import read_vocabulary
from ml.run import RunDir
from ml.trainer import Interrupted, Trainer
from tests.ml import tiny

STARTER = Path(__file__).resolve().parents[3] / "app" / "starters" / "next-word"
CONFIG = {"evaluations": 1}  # nothing that gives a network its shape


def lines_of(words: list[str], count: int = 700) -> list[str]:
    """Lines of nine of the words and one that no Bible has, the first words the likeliest."""
    random = np.random.default_rng(0)
    chosen = np.minimum(random.geometric(0.02, (count, 9)) - 1, len(words) - 1)
    return [" ".join([*(words[i] for i in row), f"telephone{number % 50}"]) for number, row in enumerate(chosen)]


def english() -> list[str]:
    known = read_vocabulary(STARTER)
    return lines_of([word for word, said in zip(known.words, known.is_suggestion, strict=True) if said][:300])


def new_run(path: Path, base: Path = STARTER, config: dict[str, Any] | None = None, **spec: Any) -> RunDir:
    path.mkdir(parents=True)
    value = {"family": "lstm", "dataset": "given to the trainer", "budget": {"steps": 4}, "base": str(base)}
    value |= {"base_reference": "next-word@1", "base_if_it_fits": True, "config": CONFIG | (config or {}), **spec}
    files.write_json(path / "spec.json", value)
    return RunDir(path)


def said(trainer: Trainer) -> list[str]:
    return [event["text"] for event in tiny.events(trainer.run, "message")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_text(tmp_path_factory.mktemp("english") / "set", english())


def is_from_nothing(trainer: Trainer) -> bool:
    (told,) = tiny.events(trainer.run, "status")
    assert (trainer.base is None) == (told["base"] is None)
    assert said(trainer) == [] or trainer.base is not None
    return trainer.base is None


def test_an_english_text_starts_from_the_starter_and_its_card_says_so(source: Path, tmp_path: Path) -> None:
    trainer = tiny.new_trainer(new_run(tmp_path / "run"), source)
    assert said(trainer) == [
        'Starting from next-word@1: it knows 90 % of this text\'s words; say base "none" to start from nothing.'
    ]
    (told,) = tiny.events(trainer.run, "status")
    assert told["base"] == "next-word@1"
    usual = LSTM.settle("auto", CONFIG, store.read_info(source)).model_dump()
    rate = 0.3 * usual["learning_rate"]
    shape, few_passes = {"embedding": 128, "hidden": 384}, {"dropout": 0.2, "dropout_hidden": 0.1}
    wanted = usual | shape | few_passes | {"own_words": True, "learning_rate": pytest.approx(rate)}
    assert told["config"] == wanted

    words, known = trainer.data.vocabulary, read_vocabulary(STARTER)
    assert words == corpus.learn_vocabulary(source, usual["min_count"], usual["max_words"])
    old = load_file(STARTER / "weights.safetensors")["embedding.weight"]
    new = trainer.state.modules["model"].state_dict()["embedding.weight"]
    assert all(torch.equal(new[i], old[known.ids[word]]) for word, i in words.ids.items() if word in known.ids)

    manifest = trainer.fit()
    assert manifest.base is not None
    assert (manifest.base["reference"], manifest.base["dataset"]) == ("next-word@1", "kjv")
    assert manifest.config == wanted


def test_the_callers_own_config_goes_before(source: Path, tmp_path: Path) -> None:
    config = {"own_words": False, "learning_rate": 0.01, "hidden": 384}
    trainer = tiny.new_trainer(new_run(tmp_path / "run", config=config), source)
    assert not is_from_nothing(trainer)
    assert trainer.config.model_dump() == trainer.config.model_dump() | config
    assert len(trainer.data.vocabulary) > len(read_vocabulary(STARTER))


@pytest.mark.parametrize(
    "config",
    [{"embedding": 64}, {"hidden": 100}, {"layers": 2}, {"context": 20}, {"one_hot": True}, {"by_line": True}],
    ids=str,
)
def test_a_config_that_the_starter_cannot_have_starts_from_nothing(
    source: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    trainer = tiny.new_trainer(new_run(tmp_path / "run", config=config), source)
    assert is_from_nothing(trainer)
    assert trainer.config == LSTM.settle("auto", CONFIG | config, store.read_info(source))


@pytest.mark.parametrize(
    "lines",
    [
        lines_of(["저는", "커피를", "좋아해요", "오늘", "아침에", "학교에", "갔다", ","]),
        lines_of([f"{a}{b}ux" for a in "bdfgklmnpr" for b in "aeiou"]),
        english()[:400],  # too few words
        [" ".join(english()[at : at + 40]) for at in range(0, 400, 40)],  # the same, not learned by line
    ],
    ids=["korean", "made-up words", "few words", "few long lines"],
)
def test_a_text_that_it_does_not_fit_starts_from_nothing(tmp_path: Path, lines: list[str]) -> None:
    source = tiny.write_text(tmp_path / "set", lines)
    assert is_from_nothing(tiny.new_trainer(new_run(tmp_path / "run"), source))


def test_a_large_text_starts_from_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "MOST_WORDS", 6_000)
    assert is_from_nothing(tiny.new_trainer(new_run(tmp_path / "run"), source))


def test_the_starters_own_text_starts_from_nothing(source: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(STARTER, tmp_path / "base"))
    its_own, this = artifact.verify(base).dataset.sha256, store.read_info(source).sha256
    (base / "manifest.json").write_text((base / "manifest.json").read_text().replace(its_own, this))
    assert is_from_nothing(tiny.new_trainer(new_run(tmp_path / "run", base), source))


def test_a_starter_that_is_gone_or_damaged_is_no_error(source: Path, tmp_path: Path) -> None:
    assert is_from_nothing(tiny.new_trainer(new_run(tmp_path / "gone", tmp_path / "nowhere"), source))
    base = Path(shutil.copytree(STARTER, tmp_path / "base"))
    with (base / "weights.safetensors").open("r+b") as file:
        file.write(b"another")
    assert is_from_nothing(tiny.new_trainer(new_run(tmp_path / "damaged", base), source))


@pytest.mark.parametrize("was_there", [True, False])
def test_a_resumed_run_keeps_its_choice(source: Path, tmp_path: Path, was_there: bool) -> None:
    base = tmp_path / "base"
    if was_there:
        shutil.copytree(STARTER, base)
    trainer = tiny.new_trainer(new_run(tmp_path / "run", base), source)
    tiny.after_step(trainer, 2, tiny.interrupt)
    with pytest.raises(Interrupted):
        trainer.fit()
    if was_there:
        shutil.rmtree(base)
    else:
        shutil.copytree(STARTER, base)
    again = tiny.new_trainer(trainer.run, source)
    assert (again.base, again.config) == (trainer.base, trainer.config)
    assert (again.base is not None) == was_there
    manifest = again.fit()
    assert manifest.steps == 4
    assert (manifest.base is not None) == was_there


def test_the_share_of_a_texts_words_that_are_known(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["The lord said , unto Zorblax ; ?"])
    assert corpus.known_share(source, read_vocabulary(STARTER)) == pytest.approx(4 / 5)
    assert corpus.known_share(tiny.write_text(tmp_path / "marks", ["? !"]), read_vocabulary(STARTER)) == 0

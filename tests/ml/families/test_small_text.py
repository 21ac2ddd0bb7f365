"""A short text is learned within the preset's own budget: 60 lines, said twice over."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ml import files
from ml.data import text
from ml.data.store import DatasetInfo
from ml.families import catalog
from ml.families.base import TrainingError
from ml.families.lstm import model as lstm
from ml.families.lstm.config import LSTM, LSTMConfig, resolve
from ml.families.lstm.model import LSTMFamily
from ml.run import RunDir
from ml.serve.text import NextWord, Query
from ml.trainer import Interrupted
from tests.ml import tiny

NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas"]
NAMES += ["Karla", "Leo", "Mia", "Noah", "Olga", "Paul", "Rosa", "Simon", "Tina", "Ugo"]
JOBS = ["baker", "sailor", "doctor", "farmer", "painter", "teacher", "singer", "driver", "writer", "hunter"]
FOODS = ["bread", "soup", "cheese", "apples", "honey", "rice", "fish", "cake", "milk", "tea"]
TOWNS = ["Rome", "Oslo", "Paris", "Cairo", "Lima"]

LINES = [
    line
    for i, name in enumerate(NAMES)
    for line in (
        f"{name} is a {JOBS[(3 * i + i // 10) % 10]} in {TOWNS[(2 * i + 1) % 5]}.",
        f"In the morning {name} eats {FOODS[(7 * i + 3) % 10]}.",
        f"My friend {name} likes {JOBS[(i + 4) % 10]} songs and {FOODS[(3 * i + 1) % 10]}.",
    )
]


def answers() -> dict[str, str]:
    """The word after each beginning of a line, where all lines that begin so agree on it."""
    after: dict[str, set[str]] = {}
    for line in LINES:
        words = line.rstrip(".").split()
        for i in range(1, len(words)):
            after.setdefault(" ".join(words[:i]) + " ", set()).add(words[i])
    return {beginning: words.pop() for beginning, words in after.items() if len(words) == 1}


def test_sixty_lines_said_twice_are_known_after_the_presets_own_budget(tmp_path: Path) -> None:
    assert len(set(LINES)) == 60
    source = tiny.write_text(tmp_path / "set", LINES * 2)
    (tmp_path / "run").mkdir()
    files.write_json(tmp_path / "run" / "spec.json", {"family": "lstm", "dataset": "given", "seed": 0})
    done = tiny.finish(RunDir(tmp_path / "run"), source)
    assert done.manifest.epochs <= 15
    assert done.trainer.steps_per_epoch >= 20
    expected = answers()
    assert len(expected) > 150
    said = NextWord.open(done.run.artifact).answer([Query(beginning, top_k=1) for beginning in expected])
    right = [answer.predictions[0].word == word for answer, word in zip(said, expected.values(), strict=True)]
    assert np.mean(right) > 0.9


# -- line by line ----------------------------------------------------------------------------------------------------


def ids_of(lines: list[str]) -> tuple[text.Vocabulary, text.Ids]:
    vocabulary = text.build_vocabulary(lines)
    return vocabulary, text.encode_lines(lines, vocabulary)


def test_every_line_comes_once_from_its_beginning_to_its_end() -> None:
    lines = ["one two three", "four", "", "five six", "one six five four three"]
    vocabulary, ids = ids_of(lines)
    seen = []
    for x, y in text.line_batches(ids, vocabulary.eos, 2, np.random.default_rng(0)):
        assert x.dtype == y.dtype == np.int64
        for inputs, targets in zip(x, y, strict=True):
            told = int((targets != text.NO_TARGET).sum())
            assert inputs[0] == targets[told - 1] == vocabulary.eos
            np.testing.assert_array_equal(inputs[1:told], targets[: told - 1])
            assert (targets[told:] == text.NO_TARGET).all()
            seen.append(" ".join(vocabulary.words[i] for i in targets[: told - 1]))
    assert sorted(seen) == sorted(lines)


def test_lines_come_in_the_generators_order_and_go_on_at_any_batch() -> None:
    vocabulary, ids = ids_of([f"line {i}" for i in range(23)])

    def batches(seed: int, start: int = 0) -> list[list[list[int]]]:
        return [x.tolist() for x, _ in text.line_batches(ids, vocabulary.eos, 5, np.random.default_rng(seed), start)]

    whole = batches(1)
    assert [len(batch) for batch in whole] == [5, 5, 5, 5, 3]
    assert whole != batches(2)
    for start in range(6):
        assert batches(1, start) == whole[start:]


def test_a_line_too_long_for_an_update_comes_in_pieces() -> None:
    vocabulary, ids = ids_of(["a " * 300, "b"])
    assert text.line_starts(ids, vocabulary.eos) == [(0, 128), (128, 256), (256, 301), (301, 303)]


def info(words: int, lines: int) -> DatasetInfo:
    return tiny.info("text").model_copy(update={"counts": {"words": words, "lines": lines}})


@pytest.mark.parametrize(
    ("words", "lines", "values", "by_line"),
    [
        (720, 120, {}, True),
        (4_900, 900, {}, True),
        (5_000, 900, {}, False),
        (800, 19, {}, False),  # as lines, too few updates
        (4_000, 90, {}, False),  # a novel's paragraphs
        (720, 120, {"length": 8}, False),
        (720, 120, {"batch_size": 8}, False),
        (720, 120, {"by_line": False}, False),
        (720, 120, {"by_line": True, "batch_size": 8}, True),
        (800_000, 31_000, {"by_line": True}, True),
    ],
)
def test_short_texts_of_short_lines_are_learned_line_by_line(
    words: int, lines: int, values: dict[str, int], by_line: bool
) -> None:
    config = resolve(LSTM.config("auto", values), info(words, lines))
    assert config.by_line is by_line
    assert config.batch_size is not None
    assert values.get("batch_size", config.batch_size) == config.batch_size
    if "batch_size" not in values:
        assert config.length is not None
        assert (lines / config.batch_size if by_line else words / (config.batch_size * config.length)) >= 20


def run_by_line(path: Path, source: Path) -> tiny.Finished:
    values = {"by_line": True, "negatives": 4, "batch_size": 4, "evaluations": 2}
    return tiny.finish(tiny.new_run(path, "lstm", config=values, budget={"steps": 40}), source)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, sources: dict[str, Path]) -> None:
    whole = run_by_line(tmp_path / "whole", sources["lstm"])
    values = {"by_line": True, "negatives": 4, "batch_size": 4, "evaluations": 2}
    run = tiny.new_run(tmp_path / "halves", "lstm", config=values, budget={"steps": 40})
    first = tiny.new_trainer(run, sources["lstm"])
    tiny.after_step(first, 29, tiny.interrupt)
    with pytest.raises(Interrupted):
        first.fit()
    second = tiny.finish(run, sources["lstm"])
    assert tiny.differences(whole.trainer.state.tree(), second.trainer.state.tree()) == []
    assert whole.manifest.metrics == second.manifest.metrics


def test_it_is_measured_line_by_line_and_says_so(tmp_path: Path, sources: dict[str, Path]) -> None:
    done = run_by_line(tmp_path / "run", sources["lstm"])
    assert done.manifest.score.held_out.endswith(" words, line by line, with n-gram and cache")
    trainer = done.trainer
    family, vocabulary = trainer.family, trainer.data.vocabulary
    network = trainer.state.modules["model"].eval()
    nll, count = 0.0, 0
    ids = trainer.data.splits["test"]
    with torch.no_grad():
        for first, end in text.line_starts(ids, vocabulary.eos):
            line = torch.from_numpy(ids[first : end + 1].astype(np.int64))
            features, _ = network.features(line[None, :-1])
            nll += float(torch.nn.functional.cross_entropy(network.logits(features[0]), line[1:], reduction="sum"))
            count += len(line) - 1
    measured = family.evaluate(trainer.state, trainer.config, trainer.data, "test")
    assert measured["lstm_loss"] == pytest.approx(nll / count, rel=1e-4)


def test_a_large_text_is_not_learned_line_by_line(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lstm, "MOST_BY_LINE", 100)
    family = catalog.load("lstm")
    assert isinstance(family, LSTMFamily)
    with pytest.raises(TrainingError, match="by_line is for texts of at most 100 words"):
        family.prepare(sources["lstm"], LSTMConfig(by_line=True), tmp_path)

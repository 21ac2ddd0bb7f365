"""What a finished text model is weighed and measured on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ml.data.text import Vocabulary
from ml.families.lstm import answering
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.model import TextData
from ml.families.lstm.network import WordLSTM
from ml.mixture import WINDOW

WORDS = ("<unk>", "<eos>", *"abcdefgh")
VOCABULARY = Vocabulary(WORDS, WORDS, unk=0, eos=1)


@pytest.fixture
def model() -> WordLSTM:
    torch.manual_seed(0)
    config = LSTMConfig(embedding=4, hidden=4, dropout=0.0, dropout_hidden=0.0)
    return WordLSTM(config, len(WORDS)).eval()


def stream(count: int) -> np.ndarray:
    ids = np.random.default_rng(1).integers(2, len(WORDS), count).astype(np.int32)
    ids[::9] = 1
    return ids


@pytest.mark.parametrize("by_line", [False, True])
def test_every_token_comes_with_what_was_said_before(model: WordLSTM, by_line: bool) -> None:
    ids = stream(500)
    config = LSTMConfig(by_line=by_line)
    found = list(answering.contexts(model, config, TextData(VOCABULARY, {"test": ids}), "test", 10_000))
    assert len(found) >= 480
    for said, row, word in found:
        assert float(row.sum()) == pytest.approx(1, abs=1e-5)
        whole = [*said, word]
        assert any((ids[at : at + len(whole)] == whole).all() for at in np.flatnonzero(ids == whole[0]))


@pytest.mark.parametrize("by_line", [False, True])
def test_a_long_part_is_looked_at_all_over(model: WordLSTM, by_line: bool) -> None:
    ids = stream(40_000)
    data = TextData(VOCABULARY, {"test": ids})
    seen = list(answering.contexts(model, LSTMConfig(by_line=by_line), data, "test", 2_000))
    assert 1_500 <= len(seen) <= 4_000
    text = ids.astype(np.uint8).tobytes()
    places = [text.find(np.array([*said[-8:], word], dtype=np.uint8).tobytes()) for said, _, word in seen]
    assert len(np.unique(np.array(places) * 8 // len(ids))) == 8
    assert max(len(said) for said, _, _ in seen) <= WINDOW


def test_nothing_held_out_has_no_contexts(model: WordLSTM) -> None:
    data = TextData(VOCABULARY, {"train": stream(90)})
    assert list(answering.contexts(model, LSTMConfig(), data, "validation", 100)) == []
    fitted = answering.fit(model, LSTMConfig(), data)
    np.testing.assert_array_equal(fitted.weights, answering.Mixture.even(fitted.ngram, fitted.is_word).weights)


def test_the_last_line_is_what_follows_the_last_end() -> None:
    assert answering._line([1, 2, 3, 1, 4], 1) == [1, 4]
    assert answering._line([1, 2, 3], 1) == [1, 2, 3]
    assert answering._line([2, 3], None) == [2, 3]


def test_figures_are_of_what_answers_and_of_its_parts(model: WordLSTM, tmp_path: Path) -> None:
    data = TextData(VOCABULARY, {part: stream(300) for part in ("train", "validation", "test")})
    fitted = answering.fit(model, LSTMConfig(), data)
    figures = answering.figures(model, fitted, LSTMConfig(), data, "test")
    # The same text: the n-gram knows it by heart, and an untrained network does not.
    assert figures["ngram_perplexity"] < 6 < figures["lstm_perplexity"]
    assert figures["perplexity"] < figures["lstm_perplexity"]
    assert fitted.weights[:, 1].max() > 0.8

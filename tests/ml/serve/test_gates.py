"""An LSTM whose words are looked up: what the exported graph says, in the memory that its words take."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ml.artifact import ArtifactError
from ml.serve import gates
from ml.serve.gates import Gates, open_engine
from ml.serve.network import Fused
from ml.serve.text import NextWord
from tests.ml.tiny import Finished

Finish = Callable[[str], Finished]


@pytest.fixture(scope="module")
def version(one_layer: Path) -> Path:
    return one_layer


@pytest.fixture(scope="module")
def words(version: Path) -> int:
    return len(NextWord.open(version).vocabulary)


def given(words: int, rows: int = 5, length: int = 7) -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(rows)
    ids = random.integers(0, words, (rows, length))
    return ids, [random.standard_normal((1, rows, 24), dtype=np.float32) * 0.5 for _ in "hc"]


@pytest.mark.parametrize("heard", [0, 1, 5])
def test_it_says_what_the_exported_graph_says(version: Path, words: int, heard: int) -> None:
    looked_up, fused = Gates(version / "weights.safetensors", words), Fused(version / "next_word.onnx")
    ids, hidden = given(words)
    for _ in range(2):  # with new words, and with known ones
        for ours, its in zip(looked_up.run(ids, hidden, heard), fused.run(ids, hidden, heard), strict=True):
            assert ours.shape == its.shape
            np.testing.assert_allclose(ours, its, rtol=1e-4, atol=2e-4)


def test_a_word_is_multiplied_out_once(version: Path, words: int) -> None:
    engine, (ids, hidden) = Gates(version / "weights.safetensors", words), given(words)
    first = engine.run(ids, hidden, len(ids))
    engine._into[:] = np.nan  # what would multiply it again
    for again, before in zip(engine.run(ids, hidden, len(ids)), first, strict=True):
        np.testing.assert_array_equal(again, before)


def test_with_every_word_known_the_file_is_let_go(version: Path, words: int) -> None:
    engine = Gates(version / "weights.safetensors", words)
    _, hidden = given(words, rows=1)
    engine.run(np.arange(words)[None], hidden, 1)
    assert engine._embeddings is None
    engine.run(np.arange(words)[None], hidden, 1)


def test_threads_fill_one_table(version: Path, words: int) -> None:
    alone, shared = (Gates(version / "weights.safetensors", words) for _ in range(2))
    made: list[list[np.ndarray]] = [[] for _ in range(4)]

    def use(at: int) -> None:
        for seed in range(10):
            ids, hidden = given(words, rows=1 + (seed + at) % 5)
            made[at] += shared.run(ids, hidden, len(ids))

    running = [threading.Thread(target=use, args=(at,)) for at in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for at, found in enumerate(made):
        wanted: list[np.ndarray] = []
        for seed in range(10):
            ids, hidden = given(words, rows=1 + (seed + at) % 5)
            wanted += alone.run(ids, hidden, len(ids))
        assert len(found) == len(wanted) == 30
        for ours, its in zip(found, wanted, strict=True):
            # A number halfway between two of int16 may become either, as other words are multiplied out beside it.
            np.testing.assert_allclose(ours, its, rtol=1e-4, atol=2e-4)


def test_a_table_too_large_is_not_made(version: Path, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_engine(version, words), Gates)
    monkeypatch.setattr(gates, "MOST_BYTES", words * 4 * 24 * 2 - 1)
    assert isinstance(open_engine(version, words), Fused)


def test_the_lecture_and_two_layers_are_read_by_their_graphs(
    version: Path, finished: Finish, lecture_version: Path
) -> None:
    assert isinstance(NextWord.open(version)._network._engine, Gates)
    assert isinstance(NextWord.open(lecture_version)._network._engine, Fused)
    assert isinstance(NextWord.open(finished("lstm").run.artifact)._network._engine, Fused)


@pytest.mark.parametrize("name", ["embedding.weight", "lstm.weight_ih_l0", "project.bias", "bias"])
def test_weights_that_do_not_fit_are_refused(version: Path, words: int, tmp_path: Path, name: str) -> None:
    weights = load_file(version / "weights.safetensors")
    save_file(weights | {name: weights[name][:-1]}, tmp_path / "weights.safetensors")
    with pytest.raises(ArtifactError, match=f"holds no LSTM of one layer: {name}"):
        open_engine(tmp_path, words)


def test_without_weights_the_graph_answers(version: Path, words: int, tmp_path: Path) -> None:
    (tmp_path / "next_word.onnx").write_bytes((version / "next_word.onnx").read_bytes())
    assert isinstance(open_engine(tmp_path, words), Fused)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ArtifactError, match=r"weights.safetensors cannot be read"):
        open_engine(tmp_path, 9)

"""Products of eight bits: nearly what float32 says, the same whoever asks beside, and only where a card allows them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import artifact
from ml.artifact import Manifest
from ml.serve import graphs, int8
from ml.serve.gates import Gates, open_engine
from ml.serve.network import Fused
from ml.serve.session import open_session
from ml.serve.text import NextWord
from tests.ml import tiny
from tests.ml.tiny import Finished

WORDS, WIDTH, HIDDEN = 3_000, 48, 64


@pytest.fixture(scope="module")
def version(one_layer: Path) -> Path:
    return one_layer


@pytest.fixture(scope="module")
def manifest(version: Path) -> Manifest:
    return artifact.read(version)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """But for what another processor's float32 may round to another step. The steps' own noise is far above it."""
    return bool(np.isclose(one, other, rtol=1e-4, atol=1e-7).mean() > 0.98)


def with_figures(manifest: Manifest, **figures: Any) -> Manifest:
    return manifest.model_copy(update={"serving": manifest.serving | {"int8": figures}})


def test_whole_numbers_are_off_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).standard_normal((30, 50), np.float32)
    weight[7] = 0
    coded, unit = graphs.whole_numbers(weight)
    assert (coded.shape, coded.dtype, unit.shape) == ((50, 30), np.int8, (30,))
    assert np.abs(coded).max() == graphs.LARGEST_WEIGHT
    assert (np.abs(coded.T * unit[:, None] - weight) <= unit[:, None] * 0.5001).all()


@pytest.mark.parametrize("rows", [1, 2, 5, 30, 33])
def test_no_sum_is_cut_off(rows: int) -> None:
    """Weights and activations all at their largest: sixteen bits would not hold the sum of two such products, were
    weights of eight bits used in full."""
    weight = np.ones((4 * HIDDEN, HIDDEN), np.float32)
    steps = open_session(*graphs.recurrence(weight, int8=True))
    table, scales = np.zeros((1, 4 * HIDDEN), np.int8), np.ones((1, 1), np.float32)
    for h, says in ((1.0, 1.0), (-1.0, 0.0)):  # gates of HIDDEN and -HIDDEN: wide open, and shut
        state = np.full((rows, HIDDEN), h, np.float32)
        given = {"ids": np.zeros((rows, 1), np.int64), "h": state, "c": 0 * state, "table": table, "scales": scales}
        h_out, c_out = steps.run(["h_out", "c_out"], given)
        assert np.allclose(c_out, says, atol=1e-6)
        assert np.allclose(h_out, np.tanh(says) * says, atol=1e-6)


def test_the_output_is_nearly_that_of_float32_and_each_row_its_own() -> None:
    random = np.random.default_rng(0)
    project, words = (
        random.standard_normal((WIDTH, HIDDEN), np.float32),
        random.standard_normal((WORDS, WIDTH), np.float32),
    )
    shift, bias = random.standard_normal(WIDTH, np.float32), random.standard_normal(WORDS, np.float32)
    exact, coded = (open_session(*graphs.output(project / 8, shift, words / 4, bias, eight)) for eight in (False, True))
    h = np.tanh(random.standard_normal((30, HIDDEN), np.float32))
    h[3] *= 1e-3  # its steps are its own
    rows = coded.run(["rows"], {"h": h})[0]
    assert np.allclose(rows.sum(1), 1, atol=1e-5)
    wanted = exact.run(["rows"], {"h": h})[0]
    assert np.abs(np.log(rows / wanted)).mean() < 0.03
    assert (rows.argmax(1) == wanted.argmax(1)).mean() > 0.9
    assert not same(rows, wanted)
    for i in range(len(h)):
        assert same(coded.run(["rows"], {"h": h[i : i + 1]})[0][0], rows[i])


def test_an_answer_does_not_depend_on_what_is_read_beside_it(version: Path) -> None:
    words = len(NextWord.open(version).vocabulary)
    engine, random = Gates(version / "weights.safetensors", words, int8=True), np.random.default_rng(1)
    ids, zeros = random.integers(0, words, (30, 9)), [np.repeat(state, 30, 1) for state in engine.zeros]
    engine.run(np.arange(words)[None], [state[:, :1] for state in zeros], 1)  # every word is in its table
    together = engine.run(ids, zeros, 30)
    for i in range(30):
        alone = engine.run(ids[i : i + 1], [state[:, :1] for state in zeros], 1)
        for ours, its in zip(alone, together, strict=True):
            assert same(ours.reshape(-1), its.reshape(-1, 30, its.shape[-1])[:, i].reshape(-1))


def test_it_is_measured_on_the_test_part(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = len(NextWord.open(version).vocabulary)
    ids = np.random.default_rng(0).integers(0, words, 3_000)
    figures = int8.measure(version, words, ids)
    assert figures is not None
    assert figures["perplexity"] == pytest.approx(1, abs=0.05)
    assert figures["tokens"] == 92 * int8.STREAMS
    assert int8.measure(version, words, ids[:900]) is None  # one word more or less would decide


def test_two_layers_have_no_such_figures(finished: object) -> None:
    done: Finished = finished("lstm")  # type: ignore[operator]
    words = len(NextWord.open(done.run.artifact).vocabulary)
    assert isinstance(open_engine(done.run.artifact, words, int8=True), Fused)
    assert int8.measure(done.run.artifact, words, np.zeros(3_000, np.int32)) is None


def test_a_training_writes_them_into_the_card(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST", 1)
    monkeypatch.setattr(int8, "STREAMS", 2)
    run = tiny.new_run(tmp_path / "run", "lstm", config={"layers": 1})
    figures = tiny.finish(run, sources["lstm"]).manifest.serving["int8"]
    assert figures["perplexity"] == pytest.approx(1, abs=0.05)
    assert figures["tokens"] > 1


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"perplexity": 1.0049, "top1": 0.9951}, None),
        ({"perplexity": 1.006, "top1": 1.0}, r"perplexity \+0.60%, top1 \+0.00%, and 0.5% are allowed"),
        ({"perplexity": 1.0, "top1": 0.99}, r"top1 -1.00%"),
        ({"perplexity": float("nan"), "top1": 1.0}, r"perplexity \+nan%"),
        ({"perplexity": 1.0}, r"cannot be read"),
        ({"perplexity": "much", "top1": 1.0}, r"cannot be read"),
    ],
)
def test_the_card_decides(manifest: Manifest, figures: dict[str, Any], why: str | None) -> None:
    said = int8.refusal(with_figures(manifest, **figures))
    assert said is None if why is None else re.search(why, str(said))


def test_a_version_answers_with_them_only_where_its_card_allows_it(version: Path, manifest: Manifest) -> None:
    fine = with_figures(manifest, perplexity=1.0, top1=1.0)
    assert "no figures of int8" in (int8.refusal(manifest) or "")
    assert NextWord(version, fine, int8=True).int8
    assert not NextWord(version, fine).int8
    assert not NextWord(version, manifest, int8=True).int8

"""ONNX Runtime as it is opened here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.artifact import ArtifactError
from ml.serve import graphs
from ml.serve.session import open_session
from tests.ml.tiny import Finished


@pytest.mark.parametrize("content", [None, b"", b"not a model", bytes(1000)])
def test_what_is_no_model_is_refused_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "next_word.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"next_word\.onnx does not load"):
        open_session(tmp_path / "next_word.onnx")


def test_it_keeps_to_one_thread_on_the_cpu(lecture_run: Finished) -> None:
    session = open_session(lecture_run.run.artifact / "next_word.onnx")
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_the_library_is_loaded_without_its_telemetry() -> None:
    code = (
        "import os, sys; from ml.serve import session; assert 'onnxruntime' in sys.modules;"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "1"


def test_weights_that_a_graph_is_handed_may_go_afterwards() -> None:
    random = np.random.default_rng(0)
    project, shift, words, bias = (
        random.standard_normal(shape, np.float32) for shape in ((16, 24), (16,), (5000, 16), (5000,))
    )
    heard = {"h": random.standard_normal((3, 24), np.float32)}
    logits = (heard["h"] @ project.T + shift) @ words.T + bias
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    session = open_session(*graphs.output(project, shift, words, bias))
    for weights in (project, shift, words, bias):
        weights[...] = 0
    np.testing.assert_allclose(session.run(["rows"], heard)[0], expected, rtol=1e-4, atol=1e-9)


def test_weights_of_another_shape_than_the_graph_says_are_refused() -> None:
    graph, weights = graphs.recurrence(np.zeros((64, 16), np.float32))
    with pytest.raises(ArtifactError, match="a graph of the weights does not load"):
        open_session(graph, weights | {"weight": np.zeros((64, 15), np.float32)})

"""ONNX Runtime as this service runs it: one thread, no spinning."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ml.artifact import ArtifactError

# Before the library is loaded: it would report its use over the network, and wait seconds for that at exit.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort


def open_session(graph: Path | bytes, weights: Mapping[str, npt.NDArray[Any]] | None = None) -> ort.InferenceSession:
    """Load an ONNX file, or what would be in one, on the CPU. Raises ArtifactError when ONNX Runtime refuses it.

    `weights` are those that the graph names and does not hold; they are copied.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # two threads beside any load cost ten times; requests are batched instead
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        if weights is not None:
            values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
        given = graph if isinstance(graph, bytes) else str(graph)
        session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        session._model_bytes = None  # to load it again with, for another device: `weights` are gone by then
        return session
    except Exception as error:  # its exceptions share no base of their own
        name = "a graph of the weights" if isinstance(graph, bytes) else graph.name
        raise ArtifactError(f"{name} does not load: {error}") from error

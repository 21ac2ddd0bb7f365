"""ONNX Runtime as this service runs it: one thread, no spinning."""

import os
from pathlib import Path

from ml.artifact import ArtifactError

# Before the library is loaded: it would report its use over the network, and wait seconds for that at exit.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort


def open_session(path: Path) -> ort.InferenceSession:
    """Load one ONNX file on the CPU. Raises ArtifactError when ONNX Runtime refuses it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # two threads beside any load cost ten times; requests are batched instead
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base of their own
        raise ArtifactError(f"{path.name} does not load: {error}") from error

"""A version's predictor, loaded and tried: whoever gets one can answer at once."""

from pathlib import Path

from ml.artifact import ArtifactError, Manifest
from ml.serve.images import Sampler
from ml.serve.text import NextWord, Query


def open_warm(folder: Path, manifest: Manifest) -> NextWord | Sampler:
    """Load a verified version and answer once. Raises ArtifactError when it does not load or does not answer."""
    predictor = NextWord(folder, manifest) if manifest.modality == "text" else Sampler(folder, manifest)
    try:
        if isinstance(predictor, NextWord):
            predictor.answer([Query("")])
        else:
            predictor.draw(0)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ArtifactError(f"it does not answer: {error}") from error
    return predictor

"""A version's predictor, loaded and tried: whoever gets one can answer at once."""

from collections.abc import Callable
from pathlib import Path

from ml.artifact import ArtifactError, Manifest
from ml.data.store import Modality
from ml.serve.density import Density
from ml.serve.images import Sampler
from ml.serve.state_cache import StateCache
from ml.serve.text import NextWord, Query


def open_warm(
    folder: Path, manifest: Manifest, states: StateCache | None = None, int8: bool = False
) -> NextWord | Sampler | Density:
    """Load a verified version and answer once. Raises ArtifactError when it does not load or does not answer.

    `states` is where text models remember what they read, `int8` what they answer with where their cards allow it.
    """
    kinds: dict[Modality, Callable[[], NextWord | Sampler | Density]] = {
        "text": lambda: NextWord(folder, manifest, states, int8),
        "image": lambda: Sampler(folder, manifest),
        "number": lambda: Density(folder, manifest),
    }
    predictor = kinds[manifest.modality]()
    try:
        if isinstance(predictor, NextWord):
            predictor.answer([Query("")])
        else:
            predictor.draw(0)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ArtifactError(f"it does not answer: {error}") from error
    return predictor

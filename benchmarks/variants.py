"""Text models for benchmarks: versions in turns with plainly different answers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from app.core.config import Settings
from app.services import STARTERS, Services
from ml import artifact

SMALL = "small"  # the lecture's model: nine words, so the service's own work is what is measured
TEXTS = {"next-word": "in the beginning god created the ", SMALL: "i like "}


def prepare(data_dir: Path, scratch: Path, versions: int) -> None:
    """Give the data folder of a service that is not running `versions` versions of `next-word` and of SMALL.

    Odd ones are the model as it is, even ones its variant. The first answers.
    """
    run = scratch / "run"
    run.mkdir(parents=True)
    (run / "spec.json").write_text(json.dumps({"family": "lstm", "dataset": "lecture", "preset": "lecture"}))
    subprocess.run([sys.executable, "-m", "ml.train", str(run)], check=True)
    services = Services(Settings(data_dir=data_dir))
    services.registry.install_starters(STARTERS)
    for name, source in (("next-word", STARTERS / "next-word"), (SMALL, run / "artifact")):
        _vary(source, scratch / name)
        for version in range(1, versions + 1):
            folder = source if version % 2 else scratch / name
            if (name, version) != ("next-word", 1):
                services.registry.register(folder, name, "never")
        services.registry.activate(name, 1)
    services.close()


def _vary(source: Path, into: Path) -> None:
    """The version at `source` with another bias and its words in capitals: both halves of an answer tell which it is.

    So an answer made of one version's network and the other's vocabulary would show.
    """
    manifest = artifact.read(source)

    def fill(new: Path) -> artifact.Manifest:
        network = onnx.load(source / "next_word.onnx")
        (bias,) = (tensor for tensor in network.graph.initializer if tensor.name == "bias")
        values = numpy_helper.to_array(bias)
        bias.CopyFrom(numpy_helper.from_array(values + np.linspace(0, 1, len(values), dtype=values.dtype), "bias"))
        onnx.save(network, str(new / "next_word.onnx"))
        vocabulary = json.loads((source / "vocabulary.json").read_bytes())
        vocabulary["shown"] = [word.upper() for word in vocabulary["shown"]]
        (new / "vocabulary.json").write_text(json.dumps(vocabulary))
        return manifest

    artifact.write(into, fill)

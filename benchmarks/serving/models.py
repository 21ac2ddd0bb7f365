"""The models that are asked: real versions of ours in a data folder, and the same weights for the rivals.

*lecture* is trained in full, in seconds. *medium* has the sizes of the issue and is trained for a moment on a generated
text: how long an answer takes does not depend on what the weights are.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from app.core.config import Settings
from app.services import STARTERS, Services
from ml import artifact
from ml.data import builtin, store
from ml.data.store import DatasetInfo

LECTURE, MEDIUM = "lecture", "medium"
SECOND = "data-of-a-second"  # a copy of the data folder, for two services at a time
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


@dataclass(frozen=True)
class Size:
    """Of the medium model: `words` of vocabulary, the unknown word and the end of a line among them."""

    words: int = 10_000
    embedding: int = 256
    hidden: int = 512
    context: int = 20
    said: int = 120_000  # words of the generated text
    steps: int = 60


QUICK = Size(words=500, embedding=32, hidden=48, said=8_000, steps=10)


@dataclass(frozen=True)
class Models:
    """Where they are: `data_dir` for our service, `rival` for the others; and the words to make texts of."""

    data_dir: Path
    rival: Path
    words: dict[str, list[str]]


def make(folder: Path, size: Size) -> Models:
    """Make what is not in `folder` yet."""
    done, wanted = folder / "done.json", {"size": vars(size), "format": 5}
    if not done.exists() or json.loads(done.read_text()) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, size)
        done.write_text(json.dumps(wanted))
    known = json.loads((folder / "rival" / "words.json").read_text())
    said = [word for i, word in enumerate(known["words"]) if i not in known["never"]]
    if len(known["words"]) != size.words:
        raise ValueError(f"the medium model has {len(known['words'])} words, not {size.words}")
    lecture = sorted({word for line in builtin.LECTURE_SENTENCES for word in line.split()})
    return Models(folder / "data", folder / "rival", {LECTURE: lecture, MEDIUM: said})


def invented(count: int) -> list[str]:
    """That many different words, all of three syllables, in an order that is no order."""
    every = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES[:5]]
    order = np.random.default_rng(0).permutation(len(every))[:count]
    return [every[i] for i in order]


def generated(words: list[str], said: int) -> list[str]:
    """A text of about `said` words that says all of them, the first most often (Zipf), some pairs always."""
    random = np.random.default_rng(1)
    share = 1 / (10 + np.arange(len(words)))
    ids = random.choice(len(words), said, p=share / share.sum())
    calls = np.arange(len(words))[::-1]  # the word that each one calls for
    ids[1::3] = calls[ids[0 : len(ids[1::3]) * 3 : 3]]
    ids = np.concatenate([ids, random.permutation(len(words))])
    lines = [ids[at : at + 12] for at in range(0, len(ids), 12)]
    return [" ".join(words[i] for i in line) for line in lines]


def _make(folder: Path, size: Size) -> None:
    text = folder / "text"
    folder.mkdir(parents=True)
    info = DatasetInfo(name=MEDIUM, title="generated", modality="text", licence="CC0-1.0", attribution="this benchmark")
    store.write_text(text, info, generated(invented(size.words * 5 // 4), size.said))
    config = {
        "embedding": size.embedding,
        "hidden": size.hidden,
        "context": size.context,
        "max_words": size.words - 2,
        "min_count": 1,
        "by_line": False,
        "evaluations": 1,
    }
    medium = {"dataset": str(text), "config": config, "budget": {"steps": size.steps}}
    published = {LECTURE: _train(folder, {"dataset": "lecture", "preset": "lecture"}), MEDIUM: _train(folder, medium)}
    services = Services(Settings(data_dir=folder / "data"))
    services.registry.install_starters(STARTERS)
    for name, version in published.items():
        services.registry.register(version, name, "always")
    services.close()
    shutil.copytree(folder / "data", folder / SECOND)
    _for_rivals(published[MEDIUM], folder / "rival")


def _train(folder: Path, spec: dict[str, Any]) -> Path:
    run = folder / "runs" / Path(spec["dataset"]).name
    run.mkdir(parents=True)
    (run / "spec.json").write_text(json.dumps({"family": "lstm", "seed": 1, **spec}))
    subprocess.run([sys.executable, "-m", "ml.train", str(run)], check=True)
    return run / "artifact"


def _for_rivals(version: Path, into: Path) -> None:
    """The version's weights and words in the plainest form: what `rivals/network.py` reads."""
    into.mkdir()
    manifest = artifact.read(version)
    vocabulary = json.loads((version / "vocabulary.json").read_bytes())
    special = [vocabulary["unk"], vocabulary["eos"]]
    words = {
        "words": vocabulary["shown"],
        "start": manifest.serving["start"],
        "unknown": vocabulary["unk"],
        "context": manifest.serving["context"],
        "never": special,
    }
    (into / "words.json").write_text(json.dumps(words))
    torch.save(dict(load_file(version / "weights.safetensors")), into / "network.pt")

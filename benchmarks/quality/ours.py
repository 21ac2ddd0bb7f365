"""The product as a contestant: an ordinary run of `ml.trainer`, its minutes counted in CPU seconds.

All that a run does within its budget is paid for: updates, its own evaluations on the validation part, previews and
checkpoints. The last evaluation, on the test part, and export come behind it. Must not know: the rivals.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.quality.kneser_ney import Floats, Ids, Rows
from benchmarks.quality.stopwatch import Stopwatch
from ml import files
from ml.artifact import Manifest
from ml.families import catalog
from ml.mixture import PARTS, WINDOW, Mixture, Part
from ml.ngram import NGram
from ml.run import Budget, RunDir, RunSpec
from ml.trainer import Trainer


class BaseDoesNotFitError(ValueError):
    """The product trains this from nothing: too little of it is known to the version it was to start from."""


@dataclass
class Trained:
    """A finished run: the version in `artifact`, the trainer that made it, and its evaluations on the way."""

    artifact: Path
    manifest: Manifest
    trainer: Trainer
    curve: list[tuple[float, dict[str, Any]]]  # (CPU seconds, figures on the validation part)

    @property
    def about(self) -> dict[str, Any]:
        """What a result keeps of the run: `published` is what the card says."""
        published = {name: value for name, value in self.manifest.metrics.items() if isinstance(value, float)}
        return {"config": self.manifest.config, "published": published, "steps": self.manifest.steps}


def train(
    family: str, source: Path, seconds: float, seed: int, folder: Path, config: dict[str, Any], base: Path | None = None
) -> Trained:
    """Train `family` on the data-set folder `source` for `seconds` of CPU in the new folder `folder`.

    From the version `base`, where there is one, as the product does by itself: what its own training took is charged
    to nobody. Raises BaseDoesNotFitError where the product would not.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The product takes no budget under 0.1 minutes; a smoke test has its few seconds in updates.
    budget = Budget(minutes=seconds / 60) if seconds >= 6 else Budget(steps=1 + round(20 * seconds))
    start = None if base is None else str(base)
    spec = RunSpec(
        family=family, dataset=str(source), seed=seed, budget=budget, config=config, base=start, base_if_it_fits=True
    )
    files.write_json(folder / "spec.json", spec.model_dump(mode="json"))
    run = RunDir(folder)
    trainer = Trainer(run, spec, catalog.load(family), source, now=Stopwatch())
    if base is not None and trainer.base is None:
        raise BaseDoesNotFitError(f"{base.name} does not fit: the product trains this from nothing")
    manifest = trainer.fit()
    looks = trainer.config.evaluations
    curve = [
        (seconds * event["evaluation"] / looks, {k: v for k, v in event.items() if isinstance(v, float)})
        for _, event in run.events()
        if event["kind"] == "metrics"
    ]
    return Trained(run.artifact, manifest, trainer, curve)


@torch.no_grad()
def lstm_rows(model: Any, ids: Ids) -> Iterator[Floats]:
    """The distributions of the product's LSTM for each id but the first, read as one stream: blocks (B, V)."""
    model.eval()
    stream, hidden = torch.from_numpy(ids.astype(np.int64)), None
    for at in range(0, len(ids) - 1, 256):
        features, hidden = model.features(stream[None, at : min(at + 256, len(ids) - 1)], hidden)
        yield torch.softmax(model.logits(features[0]).double(), 1).numpy()


def blended(
    mixture: Mixture, lstm: Iterable[Rows], ids: Ids, parts: Sequence[Part] = PARTS
) -> Iterator[npt.NDArray[np.float32]]:
    """What answers, for each id but the first, `lstm` being the network's distributions: blocks (1, V)."""
    at = 0
    for block in lstm:
        for row in block:
            at += 1
            said = ids[max(0, at - WINDOW) : at].tolist()
            yield mixture.blend(row.astype(np.float32), said, parts).row[None]


def without_network(ngram: NGram, is_word: npt.NDArray[np.bool_], held_out: Ids) -> Mixture:
    """The product's n-gram and cache weighed by themselves on `held_out` ids: the rival "with the same cache"."""
    mixture, nothing = Mixture.even(ngram, is_word), np.zeros(len(is_word), np.float32)
    told = [
        mixture.targets(nothing, held_out[max(0, at - WINDOW) : at].tolist(), int(held_out[at]))
        for at in range(1, len(held_out))
    ]
    return mixture.fit(np.array([given for given, _ in told]), np.array([kind for _, kind in told]))

"""A run that trains nothing: it measures the version in `base` on the run's data set.

A text model is asked as it answers requests, any other by its family, on the test part. The figures are the run's last
word; there is nothing to go on from, so that a run that was stopped begins anew. Must not know: the service.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ml import artifact, files
from ml.artifact import ArtifactError, Manifest
from ml.data import store
from ml.data.store import DatasetInfo
from ml.families import catalog
from ml.families.base import Split, TrainingError
from ml.mixture import PARTS
from ml.run import RunDir, RunSpec
from ml.serve import evaluate
from ml.serve.evaluate import NothingKnown
from ml.serve.text import NextWord
from ml.trainer import PROGRESS_SECONDS, Cancelled, pick_device

MOST_SCORED = 500_000  # tokens


class CannotEvaluate(TrainingError):
    """A version that cannot be measured on this data set; the message says why, in plain words."""


def run(directory: RunDir, spec: RunSpec, source: Path) -> None:
    """Measure, and tell the run's event log. Raises CannotEvaluate, Cancelled."""
    base = directory.path / (spec.base or "")
    name = spec.base_reference or str(base)
    try:
        manifest = artifact.verify(base)
    except ArtifactError as error:
        raise CannotEvaluate(f"{name} cannot be measured: {error}") from error
    info, is_text = store.read_info(source), manifest.modality == "text"
    if info.modality != manifest.modality:
        raise CannotEvaluate(f"{name} was trained on {manifest.modality}s, and {info.name!r} holds {info.modality}s")
    device = torch.device("cpu") if is_text else pick_device()
    directory.emit("status", status="running", device=device.type)
    try:
        if is_text:
            measured = _text(directory, spec, base, manifest, source)
        else:
            measured = _others(directory, base, manifest, info, source, device)
    except (ArtifactError, NothingKnown, TrainingError) as error:
        raise CannotEvaluate(f"{name} cannot be measured on {info.name!r}: {error}") from error
    figures = {
        name: value if not isinstance(value, float) or math.isfinite(value) else None
        for name, value in measured.items()
    }
    directory.emit("metrics", epoch=0, step=figures.get("scored_tokens", 0), evaluation=1, **figures)
    directory.emit("done", metrics=figures)


def _text(directory: RunDir, spec: RunSpec, base: Path, manifest: Manifest, source: Path) -> dict[str, Any]:
    begun = told = time.monotonic()

    def tell(scored: int, wanted: int) -> None:
        nonlocal told
        if directory.stop_file.exists():
            raise Cancelled
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told, left = now, (now - begun) * (wanted / scored - 1)
            position = {"step": scored, "total_steps": wanted, "progress": round(scored / wanted, 4)}
            directory.emit("progress", **position, eta_seconds=round(left, 1))

    model = NextWord(base, manifest)
    lines, split = evaluate.lines_of(source, manifest)
    reading = evaluate.read(model, lines)
    found = evaluate.evaluate(model, reading, spec.config.get("parts", PARTS), MOST_SCORED, tell)
    return {**found.metrics, "split": split}


def _others(
    directory: RunDir, base: Path, manifest: Manifest, info: DatasetInfo, source: Path, device: torch.device
) -> dict[str, Any]:
    if manifest.serving.get("labels") and info.classes != manifest.dataset.classes:
        raise CannotEvaluate(
            f"it draws the classes {_listed(manifest.dataset.classes)}, and these pictures have {_listed(info.classes)}"
        )
    family = catalog.load(catalog.key_for(manifest.family, manifest.modality))
    try:
        config = family.spec.resolve(family.spec.Config.model_validate(manifest.config), info)
    except ValidationError as error:
        raise CannotEvaluate(f"its recipe is none that this Inkling knows: {error}") from error
    if not directory.prepared.exists():
        with files.new_folder(directory.prepared) as new:
            family.prepare(source, config, new, base)
    data = family.load(directory.prepared)
    state = family.build(config, data, device)
    family.start_from(state, data, base)
    split: Split = "test" if family.has_held_out(data) else "train"
    return {**family.evaluate(state, config, data, split), "split": split}


def _listed(classes: list[str]) -> str:
    return ", ".join(classes[:20]) or "none"

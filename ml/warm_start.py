"""The version that a run starts from: found, checked, and told of in the new version's card.

Its description is kept with the prepared data, so that the base may be deleted once a first checkpoint is there.
"""

from pathlib import Path
from typing import Any

from ml import artifact, files
from ml.artifact import ArtifactError, Manifest
from ml.families.base import TrainingError
from ml.run import RunDir, RunSpec

KEPT = "base.json"
WEIGHTS = "weights.safetensors"
GENERATIONS = 20  # in a card: who fine-tunes every night for years gets no card of a thousand levels


def folder(run: RunDir, spec: RunSpec) -> Path | None:
    """Where the base lies: an absolute path as it is, a relative one from the run's folder."""
    return None if spec.base is None else run.path / spec.base


def describe(run: RunDir, spec: RunSpec) -> Manifest | None:
    """The base's manifest, as kept by an earlier attempt or checked now. Raises TrainingError."""
    if spec.base is None:
        return None
    kept = run.prepared / KEPT
    manifest = Manifest.model_validate_json(kept.read_bytes()) if kept.exists() else verify(run, spec)
    if manifest.family != spec.family:
        raise TrainingError(
            f"{name(spec)} is of the family {manifest.family!r}, and this run is of {spec.family!r}: "
            "start from a version of the same family, or from none"
        )
    return manifest


def keep(manifest: Manifest, prepared: Path) -> None:
    files.write_json(prepared / KEPT, manifest.model_dump())


def verify(run: RunDir, spec: RunSpec) -> Manifest:
    """The base's manifest once all its files have been checked. Raises TrainingError."""
    path = folder(run, spec)
    assert path is not None
    try:
        manifest = artifact.verify(path)
    except ArtifactError as error:
        raise TrainingError(f"{name(spec)} cannot be started from: {error}") from error
    if WEIGHTS not in manifest.files:
        raise TrainingError(f"{name(spec)} cannot be started from: {WEIGHTS} is missing from its manifest")
    return manifest


def name(spec: RunSpec) -> str:
    """How a person calls the base."""
    return spec.base_reference or str(spec.base)


def lineage(spec: RunSpec, manifest: Manifest) -> dict[str, Any]:
    """What the new version's card says of its base; the base's own base comes along, and so on back."""
    return {
        "reference": name(spec),
        "sha256": manifest.files[WEIGHTS].sha256,
        "steps": manifest.steps,
        "dataset": manifest.dataset.name,
        "base": _newest(manifest.base, GENERATIONS - 1),
    }


def _newest(base: Any, most: int) -> dict[str, Any] | None:
    """The first `most` entries of a lineage."""
    if most == 0 or not isinstance(base, dict):
        return None
    return {**base, "base": _newest(base.get("base"), most - 1)}

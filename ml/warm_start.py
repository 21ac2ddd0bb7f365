"""The version that a run starts from: found, checked, and told of in the new version's card.

Its description is kept with the prepared data, so that the base may be deleted once a first checkpoint is there.
"""

from pathlib import Path
from typing import Any, NamedTuple

from ml import artifact, files
from ml.artifact import ArtifactError, Manifest
from ml.data.store import DatasetInfo
from ml.families.base import Family, TrainingError
from ml.families.spec import BaseConflict
from ml.run import RunDir, RunSpec

KEPT = "base.json"
WEIGHTS = "weights.safetensors"
BASE = ("base", "base_reference")  # of a spec
GENERATIONS = 20  # in a card: who fine-tunes every night for years gets no card of a thousand levels


class Settled(NamedTuple):
    """How a run trains: its spec as it was understood, what it starts from, and the config with nothing left open."""

    spec: RunSpec
    base: Manifest | None
    why: str  # it starts from that, where nobody asked for it
    config: Any


def settle(run: RunDir, spec: RunSpec, family: Family[Any, Any], info: DatasetInfo, source: Path) -> Settled:
    """What the spec leaves open, once and for all attempts. Raises TrainingError."""
    why = None
    if spec.base is not None and spec.base_if_it_fits:
        # An earlier attempt's choice holds, whatever became of the base.
        decided, kept = run.prepared.exists(), (run.prepared / KEPT).exists()
        why = ("" if kept else None) if decided else _why(run, spec, family, info, source)
        spec = _from_starter(spec, family) if why is not None else spec.model_copy(update=dict.fromkeys(BASE))
    base = describe(run, spec)
    try:
        base_config = None if base is None else base.config
        config = family.spec.settle(spec.preset, spec.config, info, base_config, spec.budget)
    except BaseConflict as error:
        raise TrainingError(str(error)) from error
    return Settled(spec, base, why or "", config)


def _why(run: RunDir, spec: RunSpec, family: Family[Any, Any], info: DatasetInfo, source: Path) -> str | None:
    """Why the run is to start from its base; None when it is not, as where the base is gone, or is damaged."""
    path, wanted = folder(run, spec), _from_starter(spec, family)
    assert path is not None
    try:
        base = verify(run, spec)
        config = family.spec.settle(spec.preset, wanted.config, info, base.config)
        # On its own data set it would go on where it ended, and its figures would be those of a longer training.
        if base.family != spec.family or base.dataset.sha256 == info.sha256:
            return None
        return family.fits(config, source, path)
    except (TrainingError, ValueError):  # of a config that contradicts the base, or has values that none may have
        return None


def _from_starter(spec: RunSpec, family: Family[Any, Any]) -> RunSpec:
    values = {} if family.spec.starter is None else family.spec.starter.values
    return spec.model_copy(update={"config": {**values, **spec.config}})


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

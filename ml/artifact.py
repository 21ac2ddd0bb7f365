"""A version on disk: manifest.json, weights.safetensors, *.onnx and assets, each file with its SHA-256.

Must not know: torch, databases, or the name and number under which the service will publish it.
"""

import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ml import files
from ml.data.store import DatasetInfo, Modality

FORMAT = 1
MANIFEST = "manifest.json"


class ArtifactError(Exception):
    """A version that cannot be used: a file missing, truncated, altered, or of a format this code does not know."""


class FileEntry(BaseModel):
    sha256: str
    bytes: int


class ScoreEntry(BaseModel):
    """Which of the metrics says 'better', and on what it was measured: equal `held_out` makes versions comparable."""

    metric: str
    higher_is_better: bool
    held_out: str


class Manifest(BaseModel):
    """`manifest.json`, the version's card."""

    format: int = FORMAT
    family: str
    modality: Modality
    preset: str
    config: dict[str, Any]
    seed: int
    dataset: DatasetInfo
    base: dict[str, Any] | None = None  # the version it was fine-tuned from: reference, sha256, steps, its own base
    learned: list[str] = []  # SHA-256 of the phrases that it, or a version it comes from, was trained with
    metrics: dict[str, Any]
    score: ScoreEntry
    serving: dict[str, Any]
    parameters: int
    epochs: float
    steps: int
    seconds: float
    device: str
    created: str = ""
    made_with: dict[str, str] = {}
    files: dict[str, FileEntry] = {}


def write(folder: Path, fill: Callable[[Path], Manifest]) -> Manifest:
    """Let `fill` put the files into a new folder and describe them; it appears whole at `folder` or not at all."""
    with files.new_folder(folder) as new:
        manifest = fill(new)
        paths = sorted(path for path in new.rglob("*") if path.is_file())
        for path in paths:
            path.chmod(0o644)  # safetensors lets only the owner read; who serves may be another user
        manifest.files = {
            path.relative_to(new).as_posix(): FileEntry(sha256=files.sha256_file(path), bytes=path.stat().st_size)
            for path in paths
        }
        manifest.created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        manifest.made_with |= {"python": platform.python_version()}
        files.write_json(new / MANIFEST, manifest.model_dump())
    return manifest


def read(folder: Path) -> Manifest:
    """Read a version's manifest without checking its files. Raises ArtifactError."""
    try:
        raw = json.loads((folder / MANIFEST).read_bytes())
        if raw.get("format") != FORMAT:
            raise ArtifactError(f"this version has format {raw.get('format')}, and this Inkling reads {FORMAT}")
        return Manifest.model_validate(raw)
    except FileNotFoundError as error:
        raise ArtifactError(f"{MANIFEST} is missing") from error
    except (OSError, ValueError, AttributeError, ValidationError, RecursionError) as error:
        raise ArtifactError(f"{MANIFEST} cannot be read: {error}") from error


def verify(folder: Path) -> Manifest:
    """Read the manifest and check every file it names by size and SHA-256. Raises ArtifactError naming the file."""
    manifest = read(folder)
    for name, entry in manifest.files.items():
        try:
            _verify_file(folder, name, entry)
        except (OSError, ValueError) as error:  # a name that no file can have, or one that cannot be read
            raise ArtifactError(f"{name[:100]!r} cannot be read: {error}") from error
    return manifest


def _verify_file(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{name} points outside the version's folder")
    if not path.is_file():
        raise ArtifactError(f"{name} is missing")
    if path.stat().st_size != entry.bytes:
        raise ArtifactError(f"{name} has {path.stat().st_size:,} bytes instead of {entry.bytes:,}")
    if files.sha256_file(path) != entry.sha256:
        raise ArtifactError(f"{name} was altered: its SHA-256 is not the manifest's")

"""A run's directory, the only contract between the service and the craft.

    spec.json       what to train: RunSpec
    events.jsonl    what happened, one JSON object a line, appended
    learned.json    phrases that join the training part, where there are any: ml.data.learned
    STOP            present: end the run; the trainer exits with CANCELLED
    lock            held by the live trainer, so that two never write here
    prepared/       the data as arrays, made once
    checkpoints/    step-….safetensors, the newest two, best.safetensors and good.safetensors
    preview/        what the model made along the way
    artifact/       the finished version, written at the very end
    log.txt         the trainer's own output
    attempts/       which attempt may write here, where that could be in doubt: ml.fence

Must not know: databases, HTTP, or what a family is.
"""

import json
import os
import time
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from ml import fence
from ml.data.learned import LEARNED


class ExitCode(IntEnum):
    """How a trainer ended. INTERRUPTED means: stopped by SIGTERM with a checkpoint written, start me again;
    SUPERSEDED: another attempt is at it."""

    DONE = 0
    FAILED = 1
    INTERRUPTED = 75
    CANCELLED = 76
    SUPERSEDED = fence.SUPERSEDED


class Budget(BaseModel):
    """How long to train; whichever of these is reached first ends the run."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    minutes: float | None = Field(None, ge=0.1, le=7 * 24 * 60, description="Wall time of training, in minutes")
    epochs: int | None = Field(None, ge=1, le=1_000_000, description="Passes over the training data")
    steps: int | None = Field(None, ge=1, le=1_000_000_000, description="Updates of the model")

    @property
    def is_set(self) -> bool:
        return self.minutes is not None or self.epochs is not None or self.steps is not None


class RunSpec(BaseModel):
    """`spec.json`. The first three fields are enough to train by hand: python -m ml.train RUN_DIR."""

    model_config = ConfigDict(extra="forbid")

    family: str
    dataset: str = Field(description="A built-in data set's name, or the path of a data-set folder")
    preset: str = "auto"
    config: dict[str, Any] = {}
    evaluate: bool = Field(False, description="Measure the version in `base` on the data set, and train nothing")
    seed: int = Field(0, ge=0, le=2**32 - 1)
    budget: Budget = Budget()  # unset: the preset's own
    base: Path | None = Field(None, description="Folder of the version to start from, absolute or seen from RUN_DIR")
    base_reference: str | None = Field(None, description="What the base is called, e.g. 'name@3', for the card")
    base_if_it_fits: bool = Field(False, description="Start from the base only where it is there and suits the data")
    datasets: Path | None = Field(None, description="Folder of built-in data sets; default: beside the run")
    checkpoint_seconds: float = Field(5.0, gt=0)
    threads: int = Field(1, ge=1)
    processes: int = Field(1, ge=0, description="That share every update, here; 0: one for each graphics card")


class RunDir:
    """The paths of a run, and its event log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_file = path / "spec.json"
        self.learned_file = path / LEARNED
        self.events_file = path / "events.jsonl"
        self.stop_file = path / "STOP"
        self.lock_file = path / "lock"
        self.prepared = path / "prepared"
        self.checkpoints = path / "checkpoints"
        self.preview = path / "preview"
        self.artifact = path / "artifact"
        self.log_file = path / "log.txt"

    def read_spec(self) -> RunSpec:
        """Raises OSError or pydantic.ValidationError with the field at fault."""
        return RunSpec.model_validate_json(self.spec_file.read_bytes())

    def emit(self, kind: str, **data: Any) -> None:
        """Append one event: status, progress, metrics, sample, message, checkpoint, done or failed."""
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), **data}, allow_nan=False)
        fence.check()
        with self.events_file.open("ab+") as file:
            # One write of a whole line; half a line that a full volume or a kill left is ended first.
            broken = file.tell() > 0 and self._last_byte(file) != b"\n"
            file.write((b"\n" if broken else b"") + line.encode() + b"\n")

    @staticmethod
    def _last_byte(file: BinaryIO) -> bytes:
        file.seek(-1, os.SEEK_END)
        return file.read(1)

    def events(self, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """Whole events from byte `offset` on, each with the offset behind it; a line still being written waits."""
        if not self.events_file.exists():
            return
        with self.events_file.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    event = json.loads(line)
                except ValueError:  # half a line, ended later
                    continue
                yield offset, event

"""Versions to and from other Inklings, as one file. Must not know: HTTP, or what is in the file (`ml.bundle` does)."""

import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from typing import get_args
from uuid import uuid4

from app.core.disk import Disk
from app.core.errors import Busy, Conflict, Invalid, NotFound, ServiceError, TooLarge, UnsupportedMedia, volume_errors
from app.core.uploads import Upload
from app.registry.policy import Policy
from app.registry.service import Published, Registry
from ml import bundle, files
from ml.artifact import ArtifactError
from ml.bundle import BundleError, Refusal

FIELDS = ("model", "activate")
WAIT_SECONDS = 10.0  # for another import to end: each may take gigabytes of memory while it is tried
REFUSALS: dict[Refusal, type[ServiceError]] = {
    "too_large": TooLarge,
    "unsupported_media_type": UnsupportedMedia,
    "invalid": Invalid,
}


class Transfer:
    """`max_bytes` bounds a file that is sent, `max_unpacked_bytes` what is in it."""

    def __init__(self, registry: Registry, max_bytes: int, max_unpacked_bytes: int, disk: Disk | None = None) -> None:
        self.registry, self.max_bytes, self.max_unpacked_bytes = registry, max_bytes, max_unpacked_bytes
        self.disk = disk or Disk(registry.volume.folder)
        self._one = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where files may lie until they are taken in."""
        return self.registry.volume.incoming

    def export(self, name: str, version: int) -> tuple[str, Generator[bytes]]:
        """A file's name and content. Raises NotFound, or Conflict for a damaged version."""
        self.registry.version(name, version)
        reference = f"{name}@{version}"
        try:
            content = bundle.pack(self.registry.path(name, version), reference)
        except ArtifactError as error:
            self.registry.version(name, version)  # deleted while it was read: there is no such version
            raise Conflict(
                f"{reference} is damaged ({error}); it cannot be exported", code="damaged_version"
            ) from error
        return f"{reference}.inkling.zip", content

    # -- on the command line: without a service, which would try a version in memory before it answers ---------------

    def export_file(self, name: str, version: int, file: Path) -> None:
        """Write an exported version to `file`, whole or not at all."""
        _, content = self.export(name, version)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as out:
                out.writelines(content)

        files.write_with(file, write)

    def take_file(self, file: Path, model: str | None) -> Published:
        """`take` for a file of the user's, which stays where it is. Raises what `take` does."""
        if not file.is_file():
            raise NotFound(f"there is no file {file}")
        folder = self.folder / uuid4().hex
        try:
            return self.take(file.resolve(), folder, model, "if_better")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def activate(self, name: str, version: int) -> None:
        """Try the version in a process of its own, then let it answer. Raises NotFound, Invalid."""
        self.registry.version(name, version)
        self._try(name, version, "the version that answers stays")
        self.registry.activate(name, version)

    def roll_back(self, name: str) -> None:
        """The same for the version that answered before. Raises Conflict, Invalid."""
        version = self.registry.previous(name)
        self._try(name, version, "delete it, then roll back further")
        self.registry.rollback(name, expected=version)

    def _try(self, name: str, version: int, advice: str) -> None:
        try:
            bundle.check_apart(self.registry.path(name, version))
        except ArtifactError as error:
            raise Invalid(f"{name}@{version} does not load: {error}; {advice}") from error

    # -- in ------------------------------------------------------------------------------------------------------

    def take_upload(self, upload: Upload) -> Published:
        """Take in the one file of an upload, with its fields `model` and `activate`. Raises what `take` does."""
        for name in upload.fields:
            if name not in FIELDS:
                raise Invalid(f"there is no field {name!r}; there are file, {', '.join(FIELDS)}", pointer=f"/{name}")
        (file,) = upload.files
        model = upload.fields.get("model") or None
        return self.take(file.path, upload.folder / "version", model, upload.fields.get("activate", "if_better"))

    def take(self, file: Path, folder: Path, model: str | None, activate: str) -> Published:
        """Try an exported version in a process of its own, then publish it under `model`, or the name it came with.

        `folder` is made for the unpacked files, and the caller's to remove. Raises Invalid, TooLarge,
        UnsupportedMedia, Conflict (the name holds the other kind of model), Busy, VolumeFull.
        """
        self.disk.require()
        policies: tuple[Policy, ...] = get_args(Policy)
        policy = next((known for known in policies if known == activate), None)
        if policy is None:
            raise Invalid(f"activate is {activate[:40]!r}; it is {', '.join(policies)}", pointer="/activate")
        if model is not None:
            self.registry.check_syntax(model)
        if not self._one.acquire(timeout=WAIT_SECONDS):
            raise Busy("another file is being taken in; try again when that is done", retry_after=10)
        try:
            with volume_errors():
                exported = bundle.unpack_apart(file, folder, self.max_unpacked_bytes)
            name = model or exported
            if name is None:
                raise Invalid("the file does not say the model's name; give one in the field 'model'", pointer="/model")
            self.registry.check_syntax(name)
            with volume_errors():
                return self.registry.register(folder, name, policy, once=True)
        except ArtifactError as error:
            code: Refusal = error.code if isinstance(error, BundleError) else "invalid"
            raise REFUSALS[code](f"the file is not taken in: {error}", pointer="/file") from error
        finally:
            self._one.release()

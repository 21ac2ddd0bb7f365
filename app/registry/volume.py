"""The folders of the published versions: models/NAME/VERSION in the volume, and their copies in an object store.

Must not know: the database, HTTP.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ml import artifact, files
from ml.artifact import ArtifactError, Manifest
from ml.objects import Away, Damaged, Objects

log = logging.getLogger(__name__)

# Folders beside those of the models; no model's name starts with a dot.
INCOMING, TRASH = ".incoming", ".trash"
KEY = "objects"  # of a card in the database: where its copy in the object store is
STALE_SECONDS = 3600.0  # nobody copies a version for that long


@dataclass
class Staged:
    """A version that is about to be published; `key`: of its copy in the object store, where there is one."""

    folder: Path
    manifest: Manifest
    key: str | None = None
    placed: bool = False


class Volume:
    """Versions come by a rename and go by a rename, so that nobody sees half of one.

    With `objects` they are kept there, and the folders here are what was made or fetched on this machine.
    """

    def __init__(self, folder: Path, objects: Objects | None = None) -> None:
        self.folder, self.objects = folder, objects
        self._fetching = threading.Lock()

    @property
    def incoming(self) -> Path:
        """For what is on its way to become a version."""
        return self.folder / INCOMING

    def path(self, name: str, version: int) -> Path:
        return self.folder / name / str(version)

    @contextmanager
    def staged(self, source: Path, name: str, *, verified: bool = True) -> Iterator[Staged | None]:
        """The source's files, verified, under a second name in the volume; None when there is no source any more.

        `source` stays until the caller removes it; what was not placed goes when the block ends. `name` is the model's.
        Not `verified`: left to whoever loads it. Raises ArtifactError, Away.
        """
        if not source.exists():
            yield None
            return
        manifest = artifact.verify(source) if verified else artifact.read(source)
        staged = Staged(self.incoming / uuid4().hex, manifest)
        try:
            with files.new_folder(staged.folder) as new:
                shutil.copytree(source, new, dirs_exist_ok=True, copy_function=files.link)
            staged.key = self.store(staged.folder, name)
            yield staged
        finally:
            shutil.rmtree(staged.folder, ignore_errors=True)
            if not staged.placed:  # else its row may be there, whatever was raised
                self.withdraw(staged.key)

    def place(self, staged: Staged, name: str, version: int) -> None:
        """Give a staged folder its place. A folder already there was left by a kill before the commit: it goes."""
        target = self.path(name, version)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.discard(name, version)
        staged.placed = True
        staged.folder.replace(target)
        files.fsync_folder(target.parent)
        files.fsync_folder(self.folder)  # where a model's first version made the folder above

    # -- the object store --------------------------------------------------------------------------------------------

    def store(self, folder: Path, name: str) -> str | None:
        """Copy a version there, under a key that nothing else ever has. None where there is no store. Raises Away."""
        if self.objects is None:
            return None
        key = f"models/{name}/{uuid4().hex}"
        self.objects.put(folder, key)
        return key

    def fetch(self, name: str, version: int, key: str, card: Manifest) -> None:
        """Have a version here, unless it is. Raises ArtifactError when it is not what was published, Away, OSError."""
        target = self.path(name, version)
        with self._fetching:
            if self.objects is None or target.exists():
                return
            staging = self.incoming / uuid4().hex
            try:
                self.objects.get(key, staging)
                if artifact.read(staging).files != card.files:
                    raise ArtifactError(f"the store holds something else at {key}")
                target.parent.mkdir(parents=True, exist_ok=True)
                staging.rename(target)
            except Damaged as error:
                raise ArtifactError(str(error)) from error
            except OSError:
                if not target.exists():  # else another process of this machine was faster
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        log.info("%s@%d was fetched from the store", name, version)

    def withdraw(self, key: str | None) -> None:
        """Remove a copy that no row names any more; one that cannot be removed now stays, and is in nobody's way."""
        if key is None or self.objects is None:
            return
        try:
            self.objects.remove(key)
        except Away as error:
            log.warning("%s stays in the store: %s", key, error)

    # -- going -------------------------------------------------------------------------------------------------------

    def discard(self, name: str, version: int) -> None:
        """Rename a version away, so that it is gone at once, then remove it; `tidy` removes what cannot be now."""
        trash, path = self.folder / TRASH, self.path(name, version)
        try:
            trash.mkdir(parents=True, exist_ok=True)
            moved = path.replace(trash / uuid4().hex)
        except FileNotFoundError:
            return
        except OSError:
            log.exception("%s could not be removed", path)
            return
        shutil.rmtree(moved, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a kill left in the middle of a registration or a deletion."""
        for left in (self.folder / TRASH).glob("*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in self.incoming.glob("*"):
            if left.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def versions(self, name: str) -> set[int]:
        """The numbers that have a folder."""
        return {int(path.name) for path in (self.folder / name).glob("[0-9]*") if path.name.isdecimal()}

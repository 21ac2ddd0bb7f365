"""The folders of the published versions: models/NAME/VERSION in the volume. Must not know: the database, HTTP."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ml import artifact, files
from ml.artifact import Manifest

log = logging.getLogger(__name__)

# Folders beside those of the models; no model's name starts with a dot.
INCOMING, TRASH = ".incoming", ".trash"
STALE_SECONDS = 3600.0  # nobody copies a version for that long


class Volume:
    """Versions come by a rename and go by a rename, so that nobody sees half of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def incoming(self) -> Path:
        """For what is on its way to become a version."""
        return self.folder / INCOMING

    def path(self, name: str, version: int) -> Path:
        return self.folder / name / str(version)

    @contextmanager
    def staged(self, source: Path) -> Iterator[tuple[Path, Manifest] | None]:
        """The source's files, verified, under a second name in the volume; None when there is no source any more.

        `source` stays until the caller removes it; what was not placed goes when the block ends. Raises ArtifactError.
        """
        if not source.exists():
            yield None
            return
        manifest = artifact.verify(source)
        folder = self.incoming / uuid4().hex
        try:
            with files.new_folder(folder) as new:
                shutil.copytree(source, new, dirs_exist_ok=True, copy_function=_link)
            yield folder, manifest
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def place(self, folder: Path, name: str, version: int) -> None:
        """Give a staged folder its place. A folder already there was left by a kill before the commit: it goes."""
        target = self.path(name, version)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.discard(name, version)
        folder.replace(target)
        files.fsync_folder(target.parent)
        files.fsync_folder(self.folder)  # where a model's first version made the folder above

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


def _link(source: str, target: str) -> str:
    """A hard link where the file system has them, else a copy; versions are never changed, so either will do."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target

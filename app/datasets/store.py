"""Uploaded data sets in an object store, where there is one: the folders of this machine are then copies.

A row's `info` names its objects, under a key that nothing else ever has.
Must not know: HTTP, or how a data set is read.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select

from app.core.db import Database
from app.core.errors import Conflict
from app.core.tables import Dataset
from ml.data.store import read_info
from ml.objects import Away, Damaged, Objects

log = logging.getLogger(__name__)

KEY = "objects"  # of a row's `info`


class Store:
    """`folder` is where data sets lie on this machine. Without `objects` nothing here does anything."""

    def __init__(self, database: Database, folder: Path, objects: Objects | None) -> None:
        self.database, self.folder, self.objects = database, folder, objects

    @contextmanager
    def offered(self, row: Dataset, folder: Path) -> Iterator[None]:
        """Copy the folder there, and let the row name it; unless the block adds the row, it goes again. Raises Away."""
        if self.objects is None or self._key(row.id) is not None:
            yield
            return
        name, key = row.id, self._put(row.id, folder)
        row.info = {**row.info, KEY: key}
        try:
            yield
        finally:
            if self._key(name) != key:
                self.withdraw(key)

    def fetch(self, name: str, scratch: Path) -> None:
        """Have an upload here. `scratch` is for what is half-done. Raises Away, OSError; Conflict for a damaged one."""
        key = self._key(name)
        if self.objects is None or key is None:
            return
        staging = scratch / "fetched"
        try:
            self.objects.get(key, staging)
            if f"ds_{read_info(staging).sha256[:16]}" != name:
                raise Damaged(f"the store holds something else at {key}")
            self.folder.mkdir(parents=True, exist_ok=True)
            staging.rename(self.folder / name)
        except Damaged as error:
            detail = f"the data set {name!r} is damaged ({error}); delete it and upload it anew"
            raise Conflict(detail, code="damaged_dataset") from error
        except OSError:
            if not (self.folder / name).exists():  # else another request was faster
                raise
        log.info("%s was fetched from the store", name)

    def withdraw(self, key: str | None) -> None:
        """Remove what no row names any more; what cannot be removed now stays, and is in nobody's way."""
        if key is None or self.objects is None:
            return
        try:
            self.objects.remove(key)
        except Away as error:
            log.warning("%s stays in the store: %s", key, error)

    def add_missing(self) -> list[str]:
        """Copy there what was uploaded here before there was a store. Returns it. Raises Away."""
        if self.objects is None:
            return []
        with self.database.read() as session:
            names = [name for name, info in session.execute(select(Dataset.id, Dataset.info)) if not info.get(KEY)]
        added = []
        for name in names:
            if not (self.folder / name).exists():
                continue
            key: str | None = self._put(name, self.folder / name)
            with self.database.write() as session:
                row = session.get(Dataset, name)
                if row is not None and not row.info.get(KEY):
                    row.info = {**row.info, KEY: key}
                    added.append(name)
                    key = None
            self.withdraw(key)
        return added

    def _put(self, name: str, folder: Path) -> str:
        assert self.objects is not None
        key = f"datasets/{name}/{uuid4().hex}"
        self.objects.put(folder, key)
        return key

    def _key(self, name: str) -> str | None:
        with self.database.read() as session:
            row = session.get(Dataset, name)
        return None if row is None else row.info.get(KEY)

"""Which data sets there are, and where each lies in the volume: the built-in ones and the uploaded.

An upload is visible by its row in the table. Its folder comes before the row and goes after it, so that whatever is
killed at whatever moment, a row has its folder; folders without a row are swept at the service's start.
Must not know: HTTP, or what is trained.
"""

import json
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.db import Database
from app.core.disk import Disk
from app.core.errors import Conflict, Invalid, NotFound, volume_errors
from app.core.owner import Identity
from app.core.paging import page
from app.core.tables import Dataset, Job
from app.core.uploads import Part, Upload, base_name
from app.datasets.reader import Reader
from app.datasets.store import KEY, Store
from ml import files
from ml.data import builtin, store
from ml.data.store import DatasetInfo, Modality
from ml.objects import Objects

ENDED = ("succeeded", "failed", "cancelled")  # jobs that need their data no more
NAMED = 5  # uploads that an error message lists
FIELDS = {"name": 200, "licence": 1000, "attribution": 1000}  # what is said of an upload, in characters at most


@dataclass(frozen=True)
class Entry:
    """One data set. `prepared` is false until a built-in one is first used: counts and hash are known from then on."""

    id: str
    info: DatasetInfo
    builtin: bool
    prepared: bool
    bytes: int | None = None  # of the files that were sent
    created_at: datetime | None = None
    report: dict[str, Any] | None = None


class Datasets:
    """A data set is named by its id: a built-in one's name, or ds_… of the content of an upload."""

    def __init__(
        self,
        database: Database,
        data_dir: Path,
        owner: Identity,
        reader: Reader,
        disk: Disk | None = None,
        objects: Objects | None = None,
    ) -> None:
        self.database, self.owner, self.reader, self.disk = database, owner, reader, disk or Disk(data_dir)
        self.folder, self._uploads = data_dir / "datasets", data_dir / "uploads"
        self.store = Store(database, self.folder, objects)

    # -- looked at ---------------------------------------------------------------------------------------------------

    def all(self) -> list[Entry]:
        """Every data set: the built-in ones, then the uploads, newest first."""
        return self._entries(self._ids(None))

    def page(self, limit: int, after: str | None, modality: Modality | None) -> tuple[list[Entry], str | None]:
        """Some of them, and the next page's `after`. Raises Invalid for an `after` that is not in the list."""
        shown, following = page(self._ids(modality), str, limit, after)
        return self._entries(shown), following

    def entry(self, name: str) -> Entry:
        """Raises NotFound naming those that exist."""
        if name in builtin.BUILTIN:
            return self._builtin(name)
        with self.database.read() as session:
            row = session.get(Dataset, name)
            if row is None:
                raise self._not_found(session, name)
        return _entry(row)

    def get(self, name: str) -> DatasetInfo:
        """Raises NotFound naming those that exist."""
        return self.entry(name).info

    def check_exists(self, session: Session, name: str) -> None:
        """Within the caller's transaction, in which no upload can be deleted. Raises NotFound."""
        if name not in builtin.BUILTIN and session.get(Dataset, name) is None:
            raise self._not_found(session, name)

    def path(self, name: str) -> Path:
        """Where its folder lies (a built-in one's, once it is prepared). Raises NotFound; and what `Store.fetch` does,
        where uploads are kept in an object store and this one is not yet here."""
        folder = self.folder / self.entry(name).id
        if self.store.objects is not None and name not in builtin.BUILTIN and not folder.exists():
            with self.scratch() as scratch:
                self.store.fetch(name, scratch)
        return folder

    def source(self, name: str) -> str:
        """What a run is told: a built-in one's name, or an upload's folder. Raises NotFound."""
        return name if name in builtin.BUILTIN else str(self.path(name).resolve())

    def trained_on(self, info: DatasetInfo) -> str | None:
        """The id of the data set that a version says it was trained on; None when it is not here. A built-in one that
        is not prepared yet is taken for the same."""
        with self.database.read() as session:
            row = session.get(Dataset, f"ds_{info.sha256[:16]}")
        if row is not None and row.sha256 == info.sha256:
            return row.id
        if info.name in builtin.BUILTIN:
            entry = self._builtin(info.name)
            if not entry.prepared or entry.info.sha256 == info.sha256:
                return info.name
        return None

    def prepared(self, name: str) -> DatasetInfo:
        """What a data set is, a built-in one prepared now. Raises NotFound, and what `Reader.builtin` raises."""
        entry = self.entry(name)
        if not entry.prepared:
            self.make_preview(name)
            entry = self.entry(name)
        return entry.info

    def model_name(self, name: str) -> str:
        """The name of a model when none is given: the data set's, as far as it makes a valid one. Raises NotFound."""
        entry = self.entry(name)
        plain = unicodedata.normalize("NFKD", entry.info.name).encode("ascii", "ignore").decode().lower()
        made = re.sub(r"[^a-z0-9._-]+", "-", plain)[:64].strip("._-")
        return made if re.search("[a-z]", made) and made != "none" else entry.id  # which stands for no model

    def preview(self, name: str) -> Path | None:
        """The file preview.json of a text, preview.png of pictures; None when it must be made. Raises NotFound."""
        entry = self.entry(name)
        path = self.path(name) / ("preview.json" if entry.info.modality == "text" else "preview.png")
        return path if path.exists() else None

    def make_preview(self, name: str) -> Path:
        """The same, made now for a built-in one. Raises NotFound, and what `Reader.builtin` raises."""
        if name in builtin.BUILTIN and self.preview(name) is None:
            with self.scratch() as scratch:
                self.reader.builtin(name, self.folder / name, scratch)
        path = self.preview(name)
        if path is None:
            raise NotFound(f"the data set {name!r} has no preview")
        return path

    def common_words(self, entry: Entry) -> list[Any] | None:
        """Of a text that is prepared: its most common words, with their counts."""
        with suppress(OSError, ValueError, KeyError):
            words: list[Any] = json.loads((self.path(entry.id) / "preview.json").read_bytes())["common_words"]
            return words
        return None

    # -- made and deleted --------------------------------------------------------------------------------------------

    def prepare(self, name: str) -> DatasetInfo:
        """Make a built-in data set's folder now; an upload's is there. Raises NotFound, DatasetError."""
        return builtin.ensure(name, self.folder / name) if name in builtin.BUILTIN else self.get(name)

    def add_files(self, paths: Sequence[Path], fields: dict[str, str]) -> tuple[Entry, bool]:
        """Add files of this machine, which stay as they are. Returns and raises as `add` does."""
        for path in paths:
            if not path.is_file():
                raise Invalid(f"{path} is not a file; give texts, pictures, or a ZIP of pictures", pointer="/file")
        parts = [Part(base_name(path.name), path, path.stat().st_size, "") for path in paths]
        with self.scratch() as folder:
            return self.add(Upload(folder, parts, fields))

    def add(self, upload: Upload) -> tuple[Entry, bool]:
        """Make a data set of the files. Returns it, and whether its content was there already, under whatever name.

        Raises Invalid, TooLarge, UnsupportedMedia as reading finds them, VolumeFull, Crashed, NotReady.
        """
        self.disk.require()
        first, said = upload.files[0].name, _said(upload.fields)
        info = {
            "name": Path(first).stem,
            "title": said.get("name", first),
            "licence": said.get("licence", "not stated"),
            "attribution": said.get("attribution", "uploaded"),
        }
        with volume_errors():
            report = self.reader.read(upload.folder, upload.files, info)
            made = store.read_info(upload.folder / "dataset")
            row = Dataset(
                id=f"ds_{made.sha256[:16]}",
                sha256=made.sha256,
                name=made.name,
                modality=made.modality,
                bytes=upload.bytes,
                info=made.model_dump(mode="json"),
                report=report.model_dump(mode="json"),
            )
            try:
                with self.store.offered(row, upload.folder / "dataset"):
                    return self._publish(row, upload.folder)
            except BaseException:
                with suppress(SQLAlchemyError, OSError):
                    self._remove_unlisted(row.id)
                raise

    def _publish(self, row: Dataset, folder: Path) -> tuple[Entry, bool]:
        target = self.folder / row.id
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.database.write() as session:
            there = session.get(Dataset, row.id)
            if there is None or not target.exists():
                if target.exists():  # of an upload that was killed before its row was written
                    target.rename(folder / "leftover")
                (folder / "dataset").rename(target)
                files.fsync_folder(self.folder)
            if there is None:
                session.add(row)
                session.flush()
        return _entry(there or row), there is not None

    def delete(self, name: str) -> None:
        """Raises NotFound, or Conflict for a built-in one and for one that a job still needs."""
        if name in builtin.BUILTIN:
            raise Conflict(f"{name!r} comes with Inkling and cannot be deleted")
        with self.database.write() as session:
            row = session.get(Dataset, name)
            if row is None:
                raise self._not_found(session, name)
            job = session.scalar(select(Job.id).where(Job.dataset == name, Job.status.not_in(ENDED)).limit(1))
            if job is not None:
                raise Conflict(f"the job {job} needs the data set {name!r}; cancel it, or wait until it has ended")
            key = row.info.get(KEY)
            session.delete(row)
        self._remove_unlisted(name)
        self.store.withdraw(key)

    def _remove_unlisted(self, name: str) -> None:
        """Remove an upload's folder that has no row. The look and the move are one transaction: `_publish` waits."""
        with self.scratch() as scratch, self.database.write() as session:
            folder = self.folder / name
            if session.get(Dataset, name) is None and folder.exists():
                folder.rename(scratch / "removed")

    def store_missing(self) -> list[str]:
        """Copy to the object store what was uploaded before there was one. Returns it. Raises Away."""
        return self.store.add_missing()

    # -- the volume --------------------------------------------------------------------------------------------------

    @property
    def uploads(self) -> Path:
        """Where this process keeps what is half-done."""
        return self._uploads / self.owner.token

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A fresh folder in the volume, removed at the end."""
        folder = self.uploads / secrets.token_hex(8)
        with volume_errors():
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what processes that were killed left behind; what a living one works on stays."""
        for folder in self._uploads.glob("*"):
            if self.owner.state(folder.name) != "alive":
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.folder.glob(".*.????????"):  # built-in ones, half-made; whoever makes one holds its lock
            name = folder.name[1:-9]
            if name in builtin.BUILTIN:
                with suppress(Timeout), FileLock(self.folder / f".{name}.lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
        with self.database.read() as session:
            listed = set(session.scalars(select(Dataset.id)))
        for folder in self.folder.glob("ds_*"):
            if folder.name not in listed:
                self._remove_unlisted(folder.name)

    def close(self) -> None:
        """End what is being read; whoever waits for it cleans up."""
        self.reader.stopping.set()
        if self.owner.used:
            with suppress(OSError):
                self.uploads.rmdir()

    # -- rows and entries --------------------------------------------------------------------------------------------

    def _ids(self, modality: Modality | None) -> list[str]:
        query = select(Dataset.id).order_by(Dataset.created_at.desc(), Dataset.id)
        if modality is not None:
            query = query.where(Dataset.modality == modality)
        with self.database.read() as session:
            uploaded = session.scalars(query).all()
        return [*(n for n, b in builtin.BUILTIN.items() if modality in (None, b.modality)), *uploaded]

    def _entries(self, ids: Sequence[str]) -> list[Entry]:
        with self.database.read() as session:
            rows = {row.id: row for row in session.scalars(select(Dataset).where(Dataset.id.in_(ids)))}
        return [_entry(rows[i]) if i in rows else self._builtin(i) for i in ids if i in rows or i in builtin.BUILTIN]

    def _builtin(self, name: str) -> Entry:
        folder = self.folder / name
        prepared = (folder / "dataset.json").exists()
        info = store.read_info(folder) if prepared else builtin.BUILTIN[name].info
        return Entry(name, info, builtin=True, prepared=prepared)

    def _not_found(self, session: Session, name: str) -> NotFound:
        count = session.scalar(select(func.count()).select_from(Dataset)) or 0
        newest = session.scalars(select(Dataset.id).order_by(Dataset.created_at.desc()).limit(NAMED))
        more = f" and {count - NAMED:,} more (GET /datasets)" if count > NAMED else ""
        return NotFound(f"there is no data set {name!r}; there are {', '.join([*builtin.BUILTIN, *newest])}{more}")


def _entry(row: Dataset) -> Entry:
    info = DatasetInfo.model_validate(row.info)
    return Entry(row.id, info, False, True, row.bytes, row.created_at, row.report)


def _said(fields: dict[str, str]) -> dict[str, str]:
    """The fields that say something. Raises Invalid with a pointer."""
    for field, value in fields.items():
        if field not in FIELDS:
            raise Invalid(f"there is no field {field!r}; there are file, {', '.join(FIELDS)}", pointer=f"/{field}")
        if len(value) > FIELDS[field]:
            raise Invalid(f"{field!r} is longer than {FIELDS[field]} characters", pointer=f"/{field}")
        if not value.isprintable():
            raise Invalid(f"{field!r} holds characters that cannot be printed", pointer=f"/{field}")
    return {field: value for field, value in fields.items() if value}

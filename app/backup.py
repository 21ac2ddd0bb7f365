"""The data folder as one file, taken while everything runs, and back again.

First the database, by SQLite's own backup; then the folders. So every row's folder is there, unless it was deleted in
between: that is looked for, and then all is taken once more. Versions and data sets never change. Of a running job's
folder, files are replaced as a whole or grow at their end, so it is as after a kill: the job goes on from its last
checkpoint.
"""

import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from app import __version__
from app.core.config import Settings
from app.core.errors import StartError
from app.locks import hold
from ml import files

ABOUT = "inkling-backup.json"
DATABASE = "inkling.db"
FOLDERS = ("models", "datasets", "runs")
TRIES = 5
PIPE = Path("-")  # standard output, or input: for containers
PATHS = ("dataset", "base", "datasets")  # of a run's spec.json: what may lie in the data folder


class BackupError(StartError):
    """It cannot be done; the message says what to do."""


class _Deleted(Exception):
    """A row's folder was deleted after the database was copied."""


def back_up(settings: Settings, file: Path) -> int | None:
    """Write the data folder to `file` (.tar), whole or not at all, and return its size; or to a pipe, which is right
    only if nothing is raised. Raises BackupError, OSError.

    With PostgreSQL the database is not in the folder, nor in the file: `pg_dump` it just before.
    """
    folder = settings.data_dir.resolve()
    if not any((folder / name).exists() for name in (*FOLDERS, DATABASE)):
        raise BackupError(f"there is nothing of Inkling's in {folder}; set INKLING_DATA_DIR to its data folder")
    source = sqlite_file(settings)
    if file == PIPE:
        try:
            with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
                _write(tar, folder, source)
        except _Deleted as error:
            raise BackupError(f"{error} was deleted while the backup was made; it is of no use, try again") from error
        return None
    if file.resolve().is_relative_to(folder):
        raise BackupError(f"{file} would lie in the data folder itself; write it elsewhere")

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w") as tar:
            _write(tar, folder, source)

    for left in reversed(range(TRIES)):
        try:
            files.write_with(file, write)
            break
        except _Deleted as error:
            if left == 0:
                raise BackupError(f"{error} was deleted while the backup was made; try again") from error
    return file.stat().st_size


def sqlite_file(settings: Settings) -> Path | None:
    """Where the database lies; None when it is a server's."""
    url = make_url(settings.database)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _write(tar: tarfile.TarFile, folder: Path, source: Path | None) -> None:
    about = {"version": __version__, "made_at": datetime.now(UTC).isoformat(), "data_dir": str(folder)}
    needed: set[str] = set()
    with TemporaryDirectory(dir=folder, prefix=".backup-") as scratch:
        content = json.dumps(about | {"database": source is not None}).encode()
        entry = tarfile.TarInfo(ABOUT)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        if source is not None:
            copy = Path(scratch) / DATABASE
            needed = _copy_database(source, copy)
            tar.add(copy, DATABASE)
        held: set[str] = set()
        tops = [folder / name for name in FOLDERS]
        for _ in range(TRIES):
            tops = [path for top in tops for path in _add(tar, folder, top, held)]
    for name in needed - held:
        raise _Deleted(name)


def _add(tar: tarfile.TarFile, folder: Path, top: Path, held: set[str]) -> set[Path]:
    """Add what is in `top` and not in `held`, and note it there. Returns the folders that lost a file meanwhile: to a
    newer checkpoint, which is to be had instead."""
    changed = set()
    for path in _found(top):
        name = path.relative_to(folder).as_posix()
        if name in held:
            continue
        try:
            tar.add(path, name, recursive=False)
            held.add(name)
        except FileNotFoundError:
            changed.add(path.parent)
    return changed


def _copy_database(source: Path, copy: Path) -> set[str]:
    """Copy it as it is at one moment; returns the files that its rows need, by their names in the data folder."""
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(copy)) as made:
        live.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")  # one file
        versions = made.execute("SELECT model, version, card FROM versions").fetchall()
        datasets = made.execute("SELECT id FROM datasets").fetchall()
    needed = {f"datasets/{name}/dataset.json" for (name,) in datasets}
    for model, version, card in versions:
        needed |= {f"models/{model}/{version}/{name}" for name in json.loads(card)["files"]}
    return needed


def _found(top: Path) -> Iterator[Path]:
    """Folders and files to keep, a folder before what is in it. Names with a dot in front are locks and leftovers."""
    for parent, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent)
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


def restore(settings: Settings, file: Path) -> dict[str, object]:
    """Fill an empty data folder from `file`; returns what the file says of itself. Raises BackupError, StartError.

    It may lie elsewhere than before: paths that runs keep are set to it.
    """
    folder = settings.make_data_dir()
    locks = [hold(folder, what, wait=0) for what in ("service", "worker")]
    try:
        target = sqlite_file(settings) or folder / DATABASE
        there = [path.name for path in (*(folder / name for name in FOLDERS), target) if path.exists()]
        if there:
            raise BackupError(f"{', '.join(there)} lie in {folder} already; restore into an empty folder")
        scratch = folder / ".restore"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") if file == PIPE else tarfile.open(file) as tar:
                tar.extractall(scratch, filter="data")
            about: dict[str, object] = json.loads((scratch / ABOUT).read_bytes())
        except (tarfile.TarError, OSError, ValueError) as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise BackupError(f"{file} cannot be restored: {error}; is it what `backup` wrote?") from error
        if about["database"] and sqlite_file(settings) is None:
            shutil.rmtree(scratch)
            raise BackupError("the file holds an SQLite database; restore without INKLING_DATABASE_URL")
        for spec in (scratch / "runs").glob("*/spec.json"):
            _move_paths(spec, str(about["data_dir"]), str(folder))
        for name in FOLDERS:
            if (scratch / name).exists():
                (scratch / name).rename(folder / name)
        if about["database"]:
            shutil.move(scratch / DATABASE, target)
        shutil.rmtree(scratch)
        return about
    finally:
        for lock in locks:
            lock.release()


def _move_paths(spec: Path, old: str, new: str) -> None:
    said = json.loads(spec.read_bytes())
    for field in PATHS:
        value = said.get(field)
        if isinstance(value, str) and Path(value).is_relative_to(old):
            said[field] = str(Path(new) / Path(value).relative_to(old))
    files.write_json(spec, said)

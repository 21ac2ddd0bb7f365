"""Durable files: a write is a temporary name, fsync, rename, so a reader sees all of it or nothing.

Must not know: what is in the files.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml import fence

# The temporary names of `_replace` and `new_folder`, and those that safetensors makes beside the file it writes.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}(\.[^.]*)?|\.tmp[0-9A-Za-z]{6}")


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises OSError (a full or read-only volume) and leaves no part behind."""
    _replace(path, lambda temporary: temporary.write_bytes(data))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_bytes(path, json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary_path)` make the file (for libraries that want a name), then move it to `path`."""
    _replace(path, write)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    # The suffix stays last: numpy and Pillow choose, or add, by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        fence.check()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder beside `path`; it takes the name `path` only when the block ends well.

    A folder already standing at `path` is replaced. Files written inside are fsynced before the rename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as handle:
                    os.fsync(handle.fileno())
            else:
                fsync_folder(file)
        fsync_folder(temporary)
        fence.check()
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(path.parent)


def link(source: str | Path, target: str | Path) -> str | Path:
    """A hard link where the file system has them, else a copy: for files that are replaced and never changed."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
    return target


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed left in `folder` itself. Only where no other writer is alive."""
    for path in folder.glob(".*"):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

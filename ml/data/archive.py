"""The files inside a ZIP, read as they lie: nothing is unpacked to disk, and no name ever becomes a path.

What a ZIP says of itself is not believed. Must not know: pictures.
"""

import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, FileIO
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from ml.data.intake import Limits, Rejected, Source, shown

# What a damaged, or maliciously made, ZIP raises while it is read.
BROKEN = (BadZipFile, NotImplementedError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)

_DIRECTORY_ENTRY = b"PK\x01\x02"
_LOCAL_HEADER = 30  # bytes, without the name
_ENCRYPTED = 0x1 | 0x40
_UTF8 = 0x800


@dataclass(frozen=True)
class Entry:
    """One file of a ZIP: the folders and the name it has in there, and how to open it."""

    folders: tuple[str, ...]
    name: str
    archive: ZipFile
    info: ZipInfo

    @property
    def path(self) -> str:
        return "/".join((*self.folders, self.name))

    def open(self) -> IO[bytes]:
        """Raises one of BROKEN, here or while reading."""
        return self.archive.open(self.info)


@contextmanager
def open_zip(source: Source, limits: Limits) -> Iterator[list[Entry]]:
    """The files of a ZIP, sorted by their paths; folders and what systems leave behind are passed over.

    Raises Rejected for a ZIP that is damaged, encrypted, made to deceive, or holds more than `limits` allow.
    """
    name = shown(source.name)
    with _Counted(source, limits) as file:
        try:
            archive = ZipFile(file)
        except (*BROKEN, OSError) as error:
            raise Rejected(
                f"{name} is not a ZIP that can be read ({error}); make it again and send it whole"
            ) from error
        with archive:
            _refuse_overlaps(archive, name)
            entries = [entry for info in archive.infolist() if (entry := _entry(archive, info, name)) is not None]
            if len(entries) > limits.files:
                raise _too_many(name, limits)
            declared = sum(entry.info.file_size for entry in entries)
            if declared > limits.unpacked_bytes:
                raise unpacks_to_too_much(limits)
            yield sorted(entries, key=lambda entry: entry.path)


def unpacks_to_too_much(limits: Limits) -> Rejected:
    return Rejected(f"unpacked, this is more than {limits.unpacked_bytes:,} bytes; send less at once", "too_large")


def _too_many(name: str, limits: Limits) -> Rejected:
    return Rejected(f"{name} holds more than {limits.files:,} files; send fewer at once", "too_large")


class _Counted(BufferedReader):
    """A file whose ZIP directory is refused before it is taken apart: a million entries are a gigabyte of objects."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(FileIO(source.path))
        self._size = source.path.stat().st_size
        self._refusal = _too_many(shown(source.name), limits)
        self._most = 3 * limits.files + 1000  # folders, and the twin that macOS adds to each file
        self._most_bytes = self._most * 512

    def read(self, size: int | None = -1, /) -> bytes:
        # ZipFile reads its directory in one go; no other read is of that size.
        wanted = self._size - self.tell() if size is None or size < 0 else size
        if wanted > self._most_bytes:
            raise self._refusal
        data = super().read(size)
        if data.startswith(_DIRECTORY_ENTRY) and data.count(_DIRECTORY_ENTRY) > self._most:
            raise self._refusal
        return data


def _refuse_overlaps(archive: ZipFile, name: str) -> None:
    """Entries that share bytes make a ZIP of kilobytes that unpacks to terabytes (Fifield 2019)."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise Rejected(f"{name} has files in it that lie over each other, as a ZIP bomb does; make it again")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size
    if end > archive.start_dir:
        raise Rejected(f"{name} is damaged: a file in it does not end; make it again and send it whole")


def _entry(archive: ZipFile, info: ZipInfo, name: str) -> Entry | None:
    """None for what is passed over in silence. Raises Rejected."""
    path = _path(info)
    shown_path = shown(path)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or re.match("[A-Za-z]:", path):
        raise Rejected(f"{name} wants to write outside its folder ({shown_path}); make it again with plain names")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(kind):
        raise Rejected(f"{name} holds a link ({shown_path}); put the file itself there")
    if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise Rejected(f"{name} holds something that is no file ({shown_path}); leave it out")
    if not parts or path.endswith("/") or stat.S_ISDIR(kind) or _is_litter(parts):
        return None
    if info.flag_bits & _ENCRYPTED:
        raise Rejected(f"{name} is encrypted ({shown_path}); make it again without a password")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise Rejected(f"{name} is packed in an unusual way ({shown_path}); make it again with ordinary compression")
    return Entry(tuple(parts[:-1]), parts[-1], archive, info)


def _is_litter(parts: list[str]) -> bool:
    """What systems leave in folders: __MACOSX/, .DS_Store, Thumbs.db."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in (
        "thumbs.db",
        "desktop.ini",
    )


def _path(info: ZipInfo) -> str:
    """The path with / between folders, in NFC. Names not marked as UTF-8 may be that all the same, or Korean."""
    path = info.filename
    if not info.flag_bits & _UTF8 and not path.isascii():
        raw = path.encode("cp437")  # as zipfile decoded it
        for encoding in ("utf-8", "euc_kr"):
            try:
                path = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    return unicodedata.normalize("NFC", path.replace("\\", "/"))

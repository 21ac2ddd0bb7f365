"""Files sent as multipart/form-data: taken in as they come, straight into a folder of the volume.

Nothing is held in memory or in the system's temporary folder, and nothing stays: the folder goes when the block ends,
also when the client goes away in the middle. Must not know: what the files are.
"""

import hashlib
import secrets
import shutil
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from anyio import CancelScope
from anyio.to_thread import run_sync
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.disk import Disk
from app.core.errors import Invalid, TooLarge, UnsupportedMedia, volume_errors
from app.core.idempotency import digest_of

if TYPE_CHECKING:
    from fastapi import Request

CHUNK = 1024 * 1024  # bytes that are parsed, hashed and written in one go, in a thread
MAX_FIELDS = 20
MAX_FIELD_BYTES = 8192
MAX_NAME = 200  # characters of a file's name
FILE = "file"  # the field that files come in


@dataclass(frozen=True)
class Part:
    """One file: the name it had with the user (no folders, printable), and where it lies until the block ends."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Upload:
    """What was sent. `folder` holds the files under files/, and is free for whatever else is made of them."""

    folder: Path
    files: list[Part]
    fields: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the content: the fields, and the files' names and bytes. The multipart boundary is no part."""
        return digest_of([self.fields, [(part.name, part.sha256) for part in self.files]])

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.files)


@asynccontextmanager
async def receive(
    request: "Request", folder: Path, max_bytes: int, max_files: int, disk: Disk | None = None
) -> AsyncIterator[Upload]:
    """Take in the files of field `file` and the text fields, into a fresh folder under `folder`.

    Raises UnsupportedMedia (not multipart), TooLarge (bytes, files, fields), Invalid (no file, a broken body),
    VolumeFull (also where less room than `disk` keeps would be left), and Starlette's ClientDisconnect.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        sent = kind.decode("latin-1") or "nothing said about its kind"
        here = request.base_url.replace(path=request.scope["path"])  # not `url`: a query may be any bytes
        raise UnsupportedMedia(
            f"the body is {sent!r}; send files as multipart/form-data in the field 'file': curl -F file=@PATH {here}"
        )
    if disk is not None:
        announced = request.headers.get("content-length", "")
        await run_sync(disk.require, int(announced) if announced.isdecimal() else 0)
    fresh = folder / secrets.token_hex(8)
    try:
        with volume_errors():
            await run_sync(partial((fresh / "files").mkdir, parents=True))
            upload = await _take_in(request, boundary, fresh, max_bytes, max_files, disk)
        yield upload
    finally:
        with CancelScope(shield=True):
            await run_sync(partial(shutil.rmtree, fresh, ignore_errors=True))


async def _take_in(
    request: "Request", boundary: bytes, folder: Path, max_bytes: int, max_files: int, disk: Disk | None
) -> Upload:
    try:
        form = _Form(boundary, folder, max_bytes, max_files, disk)
        try:
            waiting = bytearray()
            async for chunk in request.stream():
                waiting += chunk
                if len(waiting) >= CHUNK:
                    await run_sync(form.write, bytes(waiting))
                    waiting.clear()
            await run_sync(form.write, bytes(waiting))
        finally:
            form.close()
    except FormParserError as error:
        raise Invalid(f"the body is not well-formed multipart/form-data: {error}") from error
    return form.upload()


class _Form:
    """The parser's callbacks. They write to files, so the parser runs in a thread."""

    def __init__(self, boundary: bytes, folder: Path, max_bytes: int, max_files: int, disk: Disk | None) -> None:
        self._folder, self._max_bytes, self._max_files, self._disk = folder, max_bytes, max_files, disk
        self._files: list[Part] = []
        self._fields: dict[str, str] = {}
        self._bytes = 0
        self._complete = False
        self._begin()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def write(self, content: bytes) -> None:
        """Parse more of the body, and write it down."""
        if self._disk is not None:
            self._disk.require()
        self._parser.write(content)

    def upload(self) -> Upload:
        """Raises Invalid when the body stopped short, or held no file."""
        if not self._complete:
            raise Invalid("the body ends in the middle of a part; send it again")
        if self._files:
            return Upload(self._folder, self._files, self._fields)
        if FILE in self._fields:
            raise Invalid("'file' is a text here, not a file; with curl, write file=@PATH", pointer=f"/{FILE}")
        raise Invalid("there is no file; send one or more in the field 'file'", pointer=f"/{FILE}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    # -- what the parser calls ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._field = ""
        self._name: str | None = None  # of a file
        self._file: BinaryIO | None = None
        self._text = b""
        self._size = 0
        self._hash = hashlib.sha256()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._field:
            raise Invalid("a part of the body has no name; send files in the field 'file'")
        if b"filename" not in options:
            if self._field in self._fields:
                raise Invalid(f"{self._field!r} was given twice", pointer=f"/{self._field}")
            if len(self._fields) == MAX_FIELDS:
                raise TooLarge(f"there are more than {MAX_FIELDS} fields")
            return
        if self._field != FILE:
            raise Invalid(f"files are taken in the field 'file', not in {self._field!r}", pointer=f"/{self._field}")
        if len(self._files) == self._max_files:
            if self._max_files == 1:
                raise TooLarge("there is more than one file; send it alone")
            raise TooLarge(f"there are more than {self._max_files:,} files (INKLING_MAX_UPLOAD_FILES)")
        self._name = options[b"filename"].decode("utf-8", "replace")
        self._file = self._path.open("xb")

    @property
    def _path(self) -> Path:
        return self._folder / "files" / f"{len(self._files):06d}"

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._file is None:
            if self._size > MAX_FIELD_BYTES:
                raise TooLarge(f"{self._field!r} is longer than {MAX_FIELD_BYTES:,} bytes", pointer=f"/{self._field}")
            self._text += data[start:end]
            return
        self._bytes += end - start
        if self._bytes > self._max_bytes:
            raise TooLarge(f"the files are larger than {self._max_bytes:,} bytes (INKLING_MAX_UPLOAD_BYTES)")
        view = memoryview(data)[start:end]
        self._hash.update(view)
        self._file.write(view)

    def _end(self) -> None:
        if self._file is None:
            try:
                self._fields[self._field] = self._text.decode().strip()
            except UnicodeDecodeError as error:
                raise Invalid(f"{self._field!r} is not UTF-8", pointer=f"/{self._field}") from error
            return
        self._file.close()
        self._file = None
        if self._name == "" and self._size == 0:  # what a browser sends for a form in which no file was chosen
            self._path.unlink()
            return
        self._files.append(Part(base_name(self._name or ""), self._path, self._size, self._hash.hexdigest()))

    def _all(self) -> None:
        self._complete = True


def form(file: dict[str, Any], fields: dict[str, Any], kinds: str = "", example: Any = None) -> dict[str, Any]:
    """A multipart form for the OpenAPI document: the field `file` that it needs, the `fields` that it may have.

    `kinds` are the media types of files that are taken. For a route's `openapi_extra`.
    """
    media: dict[str, Any] = {
        "schema": {"type": "object", "required": [FILE], "properties": {FILE: file, **fields}},
        **({"encoding": {FILE: {"contentType": kinds}}} if kinds else {}),
        **({"example": example} if example else {}),
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": media}}}


def base_name(name: str) -> str:
    """A file's name as a client gave it, without folders and what cannot be printed; never empty."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(char for char in last if char.isprintable()).strip()
    if len(kept) > MAX_NAME:
        stem, dot, suffix = kept.rpartition(".")
        kept = stem[: MAX_NAME - len(suffix) - 1] + dot + suffix if 0 < len(suffix) <= 10 else kept[:MAX_NAME]
    return "unnamed" if kept in ("", ".", "..") else kept

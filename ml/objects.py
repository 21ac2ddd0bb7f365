"""Folders in an object store: `s3://BUCKET/PREFIX`, for machines that share no volume.

A folder is its files, each an object, and KEY/objects.json with the size and SHA-256 of each. That comes last and goes
first: a folder is there with it, and not there without. Objects are never changed; what comes back is verified. Access
is by the usual AWS_… variables, other servers than Amazon's by AWS_ENDPOINT_URL.

Must not know: what is in the folders, or who names them.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from ml import files

if TYPE_CHECKING:
    from obstore.store import S3Store

LISTING = "objects.json"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
RETRIES, RETRY_SECONDS = 3, 10.0  # of one request, within the library
CONNECT_SECONDS, SILENT_SECONDS = 3.0, 30.0
UNFINISHED_HOURS = 24  # nobody takes that long for one folder


class Away(OSError):
    """The store does not answer, or not us: nothing is known of what is in it. It may be tried again."""


class Damaged(Exception):
    """The folder is not there, not whole, or not what was put there."""


class _Entry(BaseModel):
    sha256: str
    bytes: int


class _Listing(BaseModel):
    files: dict[str, _Entry]


class Objects:
    """The store at `url`. Raises ValueError for a URL that is none, ImportError where obstore is not installed."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.strip("/").partition("/")
        if scheme != "s3" or not bucket:
            raise ValueError(f"{url!r} is no s3://BUCKET/PREFIX")
        self.url = url
        endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
        self._store = _open(bucket, prefix, insecure=endpoint.startswith("http://"))

    def put(self, folder: Path, key: str) -> None:
        """Store every file of the folder under `key`, where nothing may be yet. Raises Away, OSError."""
        import obstore

        found = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            found[name] = _Entry(sha256=files.sha256_file(path), bytes=path.stat().st_size)
            with _away(self.url):
                obstore.put(self._store, f"{key}/{name}", path)
        with _away(self.url):
            obstore.put(self._store, f"{key}/{LISTING}", _Listing(files=found).model_dump_json().encode())

    def get(self, key: str, folder: Path) -> None:
        """Make `folder` of what is stored under `key`: all of it, verified, or nothing.

        Raises Away, Damaged, OSError.
        """
        listing = self._listing(key)
        with files.new_folder(folder) as new:
            for name, entry in listing.files.items():
                target = new / name
                if not target.resolve().is_relative_to(new.resolve()):
                    raise Damaged(f"{key} lists {name[:100]!r}, which points outside the folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._get_file(f"{key}/{name}", entry, target)

    def has(self, key: str) -> bool:
        """Whether the folder is there, whole. Raises Away."""
        try:
            self._listing(key)
        except Damaged:
            return False
        return True

    def folders(self, under: str) -> list[str]:
        """The keys UNDER/… of all folders that are there, whole, in order. Raises Away."""
        import obstore

        with _away(self.url):
            found = [each["path"] for batch in obstore.list(self._store, f"{under}/") for each in batch]
        return sorted(path.removesuffix(f"/{LISTING}") for path in found if path.endswith(f"/{LISTING}"))

    def remove(self, key: str) -> None:
        """Remove the folder, at once for whoever looks, then object by object. Raises Away."""
        import obstore

        with _away(self.url):
            obstore.delete(self._store, f"{key}/{LISTING}")
            for batch in obstore.list(self._store, f"{key}/"):
                for found in batch:
                    obstore.delete(self._store, found["path"])

    def sweep(self, under: str) -> list[str]:
        """Remove the folders UNDER/…/… that a kill left without their listing a day ago. Returns them. Raises Away."""
        import obstore

        newest: dict[str, datetime] = {}
        whole = set()
        with _away(self.url):
            for batch in obstore.list(self._store, f"{under}/"):
                for found in batch:
                    key = "/".join(found["path"].split("/")[:3])
                    newest[key] = max(found["last_modified"], newest.get(key, found["last_modified"]))
                    if found["path"] == f"{key}/{LISTING}":
                        whole.add(key)
        old = datetime.now(UTC) - timedelta(hours=UNFINISHED_HOURS)
        left = sorted(key for key, at in newest.items() if key not in whole and at < old)
        for key in left:
            self.remove(key)
        return left

    def _listing(self, key: str) -> _Listing:
        import obstore

        with _away(self.url):
            try:
                raw = bytes(obstore.get(self._store, f"{key}/{LISTING}").bytes())
            except FileNotFoundError as error:
                raise Damaged(f"{key} is not in the store") from error
        try:
            return _Listing.model_validate_json(raw)
        except ValidationError as error:
            raise Damaged(f"{key}/{LISTING} cannot be read") from error

    def _get_file(self, path: str, entry: _Entry, target: Path) -> None:
        import obstore

        digest, size = hashlib.sha256(), 0
        with target.open("wb") as file, _away(self.url):
            try:
                for chunk in obstore.get(self._store, path):
                    size += len(chunk)
                    if size > entry.bytes:
                        break
                    digest.update(chunk)
                    file.write(chunk)
            except FileNotFoundError as error:
                raise Damaged(f"{path} is missing in the store") from error
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise Damaged(f"{path} was altered in the store: its SHA-256 is not the one that it was put there with")


def _open(bucket: str, prefix: str, insecure: bool) -> "S3Store":
    from obstore.store import S3Store

    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": insecure,
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=SILENT_SECONDS),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    )


@contextmanager
def _away(url: str) -> Iterator[None]:
    """Turns whatever the library says into Away; what is ours, and the local disk's errors, pass."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:  # the latter is its word for a bucket that is not there
        said = str(error).strip().splitlines()[0][:300]
        raise Away(f"the store {url} cannot be used: {said}") from error

"""Keys in the database: made, listed, revoked; and watched, so that what another process changes is seen.

Must not know: HTTP.
"""

import logging
import re
import secrets
import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import cast
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import Database
from app.core.errors import Invalid, NotFound, StartError
from app.core.ring import SCOPES, Credential, KeyScope, Ring
from app.core.tables import Key, now

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
SHOWN = 8  # characters of a key by which lists name it
MOST_NAME = 100
PORTS = {"http": 80, "https": 443}


class Keys:
    """A key is shown once, when it is made: here is only its hash."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self.database, self.ring = database, ring
        self._stop, self._refreshing = threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="keys", daemon=True)

    def create(self, name: str, scope: KeyScope, origins: Sequence[str] = ()) -> tuple[Key, str]:
        """A new key's row, and the key. With origins it is publishable. Raises Invalid."""
        name = name.strip()
        if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
            raise Invalid(f"a key's name is 1 to {MOST_NAME} printable characters, to know it by", pointer="/name")
        if scope not in SCOPES:
            raise Invalid(f"there is no scope {scope!r}: it is {', '.join(SCOPES)}", pointer="/scope")
        if origins and scope != "predict":
            raise Invalid(
                f"a key with origins is published in a page, for everyone to read: it may only predict, not {scope}",
                pointer="/scope",
            )
        bound = list(dict.fromkeys(origin_of(each, f"/origins/{place}") for place, each in enumerate(origins)))
        kind = "ink_pub_" if bound else "ink_"
        key = kind + secrets.token_hex(32)
        row = Key(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            scope=scope,
            sha256=sha256(key.encode()).hexdigest(),
            prefix=key[: len(kind) + SHOWN],
            origins=bound,
        )
        with self.database.write() as session:
            session.add(row)
        self.refresh()
        return row, key

    def all(self) -> Sequence[Key]:
        """Oldest first, revoked ones too."""
        with self.database.read() as session:
            return session.scalars(select(Key).order_by(Key.number)).all()

    def revoke(self, id: str) -> Key:
        """From now on it is not known; a repeat changes nothing. Raises NotFound."""
        with self.database.write() as session:
            row = session.scalar(select(Key).where(Key.id == id))
            if row is None:
                raise NotFound(f"there is no key with the id {id!r}; GET /keys and python -m app keys list show them")
            row.revoked_at = row.revoked_at or now()
        self.refresh()
        return row

    # -- what requests are compared with -----------------------------------------------------------------------------

    def refresh(self) -> None:
        """See what the database holds by now."""
        with self._refreshing:  # what was read earlier is never put in place later
            rows = self.all()
            live = [row for row in rows if row.revoked_at is None]
            self.ring.change(map(_credential, live), ever=bool(rows))

    def open(self, host: str) -> None:
        """Read the keys before the first request. Raises StartError where everyone could come in without one."""
        self.refresh()
        if not self.all() and self.ring.needed:
            raise StartError(
                f"there is no key yet, and INKLING_HOST={host} lets others reach the service; make a key with "
                "python -m app keys create NAME --scope admin, or set INKLING_ALLOW_OPEN=true to let everyone in"
            )

    def start(self) -> None:
        """Follow what other processes change."""
        self._watcher.start()

    def close(self) -> None:
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        reached = True
        while not self._stop.wait(WATCH_SECONDS):
            try:
                self.refresh()
                reached = True
            except SQLAlchemyError as error:  # the keys that are known go on being known
                if reached:
                    log.warning("keys cannot be read, so new and revoked ones are not seen: %s", error)
                reached = False


def origin_of(text: str, pointer: str) -> str:
    """The origin as browsers send it. Raises Invalid for what is more or less than one."""
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except ValueError:  # UnicodeError, too
        host = ""
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]+", host) or parts.scheme not in PORTS or _more(parts):
        raise Invalid(
            f"{text!r} is no origin: write it as https://example.org, or http://localhost:3000", pointer=pointer
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, PORTS[parts.scheme]) else f":{port}")


def _more(parts: SplitResult) -> bool:
    return bool(parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)


def _credential(row: Key) -> Credential:
    return Credential(row.id, bytes.fromhex(row.sha256), cast(KeyScope, row.scope), frozenset(row.origins))

"""Stored answers for requests with an Idempotency-Key: a repeat gets the same answer and does nothing again.

A row of table `answers` is either finished (it has a status) or being worked on by a process that it names. Must not
know: which routes use it.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from anyio import CancelScope
from anyio.to_thread import run_sync
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.core.db import Database
from app.core.errors import Conflict, Invalid
from app.core.owner import Identity
from app.core.tables import Answer, now

KEPT = timedelta(hours=48)
LOST_AFTER = timedelta(hours=1)  # for work of a process of which nothing is known
RETRY_AFTER = 2  # seconds


@dataclass(frozen=True)
class Stored:
    """An answer that can be given again. `body` is JSON as it stands."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class Answers:
    """The stored answers. What takes a session belongs to the caller's write transaction."""

    def __init__(self, database: Database, owner: Identity) -> None:
        self.database, self.owner = database, owner

    # -- in the transaction of what the request does, when that is short -----------------------------------------------

    def find(self, session: Session, key: str, route: str, digest: str) -> Stored | None:
        """The stored answer to this key; None when the request is new. Raises Invalid when the key was used for other
        content, Conflict while the first request is still being worked on."""
        row = session.get(Answer, (key, route))
        if row is None or row.created_at < now() - KEPT or self._is_lost(row):
            return None
        if row.digest != digest:
            raise Invalid(
                "this Idempotency-Key was used for a request with other content; take a new key",
                pointer="/header/Idempotency-Key",
                code="idempotency_key_reused",
            )
        if row.status is None:
            raise Conflict(
                "the first request with this Idempotency-Key is still being worked on; try again soon",
                retry_after=RETRY_AFTER,
            )
        return Stored(row.status, row.body or {}, row.headers)

    def keep(self, session: Session, key: str, route: str, digest: str, answer: Stored) -> None:
        """Store the answer; whoever repeats the request gets it."""
        row = Answer(key=key, route=route, digest=digest, status=answer.status, headers=answer.headers)
        row.body = answer.body
        _put(session, row)

    # -- in transactions of its own, for work that takes its time ------------------------------------------------------

    def begin(self, key: str, route: str, digest: str) -> Stored | None:
        """The stored answer, or None: then the key is taken, until `finish` or `forget`. Raises as `find` does."""
        owner = self.owner.token
        with self.database.write() as session:
            stored = self.find(session, key, route, digest)
            if stored is None:
                _put(session, Answer(key=key, route=route, digest=digest, status=None, headers={"owner": owner}))
        return stored

    def finish(self, key: str, route: str, digest: str, answer: Stored) -> None:
        with self.database.write() as session:
            self.keep(session, key, route, digest, answer)

    def forget(self, key: str, route: str) -> None:
        """Let go of a key whose work failed: the request may be repeated."""
        with self.database.write() as session:
            session.execute(delete(Answer).where(Answer.key == key, Answer.route == route, Answer.status.is_(None)))

    async def once(self, key: str | None, route: str, digest: str, work: Callable[[], Awaitable[Stored]]) -> Stored:
        """Do `work` and store its answer, or give the stored one. Without a key: just do it."""
        if key is None:
            return await work()
        stored = await run_sync(self.begin, key, route, digest)
        if stored is not None:
            return stored
        try:
            stored = await work()
            await run_sync(self.finish, key, route, digest, stored)
        except BaseException:
            with CancelScope(shield=True):
                await run_sync(self.forget, key, route)
            raise
        return stored

    def sweep(self) -> None:
        """Let go of the keys whose work died with its process."""
        with self.database.write() as session:
            for row in session.scalars(select(Answer).where(Answer.status.is_(None))):
                if self._is_lost(row):
                    session.delete(row)

    def _is_lost(self, row: Answer) -> bool:
        if row.status is not None:
            return False
        state = self.owner.state(row.headers.get("owner", ""))
        return state == "dead" or (state == "unknown" and row.created_at < now() - LOST_AFTER)


def _put(session: Session, row: Answer) -> None:
    session.execute(delete(Answer).where(Answer.created_at < now() - KEPT))
    row.created_at = now()
    session.merge(row)


def digest_of(content: Any) -> str:
    """SHA-256 of what JSON can say, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

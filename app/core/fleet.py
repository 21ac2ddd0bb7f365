"""The processes that share one PostgreSQL: which of them live, which worker leads, what each has counted lately.

A process lives while it holds an advisory lock, which PostgreSQL lets go when the connection ends, or has given a sign
of life just now: the lock outlasts a freeze, the sign a connection that was lost and made anew. After the database
itself was away, nobody is held to be dead until everyone had the time to come back. Must not know: what the work is.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Integer, column, create_engine, delete, extract, func, insert, select, table, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.core.db import Database
from app.core.limits import Limits
from app.core.owner import State
from app.core.tables import Member

log = logging.getLogger(__name__)

PERIOD_SECONDS = 0.5  # from one look at the others to the next
STALE_SECONDS = 3.0  # without a sign of life; then the lock alone says whether it lives
BACK_SECONDS = 10.0  # after the database, or the way to it, came back
KNOWN_SECONDS = 2.0  # until all others have seen one that has just come
FORGOTTEN_SECONDS = 60.0
KEPT = 10  # periods that somebody may be late and still count everything
LOCKS = 0x1A6D  # the class of these advisory locks; their number is the process's, 0 the leader's
# Of the connection that holds the locks. Its transaction stays open, which is what lets a pooler (PgBouncer) keep the
# connection for us; it has no snapshot, so it keeps nothing from being cleaned up.
HOLDING = {
    "idle_in_transaction_session_timeout": "0",
    # PostgreSQL notices within half a minute that the machine at the other end is gone.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
PG_LOCKS = table("pg_locks", *map(column, ("locktype", "classid", "objid", "database", "granted")))
PG_DATABASE = table("pg_database", column("oid"), column("datname"))


class Fleet:
    """This process among them, from `start`, or the first `token`, to `close`. An `Identity`.

    `limits`: what is counted here and elsewhere is exchanged. `may_lead`: it is a worker. One thread; a connection of
    its own, and another for a moment in each period.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._apart = create_engine(database.engine.url, poolclass=NullPool)
        self._token = secrets.token_hex(8)
        self._limits: Limits | None = None
        self._may_lead = self.leads = False
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._holding: Connection | None = None
        self._came = self._back = self._looked = 0.0
        self._alive: frozenset[str] = frozenset()
        self._judges = self._away = False
        self._number = 0  # of this process's counts
        self._counts: deque[tuple[int, dict[str, dict[str, int]]]] = deque(maxlen=KEPT)
        self._read: dict[str, int] = {}  # the number up to which another one's are known

    def start(self, limits: Limits | None = None, may_lead: bool = False) -> None:
        """Be one of them. A second call does nothing. Raises DBAPIError."""
        with self._guard:
            if self._thread is None:
                self._limits, self._may_lead = limits, may_lead
                self._turn()
                self._came = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
                self._thread.start()

    @property
    def token(self) -> str:
        """This process's name. Waits, in the first two seconds, until all others know it."""
        self.start()
        self._stop.wait(max(0.0, self._came + KNOWN_SECONDS - time.monotonic()))
        return self._token

    @property
    def used(self) -> bool:
        return self._thread is not None

    def state(self, token: str) -> State:
        """Without a query: as it was at the last look. Who cannot see the others by now takes them to be alive."""
        if token == self._token or not self._judges or time.monotonic() - self._looked > 3 * PERIOD_SECONDS:
            return "alive"
        return "alive" if token in self._alive else "dead"

    def sweep(self) -> None:
        """Nothing: who looks forgets the dead."""

    def close(self) -> None:
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join()
        try:
            with self._database.engine.begin() as connection:
                connection.execute(delete(Member).where(Member.id == self._token))
        except SQLAlchemyError:
            pass  # its lock goes with the connection
        self._let_go()

    # -- one period ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            try:
                self._turn()
                self._away = False
            except SQLAlchemyError as error:
                if not self._away:
                    log.warning("the other processes cannot be seen (%s); trying again", getattr(error, "orig", error))
                self._away = True
                self._let_go()

    def _turn(self) -> None:
        self._hold()
        looked = time.monotonic()
        with self._database.engine.begin() as connection:
            # Of the moment: not worth waiting for a disk.
            connection.execute(select(func.set_config("synchronous_commit", "off", True)))
            self._give_sign(connection)
            self._look(connection)
        self._looked = looked

    def _hold(self) -> None:
        """Hold our lock, and the leader's if it is free. Raises DBAPIError when the connection was lost."""
        if self._holding is None:
            self._holding = self._apart.connect()
            self._back = time.monotonic() if self._came else 0.0  # at the first time nothing was away
            self._holding.execute(select(*(func.set_config(name, value, True) for name, value in HOLDING.items())))
            self._holding.execute(select(_lock(_number_of(self._token))))
        elif self._may_lead and not self.leads:
            self.leads = bool(self._holding.scalar(select(_lock(0))))
            if self.leads:
                log.info("this worker leads: it sees to what others leave behind")
        else:
            self._holding.execute(select(1))

    def _let_go(self) -> None:
        self.leads = False
        holding, self._holding = self._holding, None
        if holding is not None:
            with suppress(SQLAlchemyError):  # a server that is going down may not even take the end of a transaction
                holding.invalidate()
                holding.close()

    def _give_sign(self, connection: Connection) -> None:
        counts: dict[str, Any] = {}
        if self._limits is not None:
            self._number += 1
            spent = self._limits.spent()
            if spent:
                self._counts.append((self._number, spent))
            lately = {str(number): spent for number, spent in self._counts if number > self._number - KEPT}
            counts = {"spent": lately, "streams": self._limits.streams()}
        said = {"seen_at": func.now(), "number": self._number, "counts": counts}
        if not connection.execute(update(Member).where(Member.id == self._token).values(said)).rowcount:
            connection.execute(insert(Member).values(id=self._token, **said))

    def _look(self, connection: Connection) -> None:
        age = extract("epoch", func.now() - Member.seen_at)
        up = extract("epoch", func.now() - func.pg_postmaster_start_time())
        rows = connection.execute(select(Member.id, Member.number, Member.counts, age, up)).all()
        stale = {row[0]: row[3] for row in rows if row[3] > STALE_SECONDS}
        held = _held(connection) if stale else set()
        dead = {token for token in stale if _number_of(token) not in held}
        forgotten = [token for token in dead if stale[token] > FORGOTTEN_SECONDS]
        if forgotten:
            connection.execute(delete(Member).where(Member.id.in_(forgotten)))
        self._alive = frozenset(row[0] for row in rows) - dead
        self._judges = rows[0][4] > BACK_SECONDS and (not self._back or time.monotonic() - self._back > BACK_SECONDS)
        if self._limits is not None:
            self._take_in({row[0]: (row[1], row[2]) for row in rows if row[0] in self._alive - {self._token}})

    def _take_in(self, others: Mapping[str, tuple[int, dict[str, Any]]]) -> None:
        assert self._limits is not None
        streams: dict[str, int] = {}
        for token, (number, counts) in others.items():
            known = max(self._read.get(token, 0), number - KEPT)
            for period in range(known + 1, number + 1):
                age = (number - period) * PERIOD_SECONDS
                self._limits.charge(counts.get("spent", {}).get(str(period), {}), age)
            for caller, count in counts.get("streams", {}).items():
                streams[caller] = streams.get(caller, 0) + count
        self._read = {token: number for token, (number, _) in others.items()}
        self._limits.elsewhere = streams


def _number_of(token: str) -> int:
    """31 bits, and never the leader's 0."""
    return (int.from_bytes(sha256(token.encode()).digest()[:4]) >> 1) or 1


def _lock(number: int) -> Any:
    return func.pg_try_advisory_xact_lock(LOCKS, number)


def _held(connection: Connection) -> set[int]:
    """The numbers of these locks that anybody holds."""
    here = select(PG_DATABASE.c.oid).where(PG_DATABASE.c.datname == func.current_database()).scalar_subquery()
    ours = (PG_LOCKS.c.locktype == "advisory") & (PG_LOCKS.c.classid.cast(Integer) == LOCKS)
    query = select(PG_LOCKS.c.objid).where(ours, PG_LOCKS.c.database == here, PG_LOCKS.c.granted)
    return {int(number) for number in connection.scalars(query)}

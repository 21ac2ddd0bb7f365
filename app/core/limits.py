"""How much one caller may ask: requests a second with a burst, changes, and event streams open at the same time.

A caller is a key, or the address that a request came from. A publishable key stands in a page for everyone to read, so
its visitors are told apart by their addresses, and it counts itself as a whole, too. What is remembered is bounded: of
more than CALLERS addresses the one seen longest ago is forgotten, with its burst given back.

Requests that need no scope are not counted: the page's files, health, metrics.

Several processes over one PostgreSQL count together, without asking anybody at a request: each tells the others twice a
second what it let in (`app.core.fleet`), and what they let in is owed here. So a caller that begins at all of them in
the same second may get its burst and a second's rate from each, and waits the longer after that.

Must not know: routes, models.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil

from throttled import Throttled
from throttled.rate_limiter import Quota, per_min, per_sec
from throttled.store import MemoryStore

from app.core.config import Settings
from app.core.errors import Busy

CALLERS = 20_000  # remembered by each budget; some 200 bytes each
BOTTOMLESS = 10**9
CHECK_AGAIN = 5  # seconds, for a caller with too many streams: when one ends is not known


@lru_cache(CALLERS)
def caller_of(address: str) -> str:
    """Whom an address counts for. In IPv6 a customer gets a network of 2**64 addresses: it counts as one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


class Budget:
    """So many requests in a while for each caller, and `burst` at once after a rest (GCRA, that is, a token bucket)."""

    def __init__(self, quota: Quota | None, said: str, shared: bool = False) -> None:
        """No quota: no limit. `said` names the budget in an answer. `shared`: others are told what is spent."""
        store = MemoryStore(options={"MAX_SIZE": CALLERS})
        self._limiter = None if quota is None else Throttled(using="gcra", quota=quota, store=store)
        # The same buckets, without a bottom: what was spent elsewhere is owed, however much it is.
        owed = None if quota is None or not shared else replace(quota, burst=BOTTOMLESS)
        self._owed = None if owed is None else Throttled(using="gcra", quota=owed, store=store)
        self._each = quota.emission_interval if quota is not None else 0.0  # seconds until one more comes back
        self._spent: dict[str, int] = {}
        self._lock = threading.Lock()  # around _spent
        self._said = said

    def spend(self, caller: str) -> None:
        """One request. Raises Busy with the time until the next is taken."""
        if self._limiter is None:
            return
        result = self._limiter.limit(caller)
        if result.limited:
            raise Busy(
                f"too many requests: {self._said}; try again after the seconds in Retry-After",
                retry_after=max(1, ceil(result.state.retry_after)),
                code="rate_limited",
            )
        if self._owed is not None:
            with self._lock:
                self._spent[caller] = self._spent.get(caller, 0) + 1

    def spent(self) -> dict[str, int]:
        """What each caller has spent here since the last call."""
        with self._lock:
            spent, self._spent = self._spent, {}
        return spent

    def charge(self, spent: Mapping[str, int], age: float = 0.0) -> None:
        """What each has spent elsewhere, `age` seconds ago: some of it is back by now."""
        if self._owed is not None:
            back = int(age / self._each)
            for caller, count in spent.items():
                if count > back:
                    self._owed.limit(caller, cost=count - back)


class Limits:
    """All that a caller is allowed. Belongs to the event loop; some microseconds a request."""

    def __init__(self, per_address: Budget, per_key: Budget, changes: Budget, streams: int, streams_each: int) -> None:
        """Of streams: how many may be open at the same time, for all and for one caller; 0 is no limit."""
        self.per_address, self.per_key, self.changes = per_address, per_key, changes
        self._streams, self._streams_each = streams, streams_each
        self._open: dict[str, int] = {}  # streams by caller; "" is nobody in particular
        self.elsewhere: Mapping[str, int] = {}  # those that other processes have open

    def check(self, address: str, key: str | None = None, published: bool = False, changes: bool = False) -> str:
        """Count a request from `address` with a key of this id, `published` in a page. `changes`: it starts, stores or
        deletes something. Returns the caller. Raises Busy."""
        caller = key if key is not None and not published else caller_of(address)
        if caller is not key:
            self.per_address.spend(caller)
        if key is not None:
            self.per_key.spend(key)
        if changes:
            self.changes.spend(caller)
        return caller

    @property
    def open_streams(self) -> int:
        """How many there are at the moment, here and elsewhere."""
        return sum(self._open.values()) + sum(self.elsewhere.values())

    def open_stream(self, caller: str | None) -> None:
        """An event stream begins; no caller: it counts among all alone. Raises Busy, and counts nothing then."""
        if self._streams and self.open_streams >= self._streams:
            raise _too_many(f"{self._streams} event streams are open")
        name = caller or ""
        mine = self._open.get(name, 0) + self.elsewhere.get(name, 0)
        if caller is not None and self._streams_each and mine >= self._streams_each:
            raise _too_many(f"{mine} event streams of yours are open, and no more are allowed")
        self._open[name] = self._open.get(name, 0) + 1

    def close_stream(self, caller: str | None) -> None:
        """One that was opened has ended."""
        name = caller or ""
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]

    # -- among several processes: called by another thread -------------------------------------------------------------

    def spent(self) -> dict[str, dict[str, int]]:
        """What was let in here since the last call, by budget and caller."""
        spent = {name: budget.spent() for name, budget in self._budgets().items()}
        return {name: callers for name, callers in spent.items() if callers}

    def charge(self, spent: Mapping[str, Mapping[str, int]], age: float = 0.0) -> None:
        """What was let in elsewhere, `age` seconds ago."""
        for name, budget in self._budgets().items():
            budget.charge(spent.get(name, {}), age)

    def streams(self) -> dict[str, int]:
        """Those that are open here, by caller."""
        return dict(self._open)

    def _budgets(self) -> dict[str, Budget]:
        return {"address": self.per_address, "key": self.per_key, "changes": self.changes}


def _too_many(said: str) -> Busy:
    detail = f"{said}; try again when one has ended, or ask without Accept: text/event-stream"
    return Busy(detail, retry_after=CHECK_AGAIN, code="too_many_streams")


def limits_of(settings: Settings, shared: bool = False) -> Limits:
    """Those that the settings say. `shared`: with other processes."""
    address, key, changes = settings.rate_per_address, settings.rate_per_key, settings.changes_per_minute
    return Limits(
        Budget(
            per_sec(address, burst=settings.burst_per_address) if address else None,
            f"an address may send {address} a second",
            shared,
        ),
        Budget(per_sec(key, burst=settings.burst_per_key) if key else None, f"a key may send {key} a second", shared),
        Budget(
            per_min(changes) if changes else None, f"{changes} a minute may start, store or delete something", shared
        ),
        settings.max_streams,
        settings.max_streams_each,
    )

"""How much one caller may ask: requests a second with a burst, changes, and event streams open at the same time.

A caller is a key, or the address that a request came from. A publishable key stands in a page for everyone to read, so
its visitors are told apart by their addresses, and it counts itself as a whole, too. What is remembered is bounded: of
more than CALLERS addresses the one seen longest ago is forgotten, with its burst given back.

Requests that need no scope are not counted: the page's files, health, metrics. Must not know: routes, models.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil

from throttled import Throttled
from throttled.rate_limiter import Quota, per_min, per_sec
from throttled.store import MemoryStore

from app.core.config import Settings
from app.core.errors import Busy

CALLERS = 20_000  # remembered by each budget; some 200 bytes each
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

    def __init__(self, quota: Quota | None, said: str) -> None:
        """No quota: no limit. `said` names the budget in an answer."""
        store = MemoryStore(options={"MAX_SIZE": CALLERS})
        self._limiter = None if quota is None else Throttled(using="gcra", quota=quota, store=store)
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


class Limits:
    """All that a caller is allowed. Belongs to the event loop; some microseconds a request."""

    def __init__(self, per_address: Budget, per_key: Budget, changes: Budget, streams: int, streams_each: int) -> None:
        """Of streams: how many may be open at the same time, for all and for one caller; 0 is no limit."""
        self.per_address, self.per_key, self.changes = per_address, per_key, changes
        self._streams, self._streams_each = streams, streams_each
        self._open: dict[str | None, int] = {}  # streams by caller

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
        """How many there are at the moment."""
        return sum(self._open.values())

    def open_stream(self, caller: str | None) -> None:
        """An event stream begins; no caller: it counts among all alone. Raises Busy, and counts nothing then."""
        if self._streams and self.open_streams >= self._streams:
            raise _too_many(f"{self._streams} event streams are open")
        mine = self._open.get(caller, 0)
        if caller is not None and self._streams_each and mine >= self._streams_each:
            raise _too_many(f"{mine} event streams of yours are open, and no more are allowed")
        self._open[caller] = mine + 1

    def close_stream(self, caller: str | None) -> None:
        """One that was opened has ended."""
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]


def _too_many(said: str) -> Busy:
    detail = f"{said}; try again when one has ended, or ask without Accept: text/event-stream"
    return Busy(detail, retry_after=CHECK_AGAIN, code="too_many_streams")


def limits_of(settings: Settings) -> Limits:
    """Those that the settings say."""
    address, key, changes = settings.rate_per_address, settings.rate_per_key, settings.changes_per_minute
    return Limits(
        Budget(
            per_sec(address, burst=settings.burst_per_address) if address else None,
            f"an address may send {address} a second",
        ),
        Budget(per_sec(key, burst=settings.burst_per_key) if key else None, f"a key may send {key} a second"),
        Budget(per_min(changes) if changes else None, f"{changes} a minute may start, store or delete something"),
        settings.max_streams,
        settings.max_streams_each,
    )

"""Connections, bounded: how many there are, how large a request's head is, how long a client may keep one waiting.

A client that sends its headers or body a byte at a time, or takes no answer, costs a file and some memory for as long
as it is let. So every second one look goes over all connections (`Watch.look`): a request pays for none of it but two
numbers. Where they are too many, those that only wait for their client are closed first, the oldest ones, so that
ordinary requests find room. Must not know: routes, keys, what is answered.
"""

import logging
import resource
from asyncio import Transport
from collections.abc import Iterable
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.joined import JoinedWrites
from app.core.problems import problem
from app.core.secure import secured

log = logging.getLogger(__name__)

MOST_HEAD = 64 * 1024  # bytes of a request line with its headers
LEAST_RATE = 500  # bytes a second of a body, on average over the time that a client may stall
OTHER_FILES = 200  # that the process has open beside connections: database, models, pipes, data


class Watch:
    """The bounds on all connections of a server. Belongs to the event loop."""

    def __init__(self, most: int, stall_seconds: float) -> None:
        self.most, self.stall_seconds = most, stall_seconds

    def look(self, connections: Iterable[object], now: float) -> None:
        """Cut off who keeps the service waiting. `now` is the event loop's time."""
        for connection in list(connections):
            if isinstance(connection, BoundedProtocol):
                try:
                    connection.look(now)
                except Exception:  # the server's own loop calls this, and would end with it
                    log.exception("a connection could not be looked at")
                    connection.transport.abort()

    def make_room(self, connections: Iterable[object]) -> bool:
        """Close a tenth of the connections that wait for their client, the oldest ones. Returns whether there were."""
        waiting = [c for c in connections if isinstance(c, BoundedProtocol) and c.waits_for_client]
        waiting.sort(key=lambda connection: connection.since)
        for connection in waiting[: len(waiting) // 10 + 1]:
            connection.transport.close()
        return bool(waiting)


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's, for one connection, under a `watch`."""

    watch: ClassVar[Watch]
    since = 0.0  # when it was made, or its last request ended or was refused
    _in_head = False  # a head has begun and is not complete
    _received = 0  # bytes, ever
    _chunk = 0  # bytes that came last
    _begun = (0, 0)  # `_received` without and with the bytes that the head began in
    _body: object = None  # the request whose body is awaited, since `_mark`: when that was, and `_received` then
    _mark = (0.0, 0)
    _unread = (0, 0.0)  # bytes of the answer that the client does not take, and since when they are so many

    # -- a request's way ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self.since = self.loop.time()
        if len(self.connections) > self.watch.most:
            others = self.connections - {self}
            if not self.watch.make_room(others):
                self._refuse(503, "busy", "too many connections are open, and all are at work; try again", retry=1)

    def data_received(self, data: bytes) -> None:
        self._chunk = len(data)
        self._received += self._chunk
        super().data_received(data)
        if self._in_head and self._received - self._begun[1] > MOST_HEAD:
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._in_head, self._begun = True, (self._received - self._chunk, self._received)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self.since = False, self.loop.time()
        # Much came: of this head, or before and behind it.
        if self._received - self._begun[0] > MOST_HEAD and self._head_size() > MOST_HEAD:
            self._refuse_head()
            raise ValueError("the head is too large")  # ends the parser, which would go on with the body
        super().on_headers_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        self._unread = (0, 0.0)  # it takes the answer
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """A problem document, as every error is."""
        self._refuse(400, "not_http", msg.rstrip(".") + "; this is an HTTP/1.1 service")

    # -- what it is waited for ---------------------------------------------------------------------------------------

    @property
    def _owes_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _owes_body(self) -> bool:
        """Not while the service itself has stopped reading, or has not yet said that it will."""
        cycle = self.cycle
        return not self._owes_head and cycle.more_body and not (self.flow.read_paused or cycle.waiting_for_100_continue)

    @property
    def waits_for_client(self) -> bool:
        """Whether it is for the client to go on."""
        return not self.transport.is_closing() and (self._owes_head or self._owes_body)

    def look(self, now: float) -> None:
        """Cut it off if its client has kept it waiting for too long. Called every second or so."""
        stall = self.watch.stall_seconds
        unread = self.transport.get_write_buffer_size()
        if unread and unread == self._unread[0]:
            if now - self._unread[1] >= stall:
                self.transport.abort()
            return
        self._unread = (unread, now)
        if self.transport.is_closing():
            return
        if self._owes_head:
            if now - self.since >= stall:
                if self._in_head:
                    self._refuse(408, "too_slow", f"the headers did not come within {stall:g} seconds")
                else:
                    self.transport.close()
        elif not self._owes_body:
            self._body = None
        elif self._body is not self.cycle:
            self._body, self._mark = self.cycle, (now, self._received)
        elif now - self._mark[0] >= stall:
            if self._received - self._mark[1] < LEAST_RATE * stall:
                self._refuse(408, "too_slow", f"the body comes at less than {LEAST_RATE} bytes a second")
            self._mark = (now, self._received)

    # -- refused -----------------------------------------------------------------------------------------------------

    def _refuse_head(self) -> None:
        self._refuse(431, "too_large", f"the address and headers are larger than {MOST_HEAD:,} bytes")

    def _refuse(self, status: int, code: str, detail: str, retry: int | None = None) -> None:
        """Answer past the application, unless an answer has begun, and close."""
        if self.transport.is_closing():
            return
        if self._owes_head or not self.cycle.response_started:
            response = problem(status, detail, "", code, None, {} if retry is None else {"Retry-After": str(retry)})
            lines = [b"HTTP/1.1 %d %s" % (status, PHRASES.get(status, b"Error"))]
            lines += [b"%s: %s" % header for header in secured(response.raw_headers, "")]
            self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)]))
        self.transport.close()


PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


def room_for(most: int) -> int:
    """How many connections there may be, with files left for all else: `most`, or fewer under a low limit of files.

    The soft limit is raised as far as the hard one lets, up to what is needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return most
    fewer = max(10, soft - OTHER_FILES)
    log.warning("only %d connections are taken, not %d: this process may open no more than %d files", fewer, most, soft)
    return fewer


def bounded(protocol: type[HttpToolsProtocol], watch: Watch) -> type[HttpToolsProtocol]:
    """`protocol` under `watch`, as `uvicorn.Config(http=…)` takes it."""
    return type("Protocol", (BoundedProtocol, protocol), {"watch": watch})

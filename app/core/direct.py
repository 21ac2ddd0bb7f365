"""Plain questions on the route that is answered most are answered by the connection itself: no task, no ASGI.

What uvicorn, ASGI and the layers of the application do for each request is more than a small model's answer takes. Here
a question that came whole is read, let in by the guard's own rule and put before the model; what comes back is written.
Whatever is not plain, or not answered at once, goes on to the application as if nothing had been here, and answers are
the same either way but for the order of their headers. Must not know: models.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.errors import ServiceError
from app.core.problems import answer, bug
from app.core.request import request_id
from app.core.secure import EVERY
from app.core.security import ADMITTED, Admission, Readers
from app.core.shortcut import ACCEPTED, JSON
from app.core.telemetry import Seen, begin_timings, name_of, server_timing

log = logging.getLogger(__name__)

# Of these uvicorn has to know.
NOT_PLAIN = frozenset((b"expect", b"upgrade", b"transfer-encoding"))
MOST_AHEAD = 4  # of one client's requests that came together: the rest is uvicorn's, which lets others in between
STATUS = {int(each): b"HTTP/1.1 %d %s\r\n" % (each, each.phrase.encode()) for each in HTTPStatus}
EVERY_LINE = b"".join(b"%s: %s\r\n" % header for header in EVERY)

Headers = Sequence[tuple[bytes, bytes]]
Gone = Callable[[], bool]
Done = Callable[[bytes | None, Exception | None], None]

B = TypeVar("B", bound=BaseModel)


class Direct(Generic[B]):
    """Answers POST `path` with the JSON that `ask` makes of a `body`.

    `ask(body, gone, done)` returns at once: true, and `done` is told the JSON or an error later, or false, and the
    application answers. `gone` tells whether the caller has left. `most` are bytes of a
    body; `seen` are told of each answer; once `stopping` is set, connections end with theirs.
    """

    def __init__(
        self,
        path: str,
        body: type[B],
        ask: Callable[[B, Gone, Done], bool],
        admission: Admission,
        readers: Readers,
        seen: Sequence[Seen],
        stopping: threading.Event,
        most: int,
    ) -> None:
        self.path, self.url, self.ask, self.most = path, path.encode(), ask, most
        self._read, self._admission, self._readers = body.model_validate_json, admission, readers
        self._seen, self.stopping = seen, stopping

    def is_plain(self, sent: Mapping[bytes, bytes], count: int) -> bool:
        """Whether a request with these headers, `count` of them, may be answered here."""
        return (
            len(sent) == count  # none twice
            and sent.get(b"content-type") == JSON
            and sent.get(b"accept", JSON) in ACCEPTED
            and NOT_PLAIN.isdisjoint(sent)
            and int(sent.get(b"content-length", 0)) <= self.most
            and not self.stopping.is_set()
        )

    def begin(self, scope: Scope, sent: Mapping[bytes, bytes], body: bytes, gone: Gone, done: Done) -> bool:
        """Ask. False: the application is to answer, with this scope."""
        try:
            self._admission.admit(scope, self._admission.rule(scope), sent)
            scope[ADMITTED] = True
            try:
                question = self._read(body)
            except ValueError:
                return False
            return self.ask(question, gone, done)
        except Exception as error:
            done(None, error)
            return True

    def answer(
        self,
        scope: Scope,
        sent: Mapping[bytes, bytes],
        content: bytes | None,
        error: Exception | None,
        timings: Mapping[str, float],
        spent: float,
    ) -> list[bytes]:
        """An answer in pieces, from its status line up to its body. `spent`: seconds."""
        status, headers = 200, b"content-length: %d\r\ncontent-type: application/json\r\n" % len(content or b"")
        if content is None:
            if isinstance(error, ServiceError):
                response = answer(error, self.path)
            else:
                log.error("POST %s", self.path, exc_info=error)
                response = bug(self.path)
            status, content = response.status_code, bytes(response.body)
            headers = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        for see in self._seen:
            see(scope, status, spent)
        lines = b"x-request-id: %s\r\nserver-timing: %s\r\n" % (
            request_id.get().encode("latin-1"),
            server_timing(timings, spent),
        )
        readers = self._readers.lines(sent.get(b"origin", b""))
        return [STATUS[status], headers, EVERY_LINE, lines, readers, b"\r\n", content]


class _Asked:
    """What uvicorn's protocol asks of a request under way, for one that is answered here."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    response_started = more_body = waiting_for_100_continue = False

    def __init__(self) -> None:
        self.disconnected = self.response_complete = False
        self.keep_alive = True

    @property
    def message_event(self) -> "_Asked":
        return self

    def set(self) -> None:
        """Nobody waits for its body."""


class DirectProtocol(HttpToolsProtocol):
    """Uvicorn's, which asks `direct` first where a request is plain and comes whole."""

    direct: ClassVar[Direct[Any] | None] = None
    _held: list[bytes] | None = None  # what came of the body of a request that may be answered here
    _sent: Mapping[bytes, bytes]  # its headers
    _at_a_time = 0  # requests that were begun here of what came last

    def data_received(self, data: bytes) -> None:
        self._at_a_time = 0
        super().data_received(data)
        if self._held is not None:  # the rest is on its way: what one waits for is bounded, and timed, over there
            self._go_on()

    def on_headers_complete(self) -> None:
        direct = self.direct
        if (
            direct is not None
            and self.url == direct.url
            and self.parser.get_method() == b"POST"
            and self._may_be_held()
        ):
            self._sent = dict(self.headers)
            if direct.is_plain(self._sent, len(self.headers)):
                self._held = []
                return
        super().on_headers_complete()

    def _may_be_held(self) -> bool:
        """Not where another answer, or what the client does not take of one, comes first."""
        idle = self.cycle is None or self.cycle.response_complete
        modern = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        return idle and modern and self._at_a_time < MOST_AHEAD and not self.flow.write_paused

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        if self._held is not None:
            body = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            if self._begin(body):
                self._held = None
                return
            self._go_on()
        super().on_message_complete()

    def _go_on(self) -> None:
        """As any other request."""
        held, self._held = self._held or [], None
        if not self.transport.is_closing():
            super().on_headers_complete()
            for body in held:
                super().on_body(body)

    def _begin(self, body: bytes) -> bool:
        assert self.direct is not None
        direct, sent, before, began = self.direct, self._sent, self.cycle, time.perf_counter()
        scope: Scope = self.scope  # type: ignore[assignment]  # ASGI lets servers add to it
        scope["method"], scope["path"] = "POST", direct.path
        request_id.set(name_of(sent.get(b"x-request-id", b"").decode("latin-1")))
        timings, asked = begin_timings(), _Asked()

        def gone() -> bool:
            return asked.disconnected or self.transport.is_closing()

        def done(content: bytes | None, error: Exception | None) -> None:
            pieces = direct.answer(scope, sent, content, error, timings, time.perf_counter() - began)
            self._write(asked, pieces)

        self._at_a_time += 1
        self.cycle = asked  # type: ignore[assignment]
        if direct.begin(scope, sent, body, gone, done):
            return True
        self.cycle = before
        return False

    def _write(self, asked: _Asked, pieces: list[bytes]) -> None:
        if asked.disconnected or self.transport.is_closing():
            return
        assert self.direct is not None
        closes = self.direct.stopping.is_set() or not asked.keep_alive
        given = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        pieces[1:1] = [*given, b"connection: close\r\n"] if closes else given
        self.transport.write(b"".join(pieces))
        asked.response_complete = True
        if closes:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        if self.pipeline or not isinstance(self.cycle, _Asked):
            super().on_response_complete()
        else:
            # Without the timer of a kept connection, which costs its part: `connections.Watch` closes idle ones.
            self.server_state.total_requests += 1

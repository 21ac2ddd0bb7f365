"""The bounds on connections that no socket shows: room for files, and a look that must not fail. More in flow."""

import asyncio
import logging
import resource
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.core import connections
from app.core.connections import Watch, bounded, room_for


class Transport:
    """What a protocol sees of its socket."""

    def __init__(self) -> None:
        self.written, self.closed, self.aborted, self.unread = b"", False, False, 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"sockname": ("127.0.0.1", 1), "peername": ("192.0.2.1", 2)}.get(name, default)

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.fixture
async def made() -> Any:
    """A function that makes connections of one server, three at most, and its watch."""
    watch = Watch(3, 10)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.Event().wait()

    config = Config(app, http=bounded(HttpToolsProtocol, watch), log_config=None)
    config.load()
    state, tasks = ServerState(), []

    def connect(sent: bytes = b"") -> Any:
        protocol: Any = config.http_protocol_class(
            config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop()
        )
        protocol.wire = Transport()
        protocol.connection_made(protocol.wire)
        if sent:
            protocol.data_received(sent)
        tasks.extend(state.tasks)
        return protocol

    yield SimpleNamespace(connect=connect, watch=watch, state=state)
    for task in tasks:
        task.cancel()


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_those_at_rest_make_room_and_where_all_work_it_is_503(made: Any) -> None:
    first, second = made.connect(), made.connect(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
    working = made.connect(WHOLE)
    made.connect(WHOLE)
    assert (first.transport.closed, second.transport.closed, working.transport.closed) == (True, False, False)
    first.connection_lost(None)
    made.connect(WHOLE)  # the next oldest that waits for its client is the one with half a body
    assert second.transport.closed
    second.connection_lost(None)
    refused = made.connect()
    assert refused.transport.written.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"retry-after: 1" in refused.transport.written.lower()
    assert refused.transport.closed
    assert not working.transport.is_closing()


async def test_an_answer_that_nobody_takes_ends(made: Any) -> None:
    now, stuck, moving = asyncio.get_running_loop().time(), made.connect(WHOLE), made.connect(WHOLE)
    for second in range(13):
        stuck.wire.unread, moving.wire.unread = 70_000, 70_000 + second
        made.watch.look(made.state.connections, now + second)
    assert stuck.transport.aborted
    assert not moving.transport.is_closing()


async def test_a_look_that_fails_ends_one_connection_alone(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = made.connect(WHOLE), made.connect(WHOLE)
    broken.transport.get_write_buffer_size = lambda: 1 / 0
    with caplog.at_level(logging.ERROR):
        made.watch.look(made.state.connections, asyncio.get_running_loop().time())
    assert broken.transport.aborted
    assert not whole.transport.is_closing()
    assert "could not be looked at" in caplog.text


@pytest.mark.parametrize(
    ("limits", "wanted", "given", "raised_to"),
    [
        ((1024, 4096), 2000, 2000, 2200),  # the soft limit goes up as far as it needs to
        ((1024, 1024), 2000, 824, 1024),
        ((4096, 4096), 2000, 2000, None),
        ((1024, resource.RLIM_INFINITY), 2000, 2000, 2200),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2000, 2000, None),
        ((64, 64), 2000, 10, 64),
    ],
)
def test_connections_leave_files_for_all_else(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, given: int, raised_to: int | None
) -> None:
    raised: list[int] = []
    monkeypatch.setattr(connections.resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(connections.resource, "setrlimit", lambda which, to: raised.append(to[0]))
    assert room_for(wanted) == given
    assert raised == ([] if raised_to is None else [raised_to])

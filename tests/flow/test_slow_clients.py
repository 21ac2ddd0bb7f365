"""Clients that are slow, greedy or silent, on real sockets: the others are answered, and these are cut off."""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.flow.service import Service, wait_for

STALL = 2.0  # seconds that a client may keep the service waiting, here
LET_GO = 15.0  # seconds after which a client must have been cut off at the latest: five times what it takes
ANSWER = 5.0  # seconds in which an ordinary request is answered, whatever the slow ones do
SLOW = 200
BODY = b'{"text": "in the beginning", "top_k": 1}'
HEAD = b"POST /predict-next-word HTTP/1.1\r\nHost: inkling\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "data", stall_seconds=str(STALL), max_connections="500")
    made.start()
    yield made
    made.close()


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets of the test, closed at its end."""
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


def connect(service: Service, opened: list[socket.socket], sent: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", service.port), timeout=LET_GO)
    opened.append(made)
    made.sendall(sent)
    return made


def files(service: Service) -> int:
    """How many files the service has open, but for its database's, of which a pool is kept."""
    assert service.process is not None
    opened = 0
    for file in Path(f"/proc/{service.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            opened += "inkling.db" not in os.readlink(file)
    return opened


def answered(service: Service) -> None:
    """An ordinary request, by a client that just came."""
    with httpx.Client(base_url=service.client.base_url, timeout=ANSWER) as client:
        said = client.post("/predict-next-word", content=BODY, headers={"Content-Type": "application/json"})
    assert said.status_code == 200


def taken(connection: socket.socket) -> bytes:
    """All that comes until the service closes; fails if it does not."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            said += part
    return said


def problem_of(said: bytes, status: int, code: str) -> None:
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    assert json.loads(body)["code"] == code


def trickle(slow: dict[socket.socket, bytes], service: Service) -> float:
    """Send each its next byte, again and again, until the service has closed them all; the slowest ordinary answer."""
    slowest, began, turn = 0.0, time.monotonic(), 0
    while slow:
        assert time.monotonic() - began < LET_GO, f"{len(slow)} are still let"
        for connection, rest in list(slow.items()):
            readable, _, _ = select.select([connection], [], [], 0)
            try:
                if readable and not connection.recv(65536):
                    del slow[connection]
                    continue
                connection.send(rest[turn : turn + 1])
            except OSError:
                del slow[connection]
        turn += 1
        started = time.monotonic()
        answered(service)
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.1)
    return slowest


def test_a_byte_at_a_time_holds_nobody_up(service: Service, opened: list[socket.socket]) -> None:
    answered(service)
    before = files(service)
    slow: dict[socket.socket, bytes] = {}
    for number in range(SLOW):
        if number % 2:
            slow[connect(service, opened, b"GET /models HTTP/1.1\r\nHost: inkling\r\nX-Slow: ")] = b"x" * 1000
        else:
            slow[connect(service, opened, HEAD + b"Content-Length: 1000\r\n\r\n")] = b" " * 1000
    wait_for("they are all taken", lambda: files(service) >= before + SLOW - 3, STALL)
    slowest = trickle(slow, service)
    print(f"slowest ordinary answer beside {SLOW} slow clients: {slowest:.3f} s")
    assert slowest < ANSWER
    wait_for("the files are given back", lambda: files(service) <= before + 3, LET_GO)
    assert "Traceback" not in service.said()


def test_a_slow_client_hears_why(service: Service, opened: list[socket.socket]) -> None:
    head = connect(service, opened, b"GET /models HTTP/1.1\r\nHost:")
    body = connect(service, opened, HEAD + b"Content-Length: 1000\r\n\r\n{")
    upload = connect(
        service,
        opened,
        b"POST /datasets HTTP/1.1\r\nHost: inkling\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 100000\r\n\r\n--x\r\n",
    )
    silent = connect(service, opened)
    problem_of(taken(head), 408, "too_slow")
    problem_of(taken(body), 408, "too_slow")
    problem_of(taken(upload), 408, "too_slow")
    assert taken(silent) == b""
    wait_for("nothing is kept", lambda: not list((service.data_dir / "uploads").glob("*/*")), LET_GO)


def test_a_slow_line_is_no_stall(service: Service, opened: list[socket.socket]) -> None:
    """2 kB a second, for three times the time that a client may stall."""
    size = int(3 * STALL * 2000)
    connection = connect(service, opened, HEAD + b"Content-Length: %d\r\n\r\n" % size)
    content = (b'{"text": "' + b"and " * size)[: size - 2] + b'"}'
    for start in range(0, size, 200):
        connection.sendall(content[start : start + 200])
        time.sleep(0.1)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_idle_connections_make_room(service: Service, opened: list[socket.socket]) -> None:
    """Three times as many as are taken: those that came first are closed, and who asks something is answered."""
    before = files(service)
    for number in range(1500):
        connect(service, opened)
        if number % 100 == 0:
            answered(service)
    assert files(service) < before + 520
    answered(service)
    wait_for("the files are given back", lambda: files(service) <= before + 3, LET_GO)


def test_a_large_head_is_refused(service: Service, opened: list[socket.socket]) -> None:
    begun = b"GET /models HTTP/1.1\r\nHost: inkling\r\n"
    for sent in (
        begun + b"X-Large: " + b"x" * 70_000 + b"\r\n\r\n",
        begun + b"X-Many: 1\r\n" * 10_000 + b"\r\n",
        b"GET /models?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: inkling\r\n\r\n",
        begun + b"X-Endless: " + b"x" * 1_000_000,
    ):
        connection = connect(service, opened)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(sent), 16_384):
                connection.sendall(sent[start : start + 16_384])
        problem_or_reset = taken(connection)
        if problem_or_reset:  # the rest that nobody reads may have the kernel throw the answer away
            problem_of(problem_or_reset, 431, "too_large")
    at_once = connect(service, opened, begun + b"X-Large: " + b"x" * 70_000 + b"\r\n\r\n")
    problem_of(taken(at_once), 431, "too_large")
    fits = connect(service, opened, begun + b"Connection: close\r\nX-Large: " + b"x" * 60_000 + b"\r\n\r\n")
    assert taken(fits).startswith(b"HTTP/1.1 200")
    # A small head in front of a body is small, in however many pieces.
    large = b'{"text": "' + b"and " * 100_000 + b'"}'
    sent = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(large) + large
    in_two = connect(service, opened, sent[:50])
    time.sleep(0.2)
    in_two.sendall(sent[50:])
    assert taken(in_two).startswith(b"HTTP/1.1 200")


def test_half_a_connection_is_none(service: Service, opened: list[socket.socket]) -> None:
    """A client that closes its side before its request is whole."""
    before = files(service)
    for sent in (b"", b"GET /mod", HEAD + b"Content-Length: 1000\r\n\r\n{", WHOLE):
        for _ in range(20):
            connect(service, opened, sent).shutdown(socket.SHUT_WR)
    for connection in opened:
        taken(connection)
    wait_for("the files are given back", lambda: files(service) <= before + 3, LET_GO)
    answered(service)


def test_who_takes_no_answer_is_cut_off(service: Service, opened: list[socket.socket]) -> None:
    before = files(service)
    for _ in range(5):  # some megabytes, more than the kernels keep
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        opened.append(connection)
        connection.sendall(b"GET /models/next-word/versions/1/export HTTP/1.1\r\nHost: inkling\r\n\r\n")
    wait_for("they are being answered", lambda: files(service) >= before + 5)
    wait_for("the files are given back", lambda: files(service) <= before + 3, LET_GO)
    answered(service)
    assert "Traceback" not in service.said()


def test_what_is_not_http_gets_a_problem(service: Service, opened: list[socket.socket]) -> None:
    problem_of(
        taken(connect(service, opened, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n")),
        400,
        "not_http",
    )
    problem_of(taken(connect(service, opened, b"GET /models HTTP/1.1\r\nContent-Length: -1\r\n\r\n")), 400, "not_http")
    both = HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    problem_of(taken(connect(service, opened, both)), 400, "not_http")  # what request smuggling needs


@pytest.mark.parametrize("proxies", ["127.0.0.0/8", ""], ids=["trusted", "unknown"])
def test_a_proxy_is_believed_when_it_was_named(tmp_path: Path, proxies: str) -> None:
    made = Service(tmp_path / "data", rate_per_address="1", burst_per_address="3", trusted_proxies=proxies)
    made.start()
    try:
        made.client.post("/keys", json={"name": "me", "scope": "admin"}).raise_for_status()  # from now on it is counted

        def asked(*visitors: str) -> list[int]:
            return [made.client.get("/models", headers={"X-Forwarded-For": v}).status_code for v in visitors]

        many = [f"203.0.113.{number}" for number in range(6)]
        assert asked(*many) == ([401] * 6 if proxies else [401] * 3 + [429] * 3)
        # What a visitor writes in front of what the proxy adds is nothing.
        assert 429 in asked(*[f"198.51.100.{number}, 203.0.113.9" for number in range(6)])
    finally:
        made.close()

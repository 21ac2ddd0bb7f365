"""A stop lets what is under way finish, and a restart of two processes behind one port drops no request."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.flow.service import HANG, Output, Service, wait_for

PROMISED = 10.0  # seconds in which a stop is done
# What systemd does for a socket unit: the socket is number 3, and whoever it is for is said.
PASSED_ON = 'exec 3<&"$0"; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@"'


class Instance:
    """One of several services on a data folder and a listening socket."""

    def __init__(self, listener: socket.socket, data_dir: Path) -> None:
        self.output = Output()
        number = str(listener.fileno())
        self.process = subprocess.Popen(
            ["bash", "-c", PASSED_ON, number, sys.executable, "-m", "app", "serve", "--share"],
            env={**os.environ, "INKLING_DATA_DIR": str(data_dir), "INKLING_PORT": "1"},
            stdout=self.output.write_end,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
        os.close(self.output.write_end)
        wait_for("it answers", self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.output.text()
        return "answers at" in self.output.text()

    def stop(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(HANG) == 0, self.output.text()
        assert "Traceback" not in self.output.text()
        return time.monotonic() - began


class Caller(threading.Thread):
    """Asks all the time, on one connection or each time on another, and never asks again."""

    def __init__(self, url: str, keep: bool) -> None:
        super().__init__(daemon=True)
        self.url, self.keep = url, keep
        self.done, self.got = threading.Event(), Counter[str]()

    def run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if self.keep else 0)
        with httpx.Client(base_url=self.url, timeout=30, limits=limits) as client:
            while not self.done.is_set():
                try:
                    said = str(client.post("/predict-next-word", json={"text": "in the beginning"}).status_code)
                except httpx.HTTPError as error:
                    said = repr(error)
                self.got[said] += 1
                time.sleep(0.005)


@pytest.mark.timeout(600)
def test_a_rolling_restart_drops_no_request(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        instances = [Instance(listener, tmp_path / "data") for _ in range(2)]
        callers = [Caller(url, keep) for keep in (True, True, True, False)]
        for caller in callers:
            caller.start()
        took = []
        for turn in range(4):  # each of the two, twice
            took.append(instances.pop(0).stop())
            time.sleep(0.3)
            instances.append(Instance(listener, tmp_path / "data"))
            asked = sum(sum(caller.got.values()) for caller in callers)
            wait_for(f"answers after turn {turn}", lambda a=asked: sum(sum(c.got.values()) for c in callers) > a + 20)
        for caller in callers:
            caller.done.set()
            caller.join(HANG)
        took += [instance.stop() for instance in instances]
    got = sum((caller.got for caller in callers), Counter())
    assert set(got) == {"200"}, got
    assert got["200"] > 200
    assert max(took) < 5 * PROMISED


def read(connection: socket.socket) -> tuple[bytes, bytes]:
    """One answer: its head in lower case, and its body."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        more = connection.recv(1_000_000)
        assert more, "the answer ended before its end"
        body += more
    return head.lower(), body


def test_what_is_under_way_finishes_and_ready_says_no(service: Service) -> None:
    address = ("127.0.0.1", service.port)
    ready = b"GET /health/ready HTTP/1.1\r\nHost: here\r\n\r\n"
    with socket.create_connection(address, HANG) as probe, socket.create_connection(address, HANG) as slow:
        probe.sendall(ready)
        assert read(probe)[0].startswith(b"http/1.1 200 ")
        body = b'{"count": 64, "scale": 8, "model": "faces"}'
        head = b"POST /generate HTTP/1.1\r\nHost: here\r\nAccept: application/zip\r\nContent-Type: application/json\r\n"
        slow.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.05)
        assert service.process is not None
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        probe.sendall(ready)
        said, reasons = read(probe)
        answer, pictures = read(slow)
        assert service.process.wait(HANG) == 0, service.said()
        assert time.monotonic() - began < 5 * PROMISED
    assert said.startswith(b"http/1.1 503 "), said
    assert b'"status":"stopping"' in reasons
    assert b"connection: close" in said
    assert answer.startswith(b"http/1.1 200 "), answer
    assert pictures.startswith(b"PK")

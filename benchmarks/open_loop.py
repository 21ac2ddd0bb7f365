"""A load generator with an open loop: requests are sent when they are due, whether or not those before were answered.

A closed loop asks less when a server slows down, and so never shows what overload does. Arrivals are a Poisson process.
One process, plain sockets and epoll; how late it sent (`late_ms`) says whether it kept up itself.

    python -m benchmarks.open_loop --port 8000 --rate 500 --seconds 5
"""

import argparse
import gc
import json
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service import ROOT

MOST_CONNECTIONS = 3_000
PATIENCE_SECONDS = 30.0  # behind the last request; what is not answered by then counts as lost


@dataclass
class Offered:
    """What was offered and what came back. Latencies in milliseconds, from when a request was due.

    `statuses` are HTTP's, "lost" for a broken connection or no answer at all. `good` are answers 200 within `in_time`
    seconds of when they were due.
    """

    asked: int = 0
    seconds: float = 0.0
    in_time: float = 1.0
    good: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    p50: float = float("nan")  # of answers 200
    p99: float = float("nan")
    p99_refused: float = float("nan")
    late_ms: float = float("nan")  # 99th percentile of sent - due

    @property
    def goodput(self) -> float:
        return self.good / self.seconds

    @property
    def offered(self) -> float:
        return self.asked / self.seconds


def offer(
    port: int,
    route: str,
    bodies: Sequence[dict[str, Any]],
    rate: float,
    seconds: float,
    cores: set[int] | None = None,
    seed: int = 0,
    in_time: float = 1.0,
) -> Offered:
    """Ask with `bodies` in turn, `rate` a second, from a process of its own on `cores`. Raises RuntimeError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bodies"
        file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
        command = [sys.executable, "-m", "benchmarks.open_loop", "--port", str(port), "--route", route]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed), "--bodies", str(file)]
        command += ["--in-time", str(in_time)]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator ended with an error:\n{done.stderr[-2000:]}")
    return Offered(**json.loads(done.stdout))


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self.got = b""

    def status(self, data: bytes) -> str | None:
        """The answer's status once all of it is there."""
        self.got += data
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return None
        low = head.lower()
        at, chunked = low.find(b"content-length:"), body.endswith(b"0\r\n\r\n")
        complete = chunked if at < 0 else len(body) >= int(low[at + 15 :].split(b"\r\n", 1)[0])
        if not complete:
            return None
        self.got = b""
        return head[9:12].decode()


class _Generator:
    def __init__(self, port: int, requests: list[bytes], dues: list[float]) -> None:
        self.port, self.requests, self.dues = port, requests, dues
        self.poll = select.epoll()
        self.busy: dict[int, _Connection] = {}
        self.idle: list[_Connection] = []
        self.waiting: deque[tuple[float, bytes]] = deque()  # due, and every connection taken
        self.done: list[tuple[float, str]] = []  # latency in seconds, status
        self.late: list[float] = []

    def run(self) -> None:
        begin, at = time.monotonic() + 0.05, 0
        end = begin + self.dues[-1] + PATIENCE_SECONDS
        while at < len(self.dues) or self.busy or self.waiting:
            now = time.monotonic()
            while at < len(self.dues) and begin + self.dues[at] <= now:
                self._send(begin + self.dues[at], self.requests[at % len(self.requests)])
                at += 1
            until = begin + self.dues[at] - time.monotonic() if at < len(self.dues) else 0.2
            # epoll counts in whole milliseconds here; the rest of the way is spent looking again.
            for number, _ in self.poll.poll(max(0.0, until - 0.001) if until > 0.001 else 0):
                self._read(number)
            if now > end:
                break
        for connection in self.busy.values():
            self.done.append((time.monotonic() - connection.due, "lost"))
        self.done += [(0.0, "lost")] * len(self.waiting)

    def _send(self, due: float, request: bytes) -> None:
        if self.idle:
            connection = self.idle.pop()
        elif len(self.busy) < MOST_CONNECTIONS:
            try:
                connection = _Connection(self.port)
            except OSError:
                self.done.append((time.monotonic() - due, "lost"))
                return
            self.poll.register(connection.socket, select.EPOLLIN)
        else:
            self.waiting.append((due, request))
            return
        connection.due = due
        self.late.append(time.monotonic() - due)
        self.busy[connection.socket.fileno()] = connection
        try:
            connection.socket.send(request)
        except OSError:
            self._lose(connection)

    def _read(self, number: int) -> None:
        connection = self.busy.get(number)
        if connection is None:  # idle, and closed by the server
            gone = next((one for one in self.idle if one.socket.fileno() == number), None)
            if gone is not None:
                self.idle.remove(gone)
                self._close(gone)
            return
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(connection)
            return
        status = connection.status(data)
        if status is None:
            return
        self.done.append((time.monotonic() - connection.due, status))
        del self.busy[number]
        self.idle.append(connection)
        if self.waiting:
            self._send(*self.waiting.popleft())

    def _lose(self, connection: _Connection) -> None:
        self.done.append((time.monotonic() - connection.due, "lost"))
        del self.busy[connection.socket.fileno()]
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        with suppress(OSError):
            self.poll.unregister(connection.socket)
        connection.socket.close()


def _percentile(values: Sequence[float], percent: float) -> float:
    return 1000 * float(np.percentile(values, percent)) if len(values) else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.open_loop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--route", default="/predict-next-word")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--bodies", type=Path, help="a file with a JSON body a line; default: one text")
    parser.add_argument("--in-time", type=float, default=1.0, help="seconds within which an answer counts as good (1)")
    options = parser.parse_args()
    lines = [b'{"text": "in the beginning god created the "}']
    if options.bodies is not None:
        lines = options.bodies.read_bytes().splitlines()
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    chance, dues, at = random.Random(options.seed), [], 0.0
    while (at := at + chance.expovariate(options.rate)) < options.seconds:
        dues.append(at)
    generator = _Generator(options.port, [head % (options.route.encode(), len(line), line) for line in lines], dues)
    gc.disable()  # a pause of this process would read as one of the server
    generator.run()
    right = [latency for latency, status in generator.done if status == "200"]
    refused = [latency for latency, status in generator.done if status in ("429", "503")]
    offered = Offered(
        asked=len(dues),
        seconds=options.seconds,
        in_time=options.in_time,
        good=sum(latency <= options.in_time for latency in right),
        statuses=dict(Counter(status for _, status in generator.done)),
        p50=_percentile(right, 50),
        p99=_percentile(right, 99),
        p99_refused=_percentile(refused, 99),
        late_ms=_percentile(generator.late, 99),
    )
    print(json.dumps(asdict(offered)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

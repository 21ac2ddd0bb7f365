"""A load generator in a process of its own: keep-alive connections on POST /predict-next-word, every answer recorded.

Started by the other scripts; by hand: `python -m benchmarks.load --port 8000 --rate 200 --seconds 10`.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uvloop

from benchmarks.service import ROOT

# One row a request. Times are of time.monotonic(), which all processes share.
RECORD = np.dtype(
    [
        ("due", "f8"),  # at a steady rate, when it should have been sent; otherwise when it was
        ("sent", "f8"),
        ("ended", "f8"),
        ("status", "i8"),  # of HTTP; 0: the connection broke
        ("body", "i8"),  # index into `bodies`
    ]
)


@dataclass(frozen=True)
class Records:
    """What was asked and answered: `rows` of RECORD, and the different answers there were."""

    rows: npt.NDArray[np.void]
    bodies: list[bytes]

    def between(self, *times: tuple[float, float]) -> "Records":
        """The requests due inside one of the spans (begin, end)."""
        due = self.rows["due"]
        inside = [(due >= begin) & (due < end) for begin, end in times]
        return Records(self.rows[np.logical_or.reduce(inside)], self.bodies)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def failed(self) -> int:
        return int((self.rows["status"] != 200).sum())

    def percentile(self, p: float) -> float:
        """Latency in milliseconds, counted from when a request was due, that `p` per cent stay below."""
        latency = self.rows["ended"] - self.rows["due"]
        return 1000 * float(np.percentile(latency, p)) if len(self) else float("nan")


class Load:
    """A running load generator: started by the constructor, `stop()` gives what it recorded."""

    def __init__(
        self, port: int, folder: Path, body: dict[str, object], *, rate: float, connections: int, cores: set[int] | None
    ) -> None:
        self._into = folder / f"load-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--rate", str(rate)]
        command += ["--connections", str(connections), "--body", json.dumps(body), "--into", str(self._into)]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, sorted(cores))), *command]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)

    def stop(self) -> Records:
        """End it once the answers under way have come."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(60):
            sys.exit("the load generator ended with an error")
        bodies = [answer.encode() for answer in json.loads(self._into.with_suffix(".json").read_text())]
        return Records(np.load(self._into.with_suffix(".npy")), bodies)


class _Generator:
    def __init__(self, port: int, connections: int, rate: float, body: str) -> None:
        self.port, self.connections = port, connections
        self.period = connections / rate if rate else 0.0
        content = body.encode()
        self.request = (
            b"POST /predict-next-word HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nX-Request-Id: 1\r\n\r\n%s" % (len(content), content)
        )
        self.records: list[tuple[float, float, float, int, int]] = []
        self.bodies: dict[bytes, int] = {}
        self.stopping = False

    async def run(self) -> None:
        begin = time.monotonic()
        await asyncio.gather(*(self._connection(i, begin) for i in range(self.connections)))

    async def _connection(self, number: int, begin: float) -> None:
        due = begin + number * self.period / self.connections  # spread evenly
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self.stopping:
            if self.period:
                await asyncio.sleep(due - time.monotonic())
            sent = time.monotonic()
            try:
                writer.write(self.request)
                status, answer = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                status, answer = 0, b""
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            ended = time.monotonic()
            which = self.bodies.setdefault(answer, len(self.bodies))
            self.records.append((min(due, sent) if self.period else sent, sent, ended, status, which))
            due += self.period
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    low = head.lower()
    at = low.index(b"content-length:") + 15
    return int(head[9:12]), await reader.readexactly(int(low[at : low.index(b"\r", at)]))


async def _main(arguments: argparse.Namespace) -> _Generator:
    generator = _Generator(arguments.port, arguments.connections, arguments.rate, arguments.body)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        generator.stopping = True

    if arguments.seconds:
        loop.call_later(arguments.seconds, stop)
    else:
        loop.add_reader(sys.stdin.fileno(), stop)  # closed by whoever started this
    await generator.run()
    if not arguments.seconds:
        loop.remove_reader(sys.stdin.fileno())
    return generator


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as answers come")
    parser.add_argument("--seconds", type=float, default=0.0, help="0: until standard input is closed")
    parser.add_argument("--body", default='{"text": "in the beginning god created the "}')
    parser.add_argument("--into", type=Path, help="write the records to INTO.npy, the answers to INTO.json")
    arguments = parser.parse_args()
    gc.disable()  # a pause of this process would read as one of the service
    generator = uvloop.run(_main(arguments))
    records = Records(np.array(generator.records, dtype=RECORD), list(generator.bodies))
    if arguments.into:
        arguments.into.with_suffix(".json").write_text(json.dumps([answer.decode() for answer in records.bodies]))
        np.save(arguments.into.with_suffix(".npy"), records.rows)
        return
    seconds = records.rows["ended"].max() - records.rows["due"].min()
    print(f"{len(records) / seconds:.0f} answers a second, {records.failed} failed")
    print(", ".join(f"p{p:g} {records.percentile(p):.2f} ms" for p in (50, 99, 99.9)))


if __name__ == "__main__":
    main()

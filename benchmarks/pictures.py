"""Pictures against the usual servers: CPU time a request costs the process that answers.

    /generate   16 of 64x64 RGB, and 1 of 28x28, against the tutorial server (torch module, Pillow), same weights
    PNG         our encoder against Pillow's default, on sheets of drawn pictures
    /images/…   with a matching ETag (after a restart: nothing is cached), and from the cache, against a FastAPI
                endpoint that does nothing

All servers run at once and are asked in turns, by keep-alive connections (16; /generate also by one, reported), in one
run on one machine; a figure is the ratio inside a round, and the table has the median of the rounds and their spread.
Every rival has one torch thread. The 64x64 model is the product's own recipe after a few steps, which draws as fast as
after many; it is kept in build/pictures. Before anything is measured, our pictures are compared with those of the torch
module.
"""

import argparse
import asyncio
import io
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
import uvloop
from PIL import Image

from benchmarks.picture_rivals import load_generator, save_png, tiled
from benchmarks.service import ROOT, Service, machine, wait_for
from ml.latents import latent
from ml.serve.images import encode_png

STORE = ROOT / "build" / "pictures"
LARGE = "pictures-64"
LARGE_STEPS = 100
SEEDS = 64  # pictures that are asked for again and again: they lie in the cache
NOTES = {"Software": "Inkling", "seed": "7", "model": "pictures", "version": "1"}
Pixels = np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of the table: `value` must be `bound` or more; None: only reported."""

    name: str
    bound: float | None
    values: list[float]  # one a round
    ours: float  # CPU microseconds, median
    theirs: float
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def passed(self) -> bool:
        return self.bound is None or self.value >= self.bound

    def __str__(self) -> str:
        verdict = "    " if self.bound is None else "PASS" if self.passed else "FAIL"
        bound = "" if self.bound is None else f"{self.bound:g}"
        spread = f"{min(self.values):.2f} to {max(self.values):.2f}"
        figures = f"{self.ours:9.0f} {self.theirs:9.0f} {self.value:8.2f} {spread:>16} {bound:>6}"
        return f"{verdict} {self.name:52}{figures}  {self.note}".rstrip()


HEADER = f"     {'CPU microseconds':52}{'ours':>9} {'theirs':>9} {'ratio':>8} {'spread':>16} {'least':>6}"


# -- asking ----------------------------------------------------------------------------------------------------------


def cpu_microseconds(pid: int) -> float:
    """CPU time of all threads of another process, to the nanosecond (clock_getcpuclockid of Linux)."""
    return 1e6 * time.clock_gettime((~pid << 3) | 2)


def get(path: str, known: str = "") -> bytes:
    condition = f"If-None-Match: {known}\r\n" if known else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{condition}\r\n".encode()


def post(path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%s" % (len(content), content)


async def _ask_all(port: int, requests: Sequence[bytes], connections: int, status: int) -> None:
    waiting = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if int(head[9:12]) != status:
                sys.exit(f"{request.decode()}: {head.decode()}")
            at = head.find(b"content-length:")
            if at >= 0:
                await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)]))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))


@dataclass(frozen=True)
class Asked:
    """One kind of question to one server; `make` gives the i-th request."""

    port: int
    pid: int
    make: Callable[[int], bytes]
    status: int = 200

    def cost(self, count: int, connections: int) -> float:
        """CPU microseconds of the server for one of `count` requests."""
        start = random.randrange(2**30)
        requests = [self.make(start + i) for i in range(count)]
        before = cpu_microseconds(self.pid)
        uvloop.run(_ask_all(self.port, requests, connections, self.status))
        return (cpu_microseconds(self.pid) - before) / count


class Rival:
    """benchmarks.picture_rivals as a process, from `with`."""

    def __init__(self, folder: Path | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._of = [] if folder is None else ["--folder", str(folder)]

    def __enter__(self) -> "Rival":
        command = [sys.executable, "-m", "benchmarks.picture_rivals", "--port", str(self.port), *self._of]
        self._process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        self.pid = self._process.pid
        wait_for("the rival answers", self._answers)
        return self

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self.port}/")
        except httpx.TransportError:
            if self._process.poll() is not None:
                sys.exit("the rival ended")
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


# -- what is compared ------------------------------------------------------------------------------------------------


def add_large(service: Service) -> None:
    """The 64x64 RGB model: trained a few steps, or what an earlier run kept."""
    kept = STORE / f"{LARGE}.zip"
    if not kept.exists():
        print(f"training {LARGE} for {LARGE_STEPS} steps", flush=True)
        config = {"size": 64, "colour": True, "evaluations": 1}
        job = service.train(
            family="gan", dataset="faces", model=LARGE, seed=1, config=config, budget={"steps": LARGE_STEPS}
        )
        service.until(job, "succeeded", seconds=1800)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(service.client.get(f"/models/{LARGE}/versions/1/export").raise_for_status().content)
        return
    with kept.open("rb") as file:
        service.client.post("/models/import", files={"file": (kept.name, file)}).raise_for_status()


def version(service: Service, name: str) -> Path:
    return service.data_dir / "models" / name / "1"


def same_pictures(service: Service, name: str) -> int:
    """The largest difference of a pixel between our pictures and the torch module's, of 255."""
    generator, size = load_generator(version(service, name))
    worst = 0
    for seed in range(4):
        with torch.no_grad():
            drawn = generator(torch.from_numpy(latent(seed, size))[None])
        theirs = ((drawn[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
        ours = Image.open(io.BytesIO(service.client.get(f"/images/{name}/1/{seed}.png").raise_for_status().content))
        worst = max(worst, int(np.abs(np.asarray(ours).reshape(theirs.shape) - theirs).max()))
    return worst


def in_turns(
    pair: tuple[Asked, Asked], counts: tuple[int, int], arguments: argparse.Namespace, connections: int = 0
) -> list[list[float]]:
    """[ours, theirs] a round."""
    connections = connections or arguments.connections
    for each in pair:
        each.cost(2 * connections, connections)  # warm
    return [
        [
            each.cost(max(connections, round(n * arguments.share)), connections)
            for each, n in zip(pair, counts, strict=True)
        ]
        for _ in range(arguments.rounds)
    ]


def compared(name: str, bound: float | None, costs: list[list[float]], note: str = "") -> Row:
    ours, theirs = zip(*costs, strict=True)
    ratios = [b / a for a, b in costs]
    return Row(name, bound, ratios, statistics.median(ours), statistics.median(theirs), note)


def generated(service: Service, no_op: Rival, arguments: argparse.Namespace) -> list[Row]:
    rows = []
    for name, count, bound, counts in ((LARGE, 16, 1.5, (200, 100)), ("pictures", 1, 2.5, (2000, 1000))):
        body: dict[str, object] = {"model": name, "count": count}
        ours = Asked(service.port, service.pid, lambda i, b=body: post("/generate", b | {"seed": i}))
        with Rival(version(service, name)) as rival:
            theirs = Asked(rival.port, rival.pid, lambda i, c=count: post("/generate", {"count": c, "seed": i}))
            costs = in_turns((ours, theirs), counts, arguments)
            alone = in_turns((ours, theirs), counts, arguments, connections=1)
        shape = "64x64 RGB" if name == LARGE else "28x28"
        rows.append(compared(f"/generate {count} of {shape} / tutorial server", bound, costs))
        rows.append(compared("    the same, by one connection", None, alone))
    return rows


def shown(service: Service, no_op: Rival, arguments: argparse.Namespace) -> list[Row]:
    nothing = Asked(no_op.port, no_op.pid, lambda i: post("/no-op", {"text": "in the beginning god created the "}))
    rows = []
    for kind, address in (
        ("a numbered version", "/images/pictures/1/%d.png"),
        ("active", "/images/pictures/active/%d.png"),
    ):
        tags = [service.client.get(address % i).raise_for_status().headers["ETag"] for i in range(SEEDS)]
        cached = Asked(service.port, service.pid, lambda i, a=address: get(a % (i % SEEDS)))
        costs = in_turns((cached, nothing), (3000, 3000), arguments)
        rows.append(compared(f"/images/…, {kind}, from the cache / no-op", 0.9, costs))
        service.stop()
        service.start()
        matching = Asked(
            service.port, service.pid, lambda i, a=address, t=tags: get(a % (i % SEEDS), t[i % SEEDS]), status=304
        )
        costs = in_turns((matching, nothing), (3000, 3000), arguments)
        rows.append(compared(f"/images/…, {kind}, matching ETag / no-op", 0.9, costs))
    drawn = Asked(service.port, service.pid, lambda i: get(f"/images/pictures/1/{i}.png"))
    rows.append(compared("/images/…, drawn / no-op", None, in_turns((drawn, nothing), (2000, 2000), arguments)))
    return rows


def encoded(service: Service, no_op: Rival, arguments: argparse.Namespace) -> list[Row]:
    rows = []
    sheets = ((LARGE, 16, 10.0), ("faces", 64, 10.0), ("pictures", 16, 10.0), ("faces", 1, None), ("pictures", 1, None))
    for name, count, bound in sheets:
        pixels = _drawn(service, name, count)
        ours, theirs = encode_png(pixels, NOTES), save_png(pixels)
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(ours))).reshape(pixels.shape), pixels):
            sys.exit("our PNG is not lossless")
        costs = [
            [_cost_here(lambda p=pixels: encode_png(p, NOTES)), _cost_here(lambda p=pixels: save_png(p))]
            for _ in range(arguments.rounds)
        ]
        bytes_ = len(ours) / len(theirs)
        shape = "x".join(map(str, pixels.shape))
        rows.append(compared(f"PNG, {count} of {name}, {shape} / Pillow", bound, costs, f"{bytes_:.2f} of the bytes"))
        if bound is not None:  # the other half of the same bound: 1 / 1.25 of Pillow's bytes or better
            ratio = [1 / bytes_] * arguments.rounds
            rows.append(Row("    its bytes: theirs / ours", 1 / 1.25, ratio, len(ours), len(theirs), "bytes"))
    return rows


def _drawn(service: Service, name: str, count: int) -> Pixels:
    contents = [service.client.get(f"/images/{name}/1/{seed}.png").raise_for_status().content for seed in range(count)]
    pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    stacked = np.stack([picture.reshape(*picture.shape[:2], -1) for picture in pictures])
    return np.ascontiguousarray(stacked[0] if count == 1 else tiled(stacked))


def _cost_here(work: Callable[[], object], seconds: float = 0.1) -> float:
    """CPU microseconds of one call in this process."""
    work()
    begin, count = time.process_time(), 0
    while (used := time.process_time() - begin) < seconds:
        work()
        count += 1
    return 1e6 * used / count


PARTS = {"generate": generated, "images": shown, "png": encoded}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of a tenth, to see that it works")
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", type=Path, default=STORE / "result.json")
    arguments = parser.parse_args()
    arguments.share = 0.1 if arguments.quick else 1.0
    arguments.rounds = 1 if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    print(f"{machine()}; {arguments.connections} connections, {arguments.rounds} rounds", flush=True)
    rows: list[Row] = []
    with ExitStack() as stack:
        service = stack.enter_context(Service())
        no_op = stack.enter_context(Rival(None))
        add_large(service)
        differences = {name: same_pictures(service, name) for name in (LARGE, "pictures")}
        print(f"largest difference of a pixel from the torch module's, of 255: {differences}\n{HEADER}", flush=True)
        for part in arguments.only:
            found = PARTS[part](service, no_op, arguments)
            print(*found, sep="\n", flush=True)
            rows += found
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "machine": machine(),
        "connections": arguments.connections,
        "quick": arguments.quick,
        "pixel_difference": differences,
        "rows": [asdict(row) | {"ratio": row.value, "passed": row.passed} for row in rows],
    }
    arguments.json.write_text(json.dumps(said, indent=1))
    sys.exit(0 if all(row.passed for row in rows) and max(differences.values()) <= 1 else 1)


if __name__ == "__main__":
    main()

"""Everything at once, for half an hour: does the service grow, and does anything fail?

    .venv/bin/python -m benchmarks.soak --minutes 30

Callers ask for words (one of them types, one reads streams), draw pictures, upload and delete data sets, train, follow
jobs, activate and roll back, teach and forget, export and import, evaluate, and look at metrics, each at its own steady
pace. Every 30 seconds a line says what the API and the worker hold. Over the time behind the warm-up a line is fitted
by least squares to each figure; its rise over that time is the growth. Bounds: memory (PSS) at most 5 % of its mean,
open files, connections and threads at most 3; no answer 5xx and no broken connection. Disk and database are reported:
jobs and their events are kept on purpose. Ends with 1 when a bound is missed.
"""

import argparse
import io
import json
import random
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.service import Service, descriptors, machine, resident_bytes, threads
from benchmarks.serving.server import pss

EVERY_SECONDS = 30.0
MEMORY_BOUND, COUNT_BOUND = 0.05, 3.0
WARM_UP = 1 / 3  # of the time: caches fill, versions come to their number
MISTAKES = (400, 405, 406, 413, 415, 422)  # of this script; 404, 409 and 429 come of what others do meanwhile
SEEDS = 500  # different pictures asked for: what keeps pictures has all of them soon
SAYS = "in the beginning god created heaven and earth the lord of hosts said unto them go out and be my people"
WORDS = SAYS.split()
SETTINGS = {"keep_versions": "4", "keep_runs": "10", "checkpoint_seconds": "2"}


@dataclass(frozen=True)
class Held:
    """What the service holds at a moment. Sizes in MiB; `connections` are sockets of the API."""

    minute: float
    api_rss: float
    api_pss: float
    api_files: int
    api_connections: int
    api_threads: int
    worker_rss: float
    worker_pss: float
    worker_files: int
    worker_threads: int
    database: float
    disk: float
    requests: int


MEMORY = ("api_pss", "worker_pss")
COUNTED = ("api_files", "api_connections", "api_threads", "worker_files", "worker_threads")
REPORTED = ("api_rss", "worker_rss", "database", "disk")


def held(service: Service, minute: float, requests: int) -> Held:
    """Raises OSError when a process ended."""
    api, worker = service.pid, service.child("app worker")
    files = [path.stat().st_size for path in service.data_dir.rglob("*") if _is_file(path)]
    database = sum(path.stat().st_size for path in service.data_dir.glob("inkling.db*") if _is_file(path))
    return Held(
        round(minute, 2),
        resident_bytes(api) / 2**20,
        pss(api),
        descriptors(api),
        _sockets(api),
        threads(api),
        resident_bytes(worker) / 2**20,
        pss(worker),
        descriptors(worker),
        threads(worker),
        database / 2**20,
        sum(files) / 2**20,
        requests,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _sockets(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found


class Traffic:
    """Callers, each a thread with a client of its own, until `stop`."""

    def __init__(self, url: str, seed: int = 1) -> None:
        self.url, self.seed = url, seed
        self.counts: Counter[tuple[str, str]] = Counter()  # route, status
        self.wrong: list[str] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for pause, work in (
            (0.05, self._predict),
            (0.1, self._type),
            (1.0, self._stream),
            (0.1, self._image),
            (0.4, self._generate),
            (5.0, self._play),
            (4.0, self._evaluate),
            (6.0, self._upload),
            (15.0, self._train),
            (5.0, self._activate),
            (3.0, self._learn),
            (20.0, self._export),
            (1.0, self._watch),
        ):
            thread = threading.Thread(target=self._repeat, args=(pause, work), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    @property
    def requests(self) -> int:
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Answers 5xx, and requests without any."""
        return sum(count for (_, status), count in self.counts.items() if not status.startswith(("2", "3", "4")))

    def _repeat(self, pause: float, work: Callable[["Caller", random.Random], None]) -> None:
        chance = random.Random(f"{self.seed} {work.__name__}")
        with httpx.Client(base_url=self.url, timeout=120) as client:
            caller = Caller(client, self)
            while not self._stop.wait(pause * chance.uniform(0.5, 1.5)):
                try:
                    work(caller, chance)
                except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
                    self.note(f"{work.__name__}: {error!r}")

    def count(self, route: str, status: str) -> None:
        with self._lock:
            self.counts[route, status] += 1

    def note(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    # -- what is asked -----------------------------------------------------------------------------------------------

    def _predict(self, caller: "Caller", chance: random.Random) -> None:
        body: dict[str, Any] = {"text": _said(chance, 12), "top_k": chance.randint(1, 10)}
        body |= chance.choice([{}, {}, {"words": 4}, {"explain": True}, {"beams": 3, "words": 3}, {"temperature": 0.8}])
        caller.ask("POST", "/predict-next-word", json=body)

    def _type(self, caller: "Caller", chance: random.Random) -> None:
        text = _said(chance, 6)
        for end in range(1, len(text)):
            caller.ask("POST", "/predict-next-word", json={"text": text[:end]})
            if self._stop.wait(0.05):
                return

    def _stream(self, caller: "Caller", chance: random.Random) -> None:
        body = {"text": _said(chance, 5), "words": 20}
        caller.read("POST", "/predict-next-word", most=chance.choice([3, 1000]), json=body)

    def _image(self, caller: "Caller", chance: random.Random) -> None:
        model = chance.choice(["pictures/1", "faces/1", "pictures/active"])
        caller.ask("GET", f"/images/{model}/{chance.randrange(SEEDS)}.{chance.choice(['png', 'webp'])}", "/images/…")

    def _generate(self, caller: "Caller", chance: random.Random) -> None:
        accept = chance.choice(["image/png", "image/webp", "application/zip", "application/json"])
        body = {"count": chance.choice([1, 4, 16]), "model": chance.choice(["pictures", "faces"]), "scale": 2}
        caller.ask("POST", "/generate", json=body, headers={"Accept": accept})

    def _play(self, caller: "Caller", chance: random.Random) -> None:
        seeds = [chance.randrange(SEEDS) for _ in range(3)]
        caller.ask("POST", "/interpolate", json={"seeds": seeds, "frames": 12, "format": "webp"})
        caller.ask("POST", "/nearest", json={"seed": seeds[0]})
        picture = caller.ask("POST", "/generate", json={"seed": seeds[1]}, headers={"Accept": "image/png"})
        caller.ask("POST", "/score", files={"file": ("a.png", picture.content)})

    def _evaluate(self, caller: "Caller", chance: random.Random) -> None:
        text = "\n".join(_said(chance, 12) for _ in range(20))
        caller.ask("POST", "/evaluate", json={"model": "next-word", "text": text})

    def _upload(self, caller: "Caller", chance: random.Random) -> None:
        lines = "\n".join(_said(chance, 10) for _ in range(200))
        name, content = ("a.txt", lines.encode()) if chance.random() < 0.6 else ("a.zip", _pictures(chance))
        made = caller.ask("POST", "/datasets", files={"file": (name, content)}, data={"licence": "CC0-1.0"})
        path = f"/datasets/{made.json()['id']}"
        caller.ask("GET", f"{path}/preview", "/datasets/{id}/preview")
        caller.ask("DELETE", path, "/datasets/{id}")

    def _train(self, caller: "Caller", chance: random.Random) -> None:
        body = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "model": "soak", "budget": {"epochs": 20}}
        if chance.random() < 0.2:
            body = {
                "family": "gan",
                "dataset": "mnist",
                "model": "soaked",
                "budget": {"steps": 20},
                "config": {"channels": [8, 8], "latent": 8, "evaluations": 1},
            }
        job = caller.ask("POST", "/train", json=body).json()["id"]
        caller.read("GET", f"/jobs/{job}/events", "/jobs/{id}/events")  # until it has ended
        caller.ask("GET", f"/jobs/{job}/history", "/jobs/{id}/history")
        if caller.ask("GET", f"/jobs/{job}", "/jobs/{id}").json()["status"] != "succeeded":
            self.note(f"the job {job} did not succeed")

    def _activate(self, caller: "Caller", chance: random.Random) -> None:
        model = caller.ask("GET", "/models/soak", "/models/{name}")
        if model.status_code != 200:
            return
        version = chance.choice(model.json()["versions"])["version"]
        caller.ask("PUT", "/models/soak/active", json={"version": version})  # 404 where it was pruned meanwhile
        caller.ask("POST", "/predict-next-word", json={"text": "i like", "model": "soak"})
        if chance.random() < 0.3:
            caller.ask("POST", "/models/soak/rollback")

    def _learn(self, caller: "Caller", chance: random.Random) -> None:
        phrase = f"zorblax{chance.randrange(20)} {_said(chance, 3)}".strip()
        caller.ask("POST", "/models/next-word/learn", json={"text": phrase})
        caller.ask("POST", "/predict-next-word", json={"text": phrase.split()[0] + " "})
        caller.ask("POST", "/models/next-word/forget", json={"text": phrase})

    def _export(self, caller: "Caller", chance: random.Random) -> None:
        taken = caller.ask("GET", "/models/pictures/versions/1/export", "/models/…/export")
        file = {"file": ("pictures.inkling.zip", taken.content)}
        made = caller.ask("POST", "/models/import", files=file, data={"model": "brought"})
        if made.status_code == 201:
            caller.ask("POST", "/generate", json={"model": "brought"})
        caller.ask("DELETE", "/models/brought")

    def _watch(self, caller: "Caller", chance: random.Random) -> None:
        for path in ("/health/ready", "/metrics", "/jobs?limit=5", "/models", "/datasets?limit=5", "/"):
            caller.ask("GET", path, path.split("?")[0])


class Caller:
    """One client, whose answers are counted by route and status."""

    def __init__(self, client: httpx.Client, traffic: Traffic) -> None:
        self.client, self.traffic = client, traffic

    def ask(self, method: str, path: str, route: str = "", **how: Any) -> httpx.Response:
        """Raises httpx.HTTPError, counted."""
        named = f"{method} {route or path}"
        try:
            answer = self.client.request(method, path, **how)
        except httpx.HTTPError as error:
            self.traffic.count(named, type(error).__name__)
            raise
        self._counted(named, answer)
        return answer

    def read(self, method: str, path: str, route: str = "", most: int = 100_000, **how: Any) -> None:
        """An event stream, left after `most` lines."""
        named = f"{method} {route or path} (stream)"
        try:
            with self.client.stream(method, path, headers={"Accept": "text/event-stream"}, **how) as answer:
                for at, _ in enumerate(answer.iter_lines()):
                    if at >= most:
                        break
        except httpx.HTTPError as error:
            self.traffic.count(named, type(error).__name__)
            raise
        self._counted(named, answer)

    def _counted(self, named: str, answer: httpx.Response) -> None:
        self.traffic.count(named, str(answer.status_code))
        if answer.status_code >= 500 or answer.status_code in MISTAKES:
            with suppress(httpx.HTTPError):
                self.traffic.note(f"{named}: {answer.status_code} {answer.read()[:300]!r}")


def _said(chance: random.Random, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))


def _pictures(chance: random.Random) -> bytes:
    """A ZIP of 24 pictures in two classes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number in range(24):
            picture, pixels = io.BytesIO(), np.frombuffer(chance.randbytes(16 * 16 * 3), np.uint8)
            Image.fromarray(pixels.reshape(16, 16, 3)).save(picture, "PNG")
            made.writestr(f"{'ab'[number % 2]}/{number}.png", picture.getvalue())
    return file.getvalue()


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def growth(lines: list[Held], name: str, warm_up: float = WARM_UP) -> tuple[float, float]:
    """Of what came behind the warm-up: the mean, and the rise of a line fitted by least squares."""
    behind = [line for line in lines if line.minute >= warm_up * lines[-1].minute]
    minutes, values = (np.array([getattr(line, of) for line in behind], float) for of in ("minute", name))
    if len(behind) < 3:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(np.polyfit(minutes, values, 1)[0] * (minutes[-1] - minutes[0]))


def report(lines: list[Held], traffic: Traffic) -> tuple[str, bool]:
    """The tables, and whether every bound is kept."""
    every = max(1, len(lines) // 12)
    shown = [*lines[:-1:every], lines[-1]]
    names = [name for name in asdict(lines[0]) if name != "minute"]
    said = [
        f"| minute | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (len(names) + 1) + "|",
        *(f"| {line.minute:.1f} | {' | '.join(_short(getattr(line, name)) for name in names)} |" for line in shown),
        "",
        "| behind the warm-up | mean | growth | bound | |",
        "|---|---|---|---|---|",
    ]
    passed = True
    for name in (*MEMORY, *COUNTED, *REPORTED):
        mean, rise = growth(lines, name)
        bound = MEMORY_BOUND * mean if name in MEMORY else COUNT_BOUND if name in COUNTED else None
        kept = bound is None or rise <= bound
        passed &= kept
        verdict = "reported" if bound is None else "PASS" if kept else "FAIL"
        shown_bound = "" if bound is None else f"{bound:.3g}"
        said.append(f"| {name.replace('_', ' ')} | {mean:,.4g} | {rise:+.3g} | {shown_bound} | {verdict} |")
    statuses = Counter[str]()
    for (_, status), count in traffic.counts.items():
        statuses[status] += count
    said += ["", "| request | answers |", "|---|---|"]
    routes = sorted({route for route, _ in traffic.counts})
    for route in routes:
        of = sorted((status, count) for (each, status), count in traffic.counts.items() if each == route)
        said.append(f"| `{route}` | {', '.join(f'{status}: {count:,}' for status, count in of)} |")
    said += ["", f"{traffic.requests:,} requests; " + ", ".join(f"{s}: {c:,}" for s, c in sorted(statuses.items()))]
    said += [f"not as it should be: {note}" for note in traffic.wrong[:20]]
    passed &= traffic.failed == 0 and not traffic.wrong
    return "\n".join(said), passed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds between two figures (30)")
    parser.add_argument("--into", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    print(f"{machine()}; {options.minutes:g} minutes", flush=True)
    lines: list[Held] = []
    with Service(**SETTINGS) as service:
        traffic = Traffic(str(service.client.base_url))
        began = time.monotonic()
        traffic.start()
        while (minute := (time.monotonic() - began) / 60) < options.minutes:
            time.sleep(min(options.every, max(0.1, 60 * options.minutes - 60 * minute)))
            lines.append(held(service, (time.monotonic() - began) / 60, traffic.requests))
            print(json.dumps(asdict(lines[-1])), flush=True)
        traffic.stop()
        said, passed = report(lines, traffic)
        log = (service.folder / "log").read_text(errors="replace")
    print(said)
    if "Traceback" in log or not passed:
        print(f"the service said:\n{log[-4000:]}")
    if options.into is not None:
        counts = {f"{route} {status}": count for (route, status), count in sorted(traffic.counts.items())}
        kept = {
            "machine": machine(),
            "lines": [asdict(line) for line in lines],
            "counts": counts,
            "wrong": traffic.wrong,
        }
        options.into.write_text(json.dumps(kept, indent=1))
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

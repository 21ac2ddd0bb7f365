"""The walks of a user over the profile `cluster`, through nginx and at each API: for scripts/cluster-check.sh.

    python3 scripts/cluster_flows.py URL-OF-NGINX URL-OF-AN-API URL-OF-THE-OTHER     every walk; a line for each
    python3 scripts/cluster_flows.py --load STOP-FILE URL     asks until there is such a file; says what was lost

Needs nothing but Python.
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CONTEXTS = ("i like", "i love", "i hate", "you like", "you love", "you hate")
ANSWERS = ["dog", "coffee", "milk", "cat", "milk", "coffee"]
LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "activate": "always", "resources": {"cpus": 1}}
DIGITS = {
    "family": "gan",
    "dataset": "mnist",
    "model": "digits",
    "budget": {"steps": 60},
    "config": {"channels": [16, 8], "latent": 16, "evaluations": 3},
}
TRAIN_SECONDS, ACTIVATION_SECONDS = 600, 2.0
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """The answer, whatever its status; 0 when there is none."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with opener.open(urllib.request.Request(url + path, data, headers, method=method), timeout=60) as answer:  # noqa: S310
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read())
    except OSError as error:
        return Answer(0, str(error).encode())


def good(url: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    answer = ask(url, method, path, body, **headers)
    assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.body[:500].decode()}"
    return answer.json() if answer.body else None


def wait_for(what: str, check: Callable[[], Any], seconds: float = TRAIN_SECONDS) -> float:
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)
    return time.monotonic() - started


def until(url: str, job_id: str, status: str) -> Any:
    def reached() -> bool:
        time.sleep(0.3)
        job = good(url, "GET", f"/jobs/{job_id}")
        assert job["status"] == status or job["status"] not in ("succeeded", "failed", "cancelled"), job
        return bool(job["status"] == status)

    wait_for(f"{job_id} is {status}", reached)
    return good(url, "GET", f"/jobs/{job_id}")


def events(url: str, job_id: str, last: str = "") -> Iterator[tuple[str, str]]:
    """Id and kind of each event of the stream, as they come, to its end."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    fields: dict[str, str] = {}
    with opener.open(urllib.request.Request(f"{url}/jobs/{job_id}/events", headers=headers), timeout=60) as lines:  # noqa: S310
        for line in lines:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "id" in fields:
                yield fields["id"], fields["event"]
                fields = {}
            else:
                fields = {}


def words(url: str) -> list[Any]:
    return [
        good(url, "POST", "/predict-next-word", {"model": "lecture", "text": f"{text} "})["predictions"]
        for text in CONTEXTS
    ]


def answering(url: str) -> int:
    answer = good(url, "POST", "/predict-next-word", {"model": "lecture", "text": "you hate "})
    return int(answer["model"]["version"])


def train_and_follow(nginx: str, apis: list[str]) -> str:
    """One request with the same key at both APIs, and through nginx: one job. Its events from everywhere."""
    jobs = {good(url, "POST", "/train", LECTURE, Idempotency_Key="walk")["id"] for url in (*apis, nginx)}
    assert len(jobs) == 1, jobs
    (job_id,) = jobs
    seen: dict[str, list[tuple[str, str]]] = {url: [] for url in (*apis, nginx)}
    followers = [threading.Thread(target=lambda u=url: seen[u].extend(events(u, job_id))) for url in seen]
    for follower in followers:
        follower.start()
    until(nginx, job_id, "succeeded")
    for follower in followers:
        follower.join(30)
    told = seen[nginx]
    assert all(each == told for each in seen.values()), seen
    assert Counter(kind for _, kind in told)["metrics"] == 5, told
    assert told[-1][1] == "done", told
    half = len(told) // 2
    assert list(events(nginx, job_id, last=told[half - 1][0])) == told[half:]
    assert len(good(nginx, "GET", f"/jobs/{job_id}/history")["points"]) == 5
    return f"one job of three requests with one key; its {len(told)} events, the same everywhere and from the middle on"


def predict(nginx: str, apis: list[str]) -> str:
    one, *others = (words(url) for url in (*apis, nginx))
    assert all(each == one for each in others)
    first = [predictions[0]["word"] for predictions in one]
    assert first == ANSWERS, first
    return f"both APIs and nginx answer the same, to the last digit: {' '.join(first)}"


def activate(nginx: str, apis: list[str]) -> str:
    until(nginx, good(nginx, "POST", "/train", LECTURE)["id"], "succeeded")
    assert [answering(url) for url in apis] == [2, 2]
    took = []
    for turn in range(6):
        here, there = apis[turn % 2], apis[1 - turn % 2]
        version = 1 + turn % 2
        if turn < 5:
            good(here, "PUT", "/models/lecture/active", {"version": version})
        else:
            good(here, "POST", "/models/lecture/rollback")
            version = 1
        took.append(wait_for("the other one follows", lambda t=there, v=version: answering(t) == v, ACTIVATION_SECONDS))
    return f"activated five times and rolled back once: the other API answers from it after {max(took):.2f} s at most"


def draw(nginx: str, apis: list[str]) -> str:
    """A starter, and a model of one's own with its samples; the same picture everywhere."""
    faces = {ask(url, "POST", "/generate", {"seed": 3, "count": 9}) for url in (*apis, nginx)}
    job = until(nginx, good(nginx, "POST", "/train", DIGITS)["id"], "succeeded")
    digits = {ask(url, "POST", "/generate", {"seed": 3, "model": "digits"}) for url in (*apis, nginx)}
    samples = good(nginx, "GET", f"/jobs/{job['id']}/samples")["samples"]
    drawn = {ask(url, "GET", samples[-1]["url"]) for url in (*apis, nginx)}
    for each in (faces, digits, drawn):
        (answer,) = each
        assert answer.status == 200, answer
        assert answer.body.startswith(b"\x89PNG"), answer.body[:200]
    return f"the starter and a model trained on the node draw the same everywhere; {len(samples)} samples along the way"


def own_data(nginx: str, apis: list[str]) -> str:
    """Uploaded at one, looked at by the other, trained on by the node, deleted."""
    lines = "".join(f"the tide comes in at {hour} and the boats go out\n" for hour in ("noon", "six", "dawn") * 60)
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="tides.txt"\r\n\r\n%b\r\n--x--\r\n'
    upload = {"Content_Type": "multipart/form-data; boundary=x"}
    name = good(nginx, "POST", "/datasets", file % lines.encode(), **upload)["id"]
    for url in apis:
        assert "tide" in good(url, "GET", f"/datasets/{name}/preview")["lines"][0]
    wanted = {"family": "lstm", "dataset": name, "model": "tides", "budget": {"steps": 120}}
    until(nginx, good(nginx, "POST", "/train", wanted)["id"], "succeeded")
    (word,) = {
        good(url, "POST", "/predict-next-word", {"model": "tides", "text": "the boats go "})["predictions"][0]["word"]
        for url in apis
    }
    good(apis[0], "DELETE", "/models/tides")
    good(apis[0], "DELETE", f"/datasets/{name}")
    assert ask(apis[1], "GET", f"/datasets/{name}").status == 404
    return f"a text of one's own, uploaded through nginx and trained on: the boats go {word}; deleted everywhere"


def stop_and_go(nginx: str, apis: list[str]) -> str:
    """Paused at one API, gone on at the other, cancelled through nginx."""
    job_id = good(nginx, "POST", "/train", DIGITS | {"model": "long", "budget": {"steps": 100_000}})["id"]
    until(nginx, job_id, "running")
    wait_for("a step", lambda: good(nginx, "GET", f"/jobs/{job_id}")["step"] > 0)
    good(apis[0], "POST", f"/jobs/{job_id}/pause")
    paused = until(apis[1], job_id, "paused")
    good(apis[1], "POST", f"/jobs/{job_id}/resume")
    wait_for("it goes on", lambda: good(nginx, "GET", f"/jobs/{job_id}")["step"] > paused["step"])
    good(nginx, "POST", f"/jobs/{job_id}/cancel")
    until(apis[0], job_id, "cancelled")
    assert ask(nginx, "GET", "/models/long").status == 404
    return f"paused at one API at step {paused['step']}, gone on by the other, cancelled through nginx"


def load(url: str, stop: Path) -> None:
    """Ask 20 times a second, never twice; print what was lost."""
    got: Counter[int] = Counter()
    guard = threading.Lock()

    def once() -> None:
        status = ask(url, "POST", "/predict-next-word", {"text": "in the beginning god created the "}).status
        with guard:
            got[status] += 1

    asking = []
    while not stop.exists():
        asking.append(threading.Thread(target=once))
        asking[-1].start()
        time.sleep(0.05)
    for each in asking:
        each.join(60)
    lost = {status: count for status, count in got.items() if status != 200}
    print(f"{sum(lost.values())} of {got.total()} answers lost" + (f": {lost}" if lost else ""))
    sys.exit(1 if lost or not got else 0)


def main() -> None:
    if sys.argv[1] == "--load":
        load(sys.argv[3], Path(sys.argv[2]))
    nginx, *apis = sys.argv[1:]
    for walk in (train_and_follow, predict, activate, draw, own_data, stop_and_go):
        started = time.monotonic()
        print(f"       {walk(nginx, apis)} ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

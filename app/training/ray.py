"""Runs on a Ray cluster, by its Jobs interface over HTTP: no Ray is needed here, and none in the trainer's Python.

A run is the Ray job `JOB-ATTEMPT`. Ray says whether it waits, runs or has ended; what it does lies in the run's folder,
on a volume that the nodes share with this service. Ray alone is not believed when it has lost a run: the trainer may
live on, on a node that the head no longer sees. `ml.fence` then tells, and keeps two from writing.

Must not know: what a job is, or HTTP as we speak it ourselves.
"""

import json
import logging
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from app.training.launcher import Resources, RunStatus
from ml import fence, files
from ml.run import ExitCode, RunDir

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every request

ASK_SECONDS = 1.0  # how often the cluster is asked for a run
AWAY_SECONDS = 5.0  # how long it is left alone when it did not answer
TIMEOUT = httpx.Timeout(10.0, connect=2.0)  # of a request; the worker says that it lives only between two
WAIT_SECONDS = 5.0  # that a run may take to begin before it is said to wait
WAITS = "Waiting for room in the cluster."
AWAY = "The cluster does not answer. A run that has begun goes on."


class _Away(Exception):
    """The cluster did not answer, or not as it should: nothing is known."""


class _Refused(Exception):
    """The cluster says that the request itself is wrong, and always will be."""


@dataclass
class _Watched:
    """A run, and what is known of it. Times are `now()`'s."""

    run_dir: Path
    resources: Resources
    sent: bool  # the cluster may have it
    status: RunStatus
    since: float
    changed_at: float  # when its beat was last seen to change
    ask_at: float = 0.0
    beat: int = 0


class RayLauncher:
    """`address` is the dashboard's, `data_dir` the volume as it is called here and `nodes_dir` as the nodes call it.

    `python` is an interpreter on the nodes that can import `ml` and torch. `defaults`: for what a run does not ask for.
    `processes` share a run's updates, on one node; 0: one for each of its graphics cards.
    Raises ValueError when one of the folders lies in the other, so that a path would not say whose it is.
    """

    outlives = True

    def __init__(
        self,
        address: str,
        token: str,
        data_dir: Path,
        nodes_dir: Path | None = None,
        python: str = "python",
        defaults: Resources | None = None,
        processes: int = 1,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT, transport=transport
        )
        self._data_dir = data_dir.resolve()
        self._nodes_dir = nodes_dir or self._data_dir
        if self._data_dir != self._nodes_dir and (
            self._data_dir.is_relative_to(self._nodes_dir) or self._nodes_dir.is_relative_to(self._data_dir)
        ):
            raise ValueError(f"{self._data_dir} and {self._nodes_dir} lie in each other")
        self._python, self._defaults, self._now = python, defaults or Resources(), now
        self._more = [] if processes == 1 else ["--processes", str(processes)]
        self._watched: dict[str, _Watched] = {}
        self._away_until = 0.0

    def close(self) -> None:
        self._client.close()

    def submit(self, run_dir: Path, attempt: int, resources: Resources) -> str:
        run = f"{run_dir.name}-{attempt}"
        own = resources.model_dump(exclude_none=True)
        watched = self._watch(run, run_dir, self._defaults.model_copy(update=own), sent=False)
        current = fence.current(run_dir)
        if current is not None and _attempt_of(_run_of(current)) > attempt:  # this process was away for that long
            watched.status = RunStatus("lost")
            return run
        fence.allow(run_dir, _token(run))  # whoever of an earlier attempt still writes ends now
        self._write_spec(watched)
        watched.status = self._checked(run, watched)
        return run

    def find(self, run_dir: Path, attempt: int) -> str | None:
        run = f"{run_dir.name}-{attempt}"
        current = fence.current(run_dir)
        if current is None or _run_of(current) != run:
            return None
        self._watch(run, run_dir, self._defaults, sent=True)
        return run

    def status(self, run: str) -> RunStatus:
        watched = self._watched.get(run)
        if watched is None:
            return RunStatus("lost")
        if watched.status.state in ("pending", "running") and self._now() >= watched.ask_at:
            watched.status = self._checked(run, watched)
            watched.ask_at = self._now() + ASK_SECONDS
            if watched.status.state in ("ended", "lost"):
                log.info("%s: %s %s", run, watched.status.state, watched.status.code, extra={"run": run})
        return watched.status

    def stop(self, run: str, now: bool = False) -> None:
        watched = self._watched.get(run)
        if watched is None or watched.status.state in ("ended", "lost"):
            return
        current = fence.current(watched.run_dir)
        order: fence.Order = "end" if now else "stop"
        if current is not None and _run_of(current) == run and current.order not in (order, "end"):
            fence.tell(watched.run_dir, order)  # it reaches also what the cluster has lost sight of
            try:
                self._ask("POST", f"/api/jobs/{run}/stop")
            except (_Away, _Refused) as error:
                log.warning("%s is told to stop by its folder alone: %s", run, error, extra={"run": run})

    # -- what is known of a run --------------------------------------------------------------------------------------

    def _watch(self, run: str, run_dir: Path, resources: Resources, sent: bool) -> _Watched:
        over = [name for name, each in self._watched.items() if each.status.state in ("ended", "lost")]
        for name in over[:-100]:  # long since asked about
            del self._watched[name]
        watched = _Watched(run_dir, resources, sent, RunStatus("pending"), self._now(), self._now())
        self._watched[run] = watched
        return watched

    def _checked(self, run: str, watched: _Watched) -> RunStatus:
        try:
            return self._look(run, watched)
        except _Away as error:
            if watched.status.detail != AWAY:
                log.error("%s: %s", run, error, extra={"run": run})
            return replace(watched.status, detail=AWAY)
        except _Refused as error:
            return RunStatus("ended", ExitCode.FAILED, detail=f"the cluster refuses the run: {error}")

    def _look(self, run: str, watched: _Watched) -> RunStatus:
        """Raises _Away, _Refused."""
        try:
            current = fence.current(watched.run_dir)
            if current is None or _run_of(current) != run:
                return RunStatus("lost", detail="Another attempt has taken its place")
            sign = fence.sign_of(watched.run_dir, current.token)
        except OSError as error:  # the volume is away
            raise _Away(str(error)) from error
        if sign is not None and sign.beat != watched.beat:
            watched.beat, watched.changed_at = sign.beat, self._now()
        if sign is not None and sign.code is not None:
            return RunStatus("ended", sign.code)
        order = current.order
        info = self._ask("GET", f"/api/jobs/{run}")
        if info is None and not watched.sent:
            return self._send(run, watched) if order == "run" else RunStatus("ended", ExitCode.INTERRUPTED)
        watched.sent = True
        if info is None:
            return self._missed(watched, "The cluster no longer knows this run")
        code = info.get("driver_exit_code")
        match info["status"]:
            case "PENDING" if order == "end":  # it stays so until there is room; what begins then ends at once
                return RunStatus("ended", ExitCode.INTERRUPTED)
            case "PENDING":
                return RunStatus("pending", detail=WAITS if self._now() - watched.since > WAIT_SECONDS else "")
            case "RUNNING":
                return RunStatus("running")
            case "SUCCEEDED":
                return RunStatus("ended", ExitCode.DONE)
            case "STOPPED" if order == "run":
                return RunStatus("ended", ExitCode.CANCELLED, detail="it was stopped in the cluster")
            case "STOPPED":
                return RunStatus("ended", ExitCode.INTERRUPTED)
            case "FAILED" if code is not None:
                detail = str(info.get("message") or "")[-2000:]
                return RunStatus(
                    "ended", 128 - code if code > 128 else code, detail=detail
                )  # a shell says 128 + signal
            case _:
                return self._missed(watched, f"The cluster lost this run ({info.get('error_type') or info['status']})")

    def _missed(self, watched: _Watched, what: str) -> RunStatus:
        """A run that the cluster has lost is lost when nothing more is heard of it; until then it may write."""
        silence = self._now() - watched.changed_at
        if silence >= fence.STALE_SECONDS:
            return RunStatus("lost", detail=what)
        lives = watched.beat > 0 and silence < fence.STALE_SECONDS / 2
        return RunStatus(
            "running", detail=f"{what}, but it goes on." if lives else f"{what}; waiting for a sign of it."
        )

    # -- Ray's side --------------------------------------------------------------------------------------------------

    def _send(self, run: str, watched: _Watched) -> RunStatus:
        """Raises _Away, _Refused."""
        # A new name each time: should the cluster have taken an earlier request after all, and then forgotten it, that
        # one's trainer may not write.
        token = _token(run)
        try:
            fence.allow(watched.run_dir, token)
        except OSError as error:
            raise _Away(str(error)) from error
        wants = watched.resources
        body = {
            "submission_id": run,
            "entrypoint": self._entrypoint(watched, token),
            "entrypoint_num_cpus": wants.cpus,
            "entrypoint_num_gpus": wants.gpus,
            "entrypoint_resources": wants.custom,
        }
        self._ask("POST", "/api/jobs/", {k: v for k, v in body.items() if v})
        watched.sent = True
        return RunStatus("pending")

    def _entrypoint(self, watched: _Watched, token: str) -> str:
        """A line for the shell. What the trainer prints goes where it does everywhere; Ray's token stays outside."""
        folder = str(self._on_nodes(watched.run_dir))
        threads = self._threads(watched)
        outside = ["-u", "RAY_AUTH_TOKEN", "-u", "RAY_AUTH_TOKEN_PATH"]
        inside = [f"OMP_NUM_THREADS={threads}", f"MKL_NUM_THREADS={threads}"]
        command = ["env", *outside, *inside, self._python, "-m", "ml.train", folder, "--attempt", token, *self._more]
        return f"exec {shlex.join(command)} >> {shlex.quote(folder + '/log.txt')} 2>&1"

    @staticmethod
    def _threads(watched: _Watched) -> int:
        return max(1, int(watched.resources.cpus or 1))

    def _write_spec(self, watched: _Watched) -> None:
        """Paths as the nodes call them. Raises OSError."""
        run = RunDir(watched.run_dir)
        spec = run.read_spec()
        spec.threads = self._threads(watched)
        spec.datasets = self._on_nodes(spec.datasets) if spec.datasets is not None else None
        spec.base = self._on_nodes(spec.base) if spec.base is not None else None
        if "/" in spec.dataset:  # else it is the name of a built-in one
            spec.dataset = str(self._on_nodes(Path(spec.dataset)))
        files.write_json(run.spec_file, spec.model_dump(mode="json"))

    def _on_nodes(self, path: Path) -> Path:
        """What is not on the volume keeps its name, as does what an earlier attempt renamed."""
        if path.is_relative_to(self._nodes_dir):
            return path
        path = path.resolve()
        return self._nodes_dir / path.relative_to(self._data_dir) if path.is_relative_to(self._data_dir) else path

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """The answer's object; None for 404. Raises _Away, _Refused."""
        if self._now() < self._away_until:
            raise _Away("it did not answer a moment ago")
        try:
            answer = self._client.request(method, path, json=body)
            if answer.status_code == 404:
                return None
            if answer.status_code in (400, 422):
                raise _Refused(_last_line(answer.text))
            if answer.status_code in (401, 403):
                raise _Away("it refuses the token: see INKLING_RAY_TOKEN")
            if answer.status_code != 200:
                raise _Away(f"it answers {answer.status_code}: {_last_line(answer.text)}")
            value: dict[str, Any] = answer.json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            self._away_until = self._now() + AWAY_SECONDS
            raise _Away(f"it does not answer: {error}") from error
        return value


def _token(run: str) -> str:
    return f"{run}.{secrets.token_hex(4)}"


def _run_of(current: fence.Current) -> str:
    return current.token.rpartition(".")[0]


def _attempt_of(run: str) -> int:
    return int(run.rpartition("-")[2])


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:500]

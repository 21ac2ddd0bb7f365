"""Runs in an object store, where there is one: a worker on another machine, without our folder, goes on from there.

    runs/JOB/state-ATTEMPT-TIME     the newest checkpoint, the best and the last good one, the phrases: while it trains
    runs/JOB/step-STEP              a picture that it drew along the way: as long as the job keeps its folder

The worker copies what its trainer has written; the trainer knows nothing of it. A copy is whole or not there; the last
name of a state is the newest, and the others go. What is prepared from the data is made again, and what the run said is
in the database. Must not know: HTTP, or what is in a checkpoint.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ml import files
from ml.objects import Damaged, Objects
from ml.run import RunDir

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0  # between two copies of a run's state: what goes with a machine, beside what was not written yet
HERE = "here"  # in a run's folder: the attempt that was last made in it
PARTS = ".copying"
BESIDE = ("best.safetensors", "good.safetensors")  # see `ml.trainer`, which would bring torch along
KEPT = 100  # runs whose pictures are kept where they were only looked at


class Mirror:
    """The runs of this machine lie in `runs`. Without `objects` nothing here does anything."""

    def __init__(self, objects: Objects | None, runs: Path) -> None:
        self.objects, self.runs = objects, runs
        self._copying: dict[str, tuple[float, Future[None]]] = {}
        self._copied: dict[str, list[tuple[str, int]]] = {}  # what a run's newest copy holds
        self._shown: dict[str, set[str]] = {}
        self._pool = ThreadPoolExecutor(1, "mirror")

    # -- the worker's side ---------------------------------------------------------------------------------------------

    def is_here(self, job_id: str, attempt: int) -> bool:
        """Whether this attempt was made in this machine's folder, so that what it said lies there."""
        return self.objects is None or self._here(job_id) == attempt

    def begin(self, job_id: str, attempt: int) -> bool:
        """Before an attempt: have its run's newest state here. Whether the attempt before was made elsewhere, so that
        the log begins anew. Raises Away, OSError."""
        if self.objects is None:
            return False
        run, here = RunDir(self.runs / job_id), self._here(job_id)
        elsewhere = here != attempt - 1
        run.path.mkdir(parents=True, exist_ok=True)
        for left in run.path.glob(f"{PARTS}*"):
            shutil.rmtree(left, ignore_errors=True)
        if elsewhere:
            self._fetch_state(run, here)
            run.events_file.unlink(missing_ok=True)
        files.write_json(run.path / HERE, attempt)
        return elsewhere

    def note(self, job_id: str, attempt: int) -> None:
        """The run has a new checkpoint: it is copied soon, beside everything else."""
        if self.objects is None:
            return
        begun, future = self._copying.get(job_id, (-EVERY_SECONDS, None))
        if (future is None or future.done()) and time.monotonic() - begun >= EVERY_SECONDS:
            self._copying[job_id] = time.monotonic(), self._pool.submit(self._copy, job_id, attempt)

    def settle(self, job_id: str, attempt: int) -> None:
        """The attempt has ended and the job has not: copy the last that it wrote, now."""
        if self.objects is not None:
            self._pool.submit(self._copy, job_id, attempt).result()

    def show(self, job_id: str) -> None:
        """Copy the pictures that were not copied yet, before anybody hears of them."""
        if self.objects is None:
            return
        shown = self._shown.setdefault(job_id, set())
        for path in sorted(RunDir(self.runs / job_id).preview.glob("step-*.png")):
            if path.name not in shown:
                self._quietly(job_id, lambda p=path: self._show(job_id, p))  # type: ignore[misc]
                shown.add(path.name)

    def end(self, job_id: str) -> None:
        """The job has ended: its pictures stay, and nothing else."""
        if self.objects is not None:
            self._pool.submit(self._quietly, job_id, lambda: self._remove(self._states(job_id))).result()
            for known in (self._copying, self._copied, self._shown):
                known.pop(job_id, None)

    def forget(self, job_id: str) -> None:
        """The job's folder goes, and all copies of it."""
        if self.objects is not None:
            self._quietly(job_id, lambda: self._remove(self._folders(job_id)))

    def sweep(self, is_kept: Callable[[str], bool]) -> list[str]:
        """Remove what is left of jobs that nobody keeps. Returns them. Raises Away."""
        if self.objects is None:
            return []
        gone = sorted({name for key in self.objects.folders("runs") if not is_kept(name := key.split("/")[1])})
        for job_id in gone:
            self._remove(self._folders(job_id))
        return gone

    # -- whoever shows them --------------------------------------------------------------------------------------------

    def fetch_picture(self, job_id: str, name: str) -> None:
        """Have one of the run's pictures here, if it was copied. Raises Away, OSError."""
        if self.objects is None:
            return
        target = self.runs / job_id / name
        parts = target.parent / f"{PARTS}{uuid4().hex}"
        with suppress(Damaged):
            self.objects.get(f"runs/{job_id}/{target.stem}", parts)
            (parts / target.name).replace(target)
            parts.rmdir()
        looked_at = [each for each in self.runs.glob("job_*") if not (each / "spec.json").exists()]
        for old in sorted(looked_at, key=lambda each: each.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    # -- copies --------------------------------------------------------------------------------------------------------

    def _copy(self, job_id: str, attempt: int) -> None:
        run = RunDir(self.runs / job_id)
        newest = sorted(run.checkpoints.glob("step-*.safetensors"))[-1:]
        if newest:
            beside = [run.learned_file, *(run.checkpoints / name for name in BESIDE)]
            paths = [*newest, *(path for path in beside if path.exists())]
            self._quietly(job_id, lambda: self._put_state(run, attempt, paths))

    def _put_state(self, run: RunDir, attempt: int, paths: Sequence[Path]) -> None:
        """Raises Away, OSError."""
        assert self.objects is not None
        job_id = run.path.name
        with tempfile.TemporaryDirectory(dir=run.path, prefix=PARTS) as scratch:
            for path in paths:
                files.link(path, Path(scratch) / path.name)
            holds = sorted((path.name, path.stat().st_mtime_ns) for path in Path(scratch).iterdir())
            if holds == self._copied.get(job_id):
                return
            key = f"runs/{job_id}/state-{attempt:06d}-{int(time.time() * 1000):015d}"
            self.objects.put(Path(scratch), key)
        self._copied[job_id] = holds
        self._remove([each for each in self._states(job_id) if each < key])

    def _show(self, job_id: str, path: Path) -> None:
        """Raises Away, OSError."""
        assert self.objects is not None
        key = f"runs/{job_id}/{path.stem}"
        if self.objects.has(key):  # an attempt that comes by the same step draws the same
            return
        with tempfile.TemporaryDirectory(dir=path.parent.parent, prefix=PARTS) as scratch:
            files.link(path, Path(scratch) / path.name)
            self.objects.put(Path(scratch), key)

    def _fetch_state(self, run: RunDir, here: int) -> None:
        """The newest that is whole, unless what lies here is as new. Raises Away, OSError."""
        assert self.objects is not None
        job_id, parts = run.path.name, run.path / f"{PARTS}{uuid4().hex}"
        for key in reversed(self._states(job_id)):
            if int(key.split("-")[-2]) <= here:
                return
            try:
                self.objects.get(key, parts)
            except Damaged as error:
                log.warning("%s: %s; taking an older copy, if there is one", job_id, error, extra={"job_id": job_id})
                continue
            run.learned_file.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                (parts / run.learned_file.name).replace(run.learned_file)
            for folder in (run.prepared, run.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
            parts.replace(run.checkpoints)
            log.info("%s: fetched %s", job_id, key, extra={"job_id": job_id})
            return

    def _folders(self, job_id: str) -> list[str]:
        assert self.objects is not None
        return self.objects.folders(f"runs/{job_id}")

    def _states(self, job_id: str) -> list[str]:
        """The newest last."""
        return [key for key in self._folders(job_id) if key.split("/")[2].startswith("state-")]

    def _remove(self, keys: Sequence[str]) -> None:
        assert self.objects is not None
        for key in keys:
            self.objects.remove(key)

    def _here(self, job_id: str) -> int:
        try:
            return int((self.runs / job_id / HERE).read_text())
        except FileNotFoundError:
            return 0

    @staticmethod
    def _quietly(job_id: str, do: Callable[[], None]) -> None:
        """What cannot be copied now is copied with the next checkpoint; training goes on."""
        try:
            do()
        except FileNotFoundError:
            pass  # the trainer has a newer one by now
        except OSError as error:  # Away is one
            log.warning("%s: %s", job_id, error, extra={"job_id": job_id})

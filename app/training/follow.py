"""Follow a job on a terminal, with a worker of its own where none runs. Reads the database alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.core.tables import Job
from app.locks import is_free
from app.training.service import Jobs
from app.training.states import ENDED
from ml.families.catalog import FAMILIES

POLL_SECONDS = 0.3
SHOWN = ("loss", "train_loss", "perplexity", "loss_d", "loss_g", "d_real", "d_fake", "frechet_distance", "ks_distance")


def follow(jobs: Jobs, job_id: str, data_dir: Path, console: Console) -> int:
    """Show a bar with loss, speed and time left until the job has ended; returns the command's exit code."""
    helper: subprocess.Popen[bytes] | None = None
    if not _has_worker(jobs, data_dir):
        quiet = {**os.environ, "INKLING_LOG_LEVEL": "warning"}  # the bar has the terminal
        helper = subprocess.Popen(
            [sys.executable, "-m", "app", "worker", "--data-dir", str(data_dir), "--job", job_id], env=quiet
        )
    figures = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), figures, TimeElapsedColumn())
    with _interruption() as interrupted:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("queued", total=1.0, figures="")
            job = jobs.get(job_id)
            while job.status not in ENDED and not interrupted():
                _show(progress, bar, job, jobs.queue_positions().get(job_id))
                # One that has only just started may have taken the job before our own did.
                gone = helper is not None and helper.poll() is not None and not _has_worker(jobs, data_dir)
                if gone and jobs.get(job_id).status not in ENDED:
                    break
                time.sleep(POLL_SECONDS)
                job = jobs.get(job_id)
            _show(progress, bar, job, None)
        left = interrupted() and job.status not in ENDED
        if left:
            console.print(f"\nNo longer following {job_id}. " + _whereabouts(helper, job_id))
        if helper is not None:
            helper.wait()
    if left:
        return 130
    return _report(jobs.get(job_id), data_dir, console)


def _has_worker(jobs: Jobs, data_dir: Path) -> bool:
    return jobs.worker_is_up() if jobs.database.shared else not is_free(data_dir, "worker")


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, asked and not raised: an exception that comes while a library cleans up gets lost."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _show(progress: Progress, bar: TaskID, job: Job, position: int | None) -> None:
    parts = [f"{name} {job.metrics[name]:.4g}" for name in SHOWN if isinstance(job.metrics.get(name), int | float)][:3]
    if job.status == "running" and job.started_at is not None and job.eta_seconds is not None:
        spent = job.eta_seconds * job.progress / max(1e-9, 1 - job.progress)
        if spent > 0:
            parts.append(f"{job.step / spent:,.0f} steps/s")
        parts.append(f"{job.eta_left:,.0f} s left")
    waiting = f" (number {position} in the queue)" if position else ""
    progress.update(bar, completed=job.progress, description=job.status + waiting, figures="  ".join(parts))


def _whereabouts(helper: subprocess.Popen[bytes] | None, job_id: str) -> str:
    if helper is None:
        return "The service goes on training it."
    return f"It writes a checkpoint and waits; go on with: python -m app worker --job {job_id}"


def _report(job: Job, data_dir: Path, console: Console) -> int:
    if job.status == "succeeded" and job.result is not None:
        name, version = job.result["name"], job.result["version"]
        figures = ", ".join(f"{k} {v:.4g}" for k, v in job.metrics.items() if isinstance(v, int | float))
        answers = "answers now" if job.result["active"] else f"does not answer: {job.result['reason']}"
        reads = FAMILIES[job.family].modality == "text"
        route, body = ("predict-next-word", '"text": "…"') if reads else ("generate", '"count": 16')
        console.print(f"{name}@{version} {answers} ({job.result['reason']}). {figures}", highlight=False)
        console.print(
            f"It lies in {data_dir / 'models' / name / str(version)}. Ask it (with `make run`):", soft_wrap=True
        )
        output = "" if reads else " --output grid.png"
        console.print(
            f"  curl -s http://127.0.0.1:8000/{route} -H 'Content-Type: application/json' "
            f'-d \'{{{body}, "model": "{name}"}}\'{output}',
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        return 0
    if job.error is not None:
        console.print(f"failed: {job.error['message']}", soft_wrap=True, highlight=False, markup=False)
    else:
        console.print(f"{job.id} is {job.status}.")
    return 1

"""A job's progress on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

# The loss, then what says how good it is; those that the family has.
LOSSES = ("loss", "train_loss", "loss_g", "loss_d")
QUALITIES = ("perplexity", "frechet_distance", "ks_distance", "d_real", "d_fake")
MOST = 3

Show = Callable[[Mapping[str, Any]], None]


@contextmanager
def bar(wanted: bool, name: str, console: Console | None = None) -> Iterator[Show]:
    """A function that shows how a job stands, given its fields or those that changed; without a bar it does nothing."""
    if not wanted:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=1.0, figures="")

        known: dict[str, Any] = {}

        def show(job: Mapping[str, Any]) -> None:
            known.update(job)
            position = known.get("queue_position")
            waiting = f", number {position} in the queue" if position else ""
            described = f"{name} {known['status']}{waiting}"
            progress.update(task, completed=known.get("progress"), description=described, figures=figures(known))

        yield show


def figures(job: Mapping[str, Any]) -> str:
    """The newest loss and quality, and the time left."""
    metrics = job.get("metrics") or {}
    known = [name for name in LOSSES + QUALITIES if isinstance(metrics.get(name), int | float)]
    said = [f"{name} {metrics[name]:.4g}" for name in known[:MOST]]
    left = job.get("eta_seconds")
    if left is not None and job["status"] == "running":
        minutes, seconds = divmod(round(left), 60)
        said.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(said)

"""Requests about families and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from PIL import Image

from inkling_client.answers import Family, Job, Page, Sample, Status
from inkling_client.calls.call import (
    PAGE,
    QUIET,
    STREAM,
    Activate,
    Call,
    given,
    once,
    path_of,
    read_as,
    read_list,
    read_nothing,
    read_page,
    read_picture,
)


class Budget(TypedDict, total=False):
    """How long to train; whichever is reached first."""

    minutes: float
    epochs: int
    steps: int


class Resources(TypedDict, total=False):
    """What a training is to have for itself, where trainings share a cluster."""

    cpus: float
    gpus: float
    custom: dict[str, float]


def families() -> Call[list[Family]]:
    """What can be trained: presets, and the schema of every setting."""
    return Call("GET", "/families", read_list("families", Family))


def train(
    family: Literal["lstm", "gan"],
    dataset: str,
    *,
    model: str | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    budget: Budget | None = None,
    activate: Activate | None = None,
    base: str | None = None,
    priority: int | None = None,
    resources: Resources | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start a training in the background; the answer is a handle to wait on.

    `base`: the version to start from, as "name@3", or "none"; by default an English text may start from the starter.
    """
    body = given(locals())
    return Call("POST", "/train", read_as(Job), body, headers=once(body.pop("idempotency_key", None)))


def job(id: str) -> Call[Job]:
    """A job that was started earlier, as a handle."""
    return Call("GET", path_of("jobs", id), read_as(Job))


def jobs(*, status: Status | None = None, model: str | None = None) -> Call[Page[Job]]:
    """How jobs stand, newest first."""
    return Call("GET", "/jobs", read_page("jobs", Job), params=given({"limit": PAGE, "status": status, "model": model}))


def cancel(id: str) -> Call[Job]:
    """Cancel a waiting or running job; what it had learned is dropped."""
    return Call("POST", path_of("jobs", id, "cancel"), read_as(Job))


def pause(id: str) -> Call[Job]:
    """Let a job rest, with all it has learned."""
    return Call("POST", path_of("jobs", id, "pause"), read_as(Job))


def resume(id: str) -> Call[Job]:
    """Let a paused job go on."""
    return Call("POST", path_of("jobs", id, "resume"), read_as(Job))


def events(id: str, after: int = 0) -> Call[None]:
    """What happened to a job behind the event `after`, and what happens to it."""
    headers = {"Accept": STREAM, "Last-Event-ID": str(after)}
    return Call("GET", path_of("jobs", id, "events"), read_nothing, headers=headers, seconds=QUIET)


def samples(id: str) -> Call[list[Sample]]:
    """What the model made along the way, always from the same seeds."""
    return Call("GET", path_of("jobs", id, "samples"), read_list("samples", Sample))


def sample(id: str, step: int) -> Call[Image.Image]:
    """One of the samples, as a picture."""
    return Call("GET", f"{path_of('jobs', id, 'samples', step)}.png", read_picture)


def history(id: str) -> Call[list[dict[str, Any]]]:
    """The metrics of every evaluation."""
    return Call("GET", path_of("jobs", id, "history"), read_list("points", dict[str, Any]))

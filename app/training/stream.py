"""A job's events over the wire: a Server-Sent Events stream, or entries of a JSON page. Must not know: SQL."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event
from sqlalchemy.exc import DBAPIError

from app.core.tables import Event, Job
from app.training.service import Jobs
from app.training.states import ENDED

POLL_SECONDS = 0.4
HEARTBEAT_SECONDS = 15.0  # proxies close a connection on which nothing comes
RETRY_MILLISECONDS = 2000
LIVE = ("status", "attempt", "progress", "epoch", "step", "total_steps", "metrics")


def data(event: Event) -> dict[str, Any]:
    """What an event says, a picture by its address."""
    said = dict(event.data)
    if "file" in said:
        del said["file"]
        said["url"] = f"/jobs/{event.job_id}/samples/{said['step']}.png"
    return said


def entry(event: Event) -> dict[str, Any]:
    """An event in a JSON page."""
    return {"id": event.id, "event": event.kind, "data": data(event), "at": event.at}


async def follow(jobs: Jobs, job_id: str, after: int, stopping: threading.Event) -> AsyncIterator[bytes]:
    """Every event behind `after`, then new ones as they come, until `done`; between them how the job stands.

    What is stored carries an id, to resume at; how the job stands (`status` with progress and the newest losses) is of
    the moment and carries none. When the service stops, the stream just ends: the client comes back to the next one.
    """
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    shown: dict[str, Any] = {}
    beat = time.monotonic()
    while not stopping.is_set():
        try:
            job, events = await run_in_threadpool(jobs.events, job_id, after)
        except DBAPIError:  # it may come back, and the client is not the worse for waiting here
            await asyncio.sleep(POLL_SECONDS)
            continue
        for event in events:
            after = event.id
            yield format_sse_event(event=event.kind, id=str(event.id), data_str=_json(data(event)))
            if event.kind == "done":
                return
        if events:
            beat = time.monotonic()
            continue
        if job.status in ENDED:
            return
        now = _standing(job)
        if now != shown and job.step:
            shown, beat = now, time.monotonic()
            yield format_sse_event(event="status", data_str=_json({**now, "eta_seconds": job.eta_left}))
        elif time.monotonic() - beat >= HEARTBEAT_SECONDS:
            beat = time.monotonic()
            yield format_sse_event(comment="still here")
        await asyncio.sleep(POLL_SECONDS)


def _standing(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in LIVE}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

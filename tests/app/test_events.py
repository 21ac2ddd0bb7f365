"""A job's events and samples: pages of JSON, and a stream that resumes and ends."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.training import stream
from app.training.attempts import Attempts
from tests.app.problems import problem

LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture"}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def attempts(app: FastAPI) -> Attempts:
    return Attempts(app.state.jobs.database)


def parse(text: str) -> list[dict[str, Any]]:
    """The events of a stream, by the rules of the HTML standard."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


async def finished(client: httpx.AsyncClient, attempts: Attempts) -> str:
    """A job with a status, two evaluations with a sample each, and an end."""
    job_id = (await client.post("/train", json=LECTURE)).json()["id"]
    attempts.claim()
    events = [
        {"kind": "status", "status": "running", "step": 0},
        {"kind": "metrics", "epoch": 1.0, "step": 5, "evaluation": 1, "loss": 2.0},
        {"kind": "sample", "step": 5, "evaluation": 1, "text": "i like dog"},
        {"kind": "metrics", "epoch": 2.0, "step": 10, "evaluation": 2, "loss": 1.0},
        {"kind": "sample", "step": 10, "evaluation": 2, "file": "preview/step-10.png"},
        {"kind": "message", "text": "Stopped early."},
    ]
    attempts.record(job_id, [(10 * i, {"time": 1.0, **event}) for i, event in enumerate(events, 1)])
    attempts.succeed(job_id, {"name": "lecture", "version": 1})
    return job_id


async def test_a_finished_job_replays_and_ends(client: httpx.AsyncClient, attempts: Attempts) -> None:
    job_id = await finished(client, attempts)
    response = await client.get(f"/jobs/{job_id}/events", headers=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    events = parse(response.text)
    kinds = ["status", "status", "status", "metrics", "sample", "metrics", "sample", "message", "status", "done"]
    assert [event["event"] for event in events] == kinds
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    assert events[-1]["data"] == {"status": "succeeded", "error": None, "result": {"name": "lecture", "version": 1}}
    assert events[4]["data"]["text"] == "i like dog"
    assert events[6]["data"]["url"] == f"/jobs/{job_id}/samples/10.png"

    # Any id resumes right behind it; after the last one there is nothing to come back for.
    for at, event in enumerate(events):
        again = await client.get(f"/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": event["id"]})
        assert again.status_code == (204 if event["event"] == "done" else 200)
        assert parse(again.text) == events[at + 1 :]


async def test_the_same_as_pages(client: httpx.AsyncClient, attempts: Attempts) -> None:
    job_id = await finished(client, attempts)
    whole = (await client.get(f"/jobs/{job_id}/events")).json()
    assert whole["next"] is None
    assert len(whole["events"]) == 10
    assert set(whole["events"][0]) == {"id", "event", "data", "at"}
    paged: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await client.get(f"/jobs/{job_id}/events", params={"limit": 3, "after": after})).json()
        paged += page["events"]
        after = page["next"]
    assert paged == whole["events"]
    tail = await client.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": str(whole["events"][7]["id"])})
    assert tail.json()["events"] == whole["events"][8:]
    odd = await client.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": "what?"})
    assert odd.json() == whole


def polls_of(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """What waits until the stream has looked at its job again, and told what it saw."""
    seen, events = 0, app.state.jobs.events

    def looked(*arguments: object) -> object:
        nonlocal seen
        seen += 1
        return events(*arguments)

    async def another() -> None:
        before = seen
        async with asyncio.timeout(60):
            while seen < before + 2:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(app.state.jobs, "events", looked)
    return another


async def test_a_running_job_is_followed_until_it_ends(
    client: httpx.AsyncClient, app: FastAPI, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    looks = polls_of(app, monkeypatch)
    job_id = (await client.post("/train", json=LECTURE)).json()["id"]
    followed = asyncio.create_task(client.get(f"/jobs/{job_id}/events", headers=STREAM))
    await looks()
    await asyncio.sleep(2 * stream.HEARTBEAT_SECONDS)
    await looks()
    attempts.claim()
    progress = {"kind": "progress", "time": 1.0, "step": 7, "progress": 0.5, "eta_seconds": 3.0, "loss": 1.5}
    attempts.record(job_id, [(10, progress)])
    await looks()
    attempts.succeed(job_id, {"name": "lecture", "version": 1})
    response = await asyncio.wait_for(followed, 20)
    assert ": still here" in response.text
    events = parse(response.text)
    assert events[-1]["event"] == "done"
    live = [event["data"] for event in events if "id" not in event]
    assert {"step": 7, "progress": 0.5}.items() <= live[0].items()
    assert 0 < live[0]["eta_seconds"] <= 3
    assert live[0]["metrics"] == {"loss": 1.5}


async def test_a_stopping_service_ends_its_streams(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.01)
    looks = polls_of(app, monkeypatch)
    job_id = (await client.post("/train", json=LECTURE)).json()["id"]
    followed = asyncio.create_task(client.get(f"/jobs/{job_id}/events", headers=STREAM))
    await looks()
    app.state.stopping.set()
    response = await asyncio.wait_for(followed, 20)
    assert [event["event"] for event in parse(response.text)] == ["status"]


async def test_samples(client: httpx.AsyncClient, app: FastAPI, attempts: Attempts) -> None:
    job_id = await finished(client, attempts)
    listed = (await client.get(f"/jobs/{job_id}/samples")).json()["samples"]
    assert [(sample["step"], sample.get("text"), sample.get("url")) for sample in listed] == [
        (5, "i like dog", None),
        (10, None, f"/jobs/{job_id}/samples/10.png"),
    ]
    body = problem(await client.get(listed[1]["url"]), 404)
    assert "removed" in body["detail"]
    picture = app.state.jobs.runs / job_id / "preview" / "step-10.png"
    picture.parent.mkdir(parents=True)
    Image.new("L", (4, 4)).save(picture)
    response = await client.get(listed[1]["url"])
    assert response.headers["content-type"] == "image/png"
    assert "immutable" in response.headers["cache-control"]
    assert Image.open(io.BytesIO(response.content)).size == (4, 4)
    body = problem(await client.get(f"/jobs/{job_id}/samples/5.png"), 404)
    assert "at 10" in body["detail"]


async def test_unknown_jobs(client: httpx.AsyncClient) -> None:
    for path in ("events", "samples", "samples/1.png"):
        problem(await client.get(f"/jobs/job_nope/{path}"), 404)
    problem(await client.get("/jobs/job_nope/events", headers=STREAM), 404)
    for action in ("pause", "resume", "cancel"):
        problem(await client.post(f"/jobs/job_nope/{action}"), 404)


async def test_pause_and_resume_while_waiting(client: httpx.AsyncClient, attempts: Attempts) -> None:
    job_id = (await client.post("/train", json=LECTURE)).json()["id"]
    problem(await client.post(f"/jobs/{job_id}/resume"), 409)  # it was never paused
    for _ in range(2):
        response = await client.post(f"/jobs/{job_id}/pause")
        assert (response.status_code, response.json()["status"]) == (202, "paused")
    assert attempts.claim() is None
    for _ in range(2):
        response = await client.post(f"/jobs/{job_id}/resume")
        assert (response.status_code, response.json()["status"]) == (202, "queued")
    attempts.claim()
    for _ in range(2):
        assert (await client.post(f"/jobs/{job_id}/pause")).json()["status"] == "pausing"
    await client.post(f"/jobs/{job_id}/cancel")
    problem(await client.post(f"/jobs/{job_id}/pause"), 409)
    problem(await client.post(f"/jobs/{job_id}/resume"), 409)
    attempts.stopped(job_id)
    for action in ("pause", "resume"):
        problem(await client.post(f"/jobs/{job_id}/{action}"), 409)
    assert (await client.post(f"/jobs/{job_id}/cancel")).json()["status"] == "cancelled"

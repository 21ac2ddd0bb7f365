"""Bringing a version into memory gives way to answers."""

import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.inference import service
from app.main import create_app
from app.registry.service import Registry
from ml.artifact import Manifest
from ml.serve.images import Sampler
from ml.serve.state_cache import StateCache
from ml.serve.text import NextWord


async def test_it_is_loaded_by_a_thread_of_lower_priority(
    client: httpx.AsyncClient, app: FastAPI, lecture_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_warm, seen = service.open_warm, []

    def watched(folder: Path, manifest: Manifest, states: StateCache, int8: bool) -> NextWord | Sampler:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return open_warm(folder, manifest, states, int8)

    monkeypatch.setattr(service, "open_warm", watched)
    registry: Registry = app.state.registry
    for _ in range(2):
        registry.register(lecture_version, "mine", "never")
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert (await client.put("/models/mine/active", json={"version": 1})).status_code == 200
    assert (await client.put("/models/mine/active", json={"version": 2})).status_code == 200
    assert seen == [min(19, usual + 10)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual


async def test_what_is_not_asked_for_is_not_in_memory(settings: Settings, lecture_version: Path) -> None:
    """With a model of one's own named, it is there at once, and the starters when they are asked."""
    app = create_app(settings.model_copy(update={"preload": ["mine", "later"]}))
    app.state.registry.register(lecture_version, "mine", "always")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://inkling") as client:
            ready = await client.get("/health/ready")
            assert ready.status_code == 200
            assert ready.json()["models"] == {"mine": "ready"}  # of what does not exist yet, nothing
            assert [name for name, _ in app.state.host._loaded] == ["mine"]
            said = await client.post("/predict-next-word", json={"text": "in the "})
            assert said.status_code == 200
            assert {name for name, _ in app.state.host._loaded} == {"mine", "next-word"}


async def test_with_nothing_to_load_before_all_it_is_ready(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"preload": []}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://inkling") as client:
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["status"], ready.json()["models"]) == (200, "ready", {})


def test_names_are_given_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKLING_PRELOAD", "mine, next-word,")
    assert Settings().preload == ["mine", "next-word"]

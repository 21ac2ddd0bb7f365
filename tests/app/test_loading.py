"""Bringing a version into memory gives way to answers."""

import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.inference import service
from app.registry.service import Registry
from ml.artifact import Manifest
from ml.serve.images import Sampler
from ml.serve.state_cache import StateCache
from ml.serve.text import NextWord


async def test_it_is_loaded_by_a_thread_of_lower_priority(
    client: httpx.AsyncClient, app: FastAPI, lecture_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_warm, seen = service.open_warm, []

    def watched(folder: Path, manifest: Manifest, states: StateCache) -> NextWord | Sampler:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return open_warm(folder, manifest, states)

    monkeypatch.setattr(service, "open_warm", watched)
    registry: Registry = app.state.registry
    for _ in range(2):
        registry.register(lecture_version, "mine", "never")
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert (await client.put("/models/mine/active", json={"version": 1})).status_code == 200
    assert (await client.put("/models/mine/active", json={"version": 2})).status_code == 200
    assert seen == [min(19, usual + 10)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual

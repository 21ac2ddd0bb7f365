"""What is written to the log, and what never is; traces."""

import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.core import logs, tracing
from app.core.config import Settings
from app.core.errors import StartError
from app.core.request import request_id
from app.main import create_app

SECRET = "the colour of my secret is blue"


class Lines(logging.Handler):
    """What a log's handler would write, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonLines())
        self.raw: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "httpx":  # the test's own client
            self.raw.append(self.format(record))

    @property
    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


async def asked(settings: Settings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield app, client


async def test_a_request_is_one_line_without_what_it_said(tmp_path: Path, lines: Lines) -> None:
    async for app, client in asked(Settings(data_dir=tmp_path, log_format="json")):
        row, key = app.state.keys.create("me", "admin")
        app.state.keys.refresh()
        headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "abc-1"}
        body = {"text": SECRET}
        assert (await client.post("/predict-next-word", json=body, headers=headers)).status_code == 200
        await client.post("/predict-next-word", json=body)  # without its key
        await client.get("/models/my-secret-model?secret=1", headers=headers)
        for quiet in ("/health/live", "/health/ready", "/metrics"):
            await client.get(quiet)
        said = [line for line in lines.read if line["logger"] == "inkling.access"]
        assert [(line["method"], line["route"], line["status"], line["key"]) for line in said] == [
            ("POST", "/predict-next-word", 200, row.id),
            ("POST", "/predict-next-word", 401, None),
            ("GET", "/models/{name}", 404, row.id),
        ]
        assert said[0]["request_id"] == "abc-1"
        assert 0 < float(str(said[0]["ms"])) < 10_000
        everything = "\n".join(lines.raw)
        assert "secret" not in everything
        assert key not in everything


@pytest.mark.parametrize(
    ("format", "asked_for", "there"), [("text", None, 0), ("text", True, 1), ("json", None, 1), ("json", False, 0)]
)
async def test_who_gets_lines_of_requests(
    tmp_path: Path, lines: Lines, format: logs.Format, asked_for: bool | None, there: int
) -> None:
    async for _, client in asked(Settings(data_dir=tmp_path, log_format=format, access_log=asked_for)):
        await client.get("/families")
        assert sum(line["logger"] == "inkling.access" for line in lines.read) == there


def test_a_line_has_its_job_request_and_trace(lines: Lines) -> None:
    token = request_id.set("r-7")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("app.x").exception("%s: broke", "job_1", extra={"job_id": "job_1"})
    request_id.reset(token)
    logging.getLogger("app.x").info("later")
    first, second = lines.read
    assert first["level"] == "error"
    assert first["message"] == "job_1: broke"
    assert first["job_id"] == "job_1"
    assert first["request_id"] == "r-7"
    assert "ValueError: two\nlines" in str(first["exception"])
    assert "request_id" not in second
    assert len(lines.raw[0].splitlines()) == 1


def test_a_level_that_there_is_not_is_refused() -> None:
    with pytest.raises(StartError, match="INKLING_LOG_LEVEL"):
        logs.configure("loud")


async def test_a_request_is_a_span_and_a_health_check_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "provider", lambda endpoint: provider)
    async for _, client in asked(Settings(data_dir=tmp_path, otlp_endpoint="http://127.0.0.1:4318")):
        caller = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Request-Id": "abc-2"}
        await client.post("/predict-next-word", json={"text": SECRET}, headers=caller)
        await client.get("/health/ready")
        spans = exporter.get_finished_spans()
        (span,) = [each for each in spans if each.name == "POST /predict-next-word"]
        assert span.context.trace_id == int("a" * 32, 16)
        assert span.attributes is not None
        assert span.attributes["inkling.request_id"] == "abc-2"
        assert float(str(span.attributes["inkling.model_ms"])) > 0
        assert not [each for each in spans if "health" in each.name]
        assert SECRET not in "".join(each.to_json() for each in spans)


def test_traces_without_their_packages_are_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"inkling\[tracing\]"):
        create_app(Settings(data_dir=tmp_path, otlp_endpoint="http://127.0.0.1:4318"))

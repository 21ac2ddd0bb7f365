"""GET /metrics and GET /health/ready: what they say is what happened; disk room; what watches them exists."""

import asyncio
import json
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy.exc import OperationalError

from app.core import disk as disk_module
from app.core.config import Settings
from app.core.disk import Disk
from app.core.errors import VolumeFull
from app.core.metrics import Metrics
from app.core.request import ROUTE
from app.inference.batcher import Batcher
from app.main import create_app
from app.services import Services
from app.training.service import Training
from app.training.worker import Worker

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


class Figures:
    """A reading of /metrics."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in parse(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def get(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) <= 1, (name, labels)
        return found[0] if found else None


async def read(client: httpx.AsyncClient) -> Figures:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Figures(answer.text)


async def test_requests_are_counted_by_route_method_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/predict-next-word", json={"text": "in the"})
    await client.post("/predict-next-word", json={"text": "in the", "top_k": 0})
    for seed in (1, 2):
        await client.get(f"/images/pictures/1/{seed}.png")
    await client.get("/images/pictures/1/1.png")  # from memory, ahead of the router
    await client.get("/web/app.js")
    for path in ("/a", "/b", "/wp-login.php"):
        await client.get(path)
    await client.request("BREW", "/predict-next-word")
    figures = await read(client)
    of = figures.get
    assert of("inkling_requests_total", route="/predict-next-word", method="POST", status="200") == 1
    assert of("inkling_requests_total", route="/predict-next-word", method="POST", status="422") == 1
    assert of("inkling_requests_total", route="/images/{name}/{version}/{seed}.png", status="200") == 3
    assert of("inkling_requests_total", route="/web", status="200") == 1
    assert of("inkling_requests_total", route="unmatched", method="GET", status="404") == 3
    assert of("inkling_requests_total", route="unmatched", method="other", status="405") == 1
    assert of("inkling_request_seconds_count", route="/predict-next-word") == 2
    assert 0 < (of("inkling_request_seconds_sum", route="/predict-next-word") or 0) < 30
    assert of("inkling_batch_size_count", queue="text") == 1
    assert of("inkling_batch_size_count", queue="images") == 2
    assert of("process_resident_memory_bytes")


async def test_a_bug_is_counted_as_500(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(app.state.registry, "models", broken)
    assert (await client.get("/models")).status_code == 500
    assert (await read(client)).get("inkling_requests_total", route="/models", status="500") == 1


async def test_models_jobs_and_disk_are_told(app: FastAPI, client: httpx.AsyncClient, lecture_version: Path) -> None:
    registry, jobs = app.state.registry, app.state.jobs
    for _ in range(2):
        registry.register(lecture_version, "mine", "always")
    assert (await client.put("/models/mine/active", json={"version": 1})).status_code == 200
    assert (await client.put("/models/mine/active", json={"version": 2})).status_code == 200
    (registry.path("mine", 1) / "weights.safetensors").unlink()
    for name in registry.path("mine", 1).glob("*.onnx"):
        name.unlink()
    app.state.host._loaded.pop(("mine", 1))
    assert (await client.put("/models/mine/active", json={"version": 1})).status_code == 422
    job = jobs.enqueue(Training("lstm", "lecture", preset="lecture"))
    with jobs.database.write() as session:
        row = session.merge(jobs.get(job.id))
        row.status, row.step, row.progress, row.metrics = "running", 40, 0.25, {"loss": 1.5, "split": "test"}
    figures = await read(client)
    of = figures.get
    assert of("inkling_model_active", model="mine", version="2") == 1
    assert of("inkling_model_active", model="next-word", version="1") == 1
    assert of("inkling_model_swaps_total", model="mine") == 1
    assert of("inkling_model_failed_loads_total", model="mine") == 1
    assert of("inkling_jobs", status="running") == 1
    assert of("inkling_jobs", status="failed") == 0
    named = {"job_id": job.id, "model": "lecture", "family": "lstm"}
    assert of("inkling_training_steps_total", **named) == 40
    assert of("inkling_training_progress", **named) == 0.25
    assert of("inkling_training_loss", loss="loss", **named) == 1.5
    assert of("inkling_worker_up") == 0
    assert of("inkling_database_up") == 1
    assert (of("inkling_disk_used_bytes", part="models") or 0) > 1_000_000
    assert of("inkling_disk_free_bytes") == pytest.approx(shutil.disk_usage(app.state.settings.data_dir).free, rel=0.2)


async def test_without_its_database_it_still_tells_the_rest(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(app.state.jobs, "overview", away)
    monkeypatch.setattr(app.state.jobs, "worker_is_up", away)
    figures = await read(client)
    assert figures.get("inkling_database_up") == 0
    assert figures.get("inkling_model_active", model="faces") == 1
    assert "inkling_jobs" not in figures.families
    ready = await client.get("/health/ready")
    assert ready.status_code == 200
    assert any("database" in reason for reason in ready.json()["reasons"])


async def test_a_full_queue_is_counted_and_explained() -> None:
    metrics, under_way, go_on = Metrics(), threading.Event(), threading.Event()

    def answer(key: str, questions: list[int]) -> list[int]:
        under_way.set()
        go_on.wait(60)
        return questions

    batcher: Batcher[str, int, int] = Batcher("text", answer, 1, 1, metrics.meter("text"))
    asked = [asyncio.create_task(batcher.submit("k", 0, 60))]
    assert await asyncio.to_thread(under_way.wait, 60)
    asked += [asyncio.create_task(batcher.submit("k", number, 60)) for number in range(1, 4)]
    await asyncio.sleep(0.01)
    assert metrics.waiting() == {"text": 1}
    go_on.set()
    done = await asyncio.gather(*asked, return_exceptions=True)
    batcher.close()
    refused = sum(isinstance(answer, Exception) for answer in done)
    figures = Figures(metrics.text("")[0].decode())
    assert refused == 2
    assert figures.get("inkling_queue_rejected_total", queue="text") == refused
    assert figures.get("inkling_batch_size_sum", queue="text") == 4 - refused


async def test_openmetrics_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_metrics_need_no_key_and_hold_none(app: FastAPI, client: httpx.AsyncClient) -> None:
    _, key = app.state.keys.create("me", "admin")
    app.state.keys.refresh()
    await client.get("/models", headers={"Authorization": f"Bearer {key}"})
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert key not in answer.text
    assert "ink_" not in answer.text


def test_a_request_costs_microseconds() -> None:
    metrics = Metrics()
    scope = {ROUTE: "/predict-next-word", "method": "POST"}
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        for _ in range(2000):
            metrics.seen(scope, 200, 0.004)
        best = min(best, (time.process_time() - started) / 2000)
    assert best < 20e-6  # about 2 on an idle core


# -- room on the volume ----------------------------------------------------------------------------------------------


def fill(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - free, free=free)
    monkeypatch.setattr(disk_module, "shutil", SimpleNamespace(disk_usage=lambda _: usage))


async def test_with_little_room_new_work_is_507_and_answers_go_on(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = (await client.get("/models/faces/versions/1/export")).content
    fill(monkeypatch, 100_000_000)
    text = {"file": ("a.txt", b"one line\nanother line\n")}
    model = {"file": ("faces@1.inkling.zip", exported)}
    for answer in (
        await client.post("/datasets", files=text),
        await client.post("/models/import", files=model),
        await client.post("/train", json={"family": "lstm", "dataset": "lecture"}),
    ):
        assert answer.status_code == 507, answer.text
        assert answer.json()["code"] == "volume_full"
        assert "INKLING_MIN_FREE_BYTES" in answer.json()["detail"]
    assert app.state.jobs.page(5)[0] == []
    assert not list(app.state.datasets.uploads.glob("*"))
    assert (await client.post("/predict-next-word", json={"text": "in the"})).status_code == 200
    ready = await client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["disk"] == {"status": "low", "free_bytes": 100_000_000, "kept_free_bytes": 256 * 1024**2}
    assert any("507" in reason for reason in ready.json()["reasons"])
    fill(monkeypatch, 10**9)
    assert (await client.post("/datasets", files=text)).status_code == 201
    assert (await client.get("/health/ready")).json()["disk"]["status"] == "ok"


def test_what_would_leave_too_little_is_refused_before_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch, 1000)
    Disk(tmp_path, 400).require(600)
    with pytest.raises(VolumeFull, match="would come"):
        Disk(tmp_path, 400).require(601)
    Disk(tmp_path, 0).require(10**12)  # 0: no bound


def test_a_waiting_job_waits_for_room(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    job = services.jobs.enqueue(Training("lstm", "lecture", preset="lecture"))
    started: list[str] = []
    worker = Worker(services.jobs, services.attempts, services.registry, launcher=None)  # type: ignore[arg-type]
    monkeypatch.setattr(worker, "_start", lambda job: started.append(job.id))
    fill(monkeypatch, 1000)
    worker._turn(claim=True)
    assert started == []
    assert services.jobs.get(job.id).status == "queued"
    fill(monkeypatch, 10**9)
    worker._turn(claim=True)
    assert started == [job.id]


def test_used_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    for folder in ("models", "runs", ".owners"):
        (tmp_path / folder).mkdir()
    (tmp_path / "models" / "weights").write_bytes(b"x" * 100_000)
    (tmp_path / "runs" / "weights").hardlink_to(tmp_path / "models" / "weights")
    (tmp_path / "inkling.db").write_bytes(b"x" * 5000)
    used = Disk(tmp_path).used()
    assert set(used) == {"database", "models", "runs"}
    assert used["database"] == 5000
    assert 100_000 <= used["models"] + used["runs"] < 150_000


# -- what watches it -------------------------------------------------------------------------------------------------


async def test_every_metric_that_alerts_and_dashboard_name_exists(client: httpx.AsyncClient) -> None:
    await client.get("/families")
    lines = (await client.get("/metrics")).text.splitlines()
    there = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    there |= {line.split("{")[0].split(" ")[0] for line in lines}
    there |= {f"{line.split()[2]}_bucket" for line in lines if line.endswith(" histogram")}
    there |= {f"{line.split()[2]}{end}" for line in lines if line.endswith(" histogram") for end in ("_sum", "_count")}
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    board = json.loads((DEPLOY / "grafana" / "inkling.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += [note["expr"] for note in board["annotations"]["list"]]
    assert len(asked) > 20
    named = set(re.findall(r"\b(?:inkling|process)_\w+", " ".join([alerts, *asked])))
    assert len(named) > 20
    assert named <= there


def test_every_alert_is_explained() -> None:
    guide = (DEPLOY.parent / "docs" / "operations.md").read_text()
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus" / "alerts.yml").read_text())
    assert len(alerts) > 10
    for alert in alerts:
        assert f"`{alert}`" in guide, alert


def test_an_application_has_figures_of_its_own(tmp_path: Path) -> None:
    first, second = (create_app(Settings(data_dir=tmp_path / name)) for name in "ab")
    assert first.state.health.metrics.registry is not second.state.health.metrics.registry

"""The Python client against the real service: what users do with it, by both clients."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from rich.console import Console

from inkling_client import (
    AsyncInklingClient,
    Conflict,
    InklingClient,
    Invalid,
    JobCancelled,
    JobFailed,
    JobHandle,
    NotFinished,
    NotFound,
    TextPreview,
    UnexpectedAnswer,
    WaitTimeout,
    progress,
)
from tests.flow.service import Service

LECTURE = {"preset": "lecture", "seed": 1}


@pytest.fixture(scope="module")
def inkling(url: str) -> Iterator[InklingClient]:
    with InklingClient(url) as client:
        yield client


@pytest.fixture
async def awaited(url: str) -> AsyncIterator[AsyncInklingClient]:
    async with AsyncInklingClient(url) as client:
        yield client


@pytest.fixture(scope="module")
def trained(inkling: InklingClient) -> JobHandle:
    job = inkling.train("lstm", "lecture", **LECTURE)
    assert job.status == "queued"
    with pytest.raises(NotFinished, match=f"{job.id} is queued"):
        _ = job.result
    job.wait(60, progress=True)
    return job


class Cutting(httpx.BaseTransport):
    """The real connection, which breaks once behind the event stream's first few bytes."""

    def __init__(self, after: int) -> None:
        self.real, self.after = httpx.HTTPTransport(), after
        self.resumed: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.real.handle_request(request)
        if not request.url.path.endswith("/events"):
            return response
        self.resumed.append(request.headers["Last-Event-ID"])
        if len(self.resumed) == 1:
            return httpx.Response(response.status_code, headers=response.headers, stream=_Cut(response, self.after))
        return response

    def close(self) -> None:
        self.real.close()


class _Cut(httpx.SyncByteStream):
    def __init__(self, response: httpx.Response, after: int) -> None:
        self.response, self.after = response, after

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self.response.stream:  # type: ignore[union-attr]
            yield chunk[: self.after - sent]
            sent += len(chunk)
            if sent >= self.after:
                raise httpx.ReadError("cut")

    def close(self) -> None:
        self.response.close()


def test_words(inkling: InklingClient) -> None:
    found = inkling.predict("in the beginning", top_k=3, words=2, explain=True)
    assert found.words[0] == "of"
    assert found.continuation.startswith("of ")
    assert str(found.model) == "next-word@1"
    assert found.predictions[0].why is not None
    assert found.predictions[0].why.sources

    pieces = list(inkling.stream("in the beginning", words=12))
    assert len(pieces) == 12
    assert "".join(pieces).startswith("of ")

    measured = inkling.evaluate(text="In the beginning God created the heaven.", log_probabilities=True)
    assert measured.perplexity is not None
    assert measured.perplexity > 1
    assert measured.log_probabilities is not None
    assert len(measured.log_probabilities) == measured.scored_tokens
    assert measured.frechet_distance is None


def test_pictures(inkling: InklingClient) -> None:
    first, second = inkling.generate(2, seed=7, scale=2)
    assert (first.seed, second.seed) == (7, 8)
    assert 0 < first.realness < 1
    assert first.image.size == (56, 56)
    assert inkling.image(8, scale=2).tobytes() == second.image.tobytes()
    assert inkling.image("7~1@0.2", version=1, format="webp").size == (28, 28)
    assert inkling.grid(4, seed=1, columns=4).size == (122, 32)
    like, child = inkling.generate(near=7)[0], inkling.generate(parents=[7, 12])[0]
    assert like.latent.startswith("7~")
    assert child.seed is None

    walk = inkling.interpolate([7, 12], frames=6, format="gif")
    assert walk.media_type == "image/gif"
    assert walk.image.format == "GIF"
    assert walk.image.n_frames == 6  # type: ignore[attr-defined]

    near = inkling.nearest(7, count=2)
    assert near.picture.latent == "7"
    assert near.nearest[0].distance <= near.nearest[1].distance
    assert near.nearest[0].image.size == (28, 28)

    scored = inkling.score(first.image)
    assert scored.realness == pytest.approx(first.realness, abs=0.2)
    assert inkling.score(("seven.png", first.content)).realness == scored.realness
    faces = inkling.generate(model="faces", seed=1)
    assert faces[0].image.mode == "RGB"


def test_a_training(inkling: InklingClient, trained: JobHandle) -> None:
    assert str(trained.result) == "lecture@1"
    assert trained.result.active
    assert trained.metrics["top1"] == 1.0
    assert [point["epoch"] for point in trained.history()] == [100, 200, 300, 400, 500]
    assert [sample.step for sample in trained.samples()][-1] == 500
    assert trained.samples()[0].text
    with pytest.raises(NotFound, match="picture"):
        trained.sample(500)
    assert inkling.predict("you hate", model="lecture").words[0] == "coffee"
    assert inkling.job(trained.id).job == trained.refresh()
    assert trained.id in [job.id for job in inkling.jobs(status="succeeded", model="lecture")]
    with pytest.raises(Conflict, match="succeeded"):
        trained.cancel()


def test_events_go_on_after_a_dropped_connection(url: str, trained: JobHandle) -> None:
    whole = list(trained.events())
    cut = Cutting(after=400)
    with InklingClient(url, transport=cut) as client:
        events = list(client.job(trained.id).events())
    assert events == whole
    assert events[-1].event == "done"
    assert events[-1].data["result"]["name"] == "lecture"
    first, second = cut.resumed
    assert first == "0"
    assert 0 < int(second) < events[-1].id
    assert list(trained.events(after=events[-1].id)) == []


def test_one_that_waits_is_paused_resumed_and_cancelled(inkling: InklingClient) -> None:
    job = inkling.train("gan", "gaussian", budget={"minutes": 5}, model="steered")
    with pytest.raises(WaitTimeout, match="still"):
        job.wait(0.3)
    assert job.pause().status in ("pausing", "paused")
    while job.refresh().status != "paused":
        assert job.status == "pausing"
    assert job.resume().status in ("queued", "preparing", "running")
    job.cancel()
    with pytest.raises(JobCancelled, match=job.id):
        job.wait(60)
    with pytest.raises(JobCancelled):
        _ = job.result


def test_a_failed_training_says_why(inkling: InklingClient, tmp_path: Path) -> None:
    sparse = inkling.upload(("sparse.txt", b"one\n"), licence="CC0-1.0")
    job = inkling.train("lstm", sparse.id, budget={"steps": 1})
    with pytest.raises(JobFailed) as caught:
        job.wait(60)
    assert caught.value.message in str(caught.value)
    assert caught.value.code == job.job.error.code  # type: ignore[union-attr]
    assert job.job.error is not None
    assert caught.value.message == job.job.error.message
    with pytest.raises(JobFailed):
        _ = job.result


def test_data_sets(inkling: InklingClient, tmp_path: Path) -> None:
    text = tmp_path / "tides.txt"
    text.write_text("the tide comes in at noon\n" * 40)
    added = inkling.upload(text, licence="my own")
    assert (added.name, added.licence, added.duplicate) == ("tides", "my own", False)
    assert inkling.upload(text).duplicate
    look = inkling.preview(added.id)
    assert isinstance(look, TextPreview)
    assert look.common_words[0].count == 40

    pictures = []
    for shade in range(12):
        encoded = io.BytesIO()
        Image.new("L", (8, 8), 20 * shade).save(encoded, "PNG")
        pictures.append((f"{shade}.png", encoded.getvalue()))
    squares = inkling.upload(*pictures, name="Squares")
    assert squares.title == "Squares"
    assert isinstance(inkling.preview(squares.id), Image.Image)
    assert squares.id in [each.id for each in inkling.datasets(modality="image")]
    assert inkling.dataset(added.id).counts["lines"] == 40

    inkling.delete_dataset(squares.id)
    with pytest.raises(NotFound, match=squares.id):
        inkling.dataset(squares.id)


def test_models(inkling: InklingClient, trained: JobHandle, tmp_path: Path) -> None:
    assert {"next-word", "pictures", "faces", "lecture"} <= {model.name for model in inkling.models()}
    card = inkling.version("lecture", 1)
    assert card.lineage["job_id"] == trained.id
    assert inkling.version_sample("pictures", 1, "grid.png").size > (28, 28)

    file = inkling.export("lecture", 1, tmp_path)
    assert file.name == "lecture@1.inkling.zip"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    with pytest.raises(NotFound):
        inkling.export("lecture", 99, tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()
    assert inkling.import_version(file).duplicate
    copy = inkling.import_version(file, model="copy")
    assert (copy.name, copy.version, copy.active) == ("copy", 1, True)
    with pytest.raises(Conflict, match="answered before"):
        inkling.rollback("copy")
    assert inkling.activate("copy", 1).active == 1
    with pytest.raises(Conflict):
        inkling.delete_version("copy", 1)
    assert inkling.prune("copy", keep=0) == []
    assert [version.version for version in inkling.model("copy").versions] == [1]
    inkling.delete_model("copy")
    with pytest.raises(NotFound, match="copy"):
        inkling.model("copy")


def test_learning(inkling: InklingClient, trained: JobHandle) -> None:
    taught = inkling.learn("lecture", "our product Zorblax")
    assert "Zorblax" in inkling.predict("our product", model="lecture").words
    assert [phrase.id for phrase in inkling.learned("lecture")] == [taught.id]
    gone = inkling.forget("lecture", "zorblax", containing=True)
    assert [phrase.text for phrase in gone.forgotten] == ["our product Zorblax"]
    assert list(inkling.learned("lecture")) == []


def test_health_and_families(inkling: InklingClient) -> None:
    assert inkling.live()
    assert inkling.health().ready
    assert inkling.health().models["next-word"] == "ready"
    lstm, gan = inkling.families()
    assert "hidden" in lstm.config_schema["properties"]
    assert gan.variants[0].modality == "number"


def test_refusals_carry_the_problem_document(inkling: InklingClient) -> None:
    with pytest.raises(Invalid) as caught:
        inkling.predict("x", top_k=99)
    error = caught.value
    assert (error.status, error.code) == (422, "invalid")
    assert error.errors[0].pointer == "/top_k"
    assert error.request_id
    with pytest.raises(NotFound, match="next-word"):  # the detail names what there is
        inkling.predict("x", model="none")
    with pytest.raises(NotFound):
        inkling.model("../health")


def test_a_model_of_numbers(inkling: InklingClient) -> None:
    job = inkling.train("gan", "gaussian", budget={"steps": 20}, config={"evaluations": 1}, seed=1)
    job.wait(60)
    drawn = inkling.numbers("gaussian", 5, seed=1)
    assert len(drawn.samples) == 5
    assert 0 < drawn.ks_distance < 1
    assert inkling.grid(model="gaussian").width > 100
    assert job.sample(job.samples()[-1].step).width > 100
    with pytest.raises(UnexpectedAnswer, match="numbers"):
        inkling.generate(model="gaussian")
    measured = inkling.evaluate(model="gaussian", timeout=60)  # the service makes a job of it
    assert measured.ks_distance is not None
    assert 0 < measured.ks_distance < 1


def test_the_bar_shows_loss_quality_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    job = {"status": "running", "progress": 0.25, "metrics": {"loss": 0.123456, "perplexity": 9.5, "split": "test"}}
    with progress.bar(True, "lecture", console) as show:
        show({"status": "queued", "progress": 0.0, "queue_position": 2})
        show(job | {"queue_position": None, "eta_seconds": 61.2})
        show({"status": "running"})  # as an event says it
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "lecture running" in shown
    assert "25%" in shown
    assert "loss 0.1235  perplexity 9.5  1:01 left" in shown


async def test_awaited(
    awaited: AsyncInklingClient, trained: JobHandle, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert (await awaited.predict("in the beginning")).words[0] == "of"
    assert len([piece async for piece in awaited.stream("in the beginning", words=3)]) == 3
    picture = (await awaited.generate(seed=7))[0]
    assert picture.image.size == (28, 28)
    assert (await awaited.score(picture.image)).realness > 0

    job = await awaited.job(trained.id)
    events = [event async for event in job.events(progress=True)]
    assert [event.data["epoch"] for event in events if event.event == "metrics"] == [100, 200, 300, 400, 500]
    assert "lecture succeeded" in capsys.readouterr().out
    assert (await job.wait(progress=True)).metrics["top1"] == 1.0
    assert str(job.result) == "lecture@1"
    assert await job.history() == trained.history()
    assert job.id in [each.id async for each in awaited.jobs(model="lecture")]

    file = await awaited.export("lecture", 1, tmp_path)
    assert (await awaited.import_version(file)).duplicate
    assert (await awaited.evaluate(text="i like dog", model="lecture")).top1 is not None
    with pytest.raises(NotFound, match="none"):
        await awaited.export("none", 1, tmp_path)


async def test_awaited_cancel(awaited: AsyncInklingClient) -> None:
    job = await awaited.train("gan", "gaussian", budget={"minutes": 5}, model="dropped")
    with pytest.raises(WaitTimeout):
        await job.wait(0.2)
    assert repr(job) == f"<AsyncJobHandle {job.id}: {job.status}>"
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.wait(60)


async def test_pages_are_followed(service: Service, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("inkling_client.calls.data.PAGE", 2)
    names = [each["id"] for each in service.client.get("/datasets").json()["datasets"]]
    assert len(names) > 4
    with InklingClient(url) as inkling:
        assert [each.id for each in inkling.datasets()] == names
    async with AsyncInklingClient(url) as awaited:
        assert [each.id async for each in awaited.datasets()] == names

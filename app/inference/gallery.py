"""Gallery: what can be done with pictures beyond drawing one: walks, neighbours, judging one that is sent, and which
training pictures it is like. Must not know: HTTP, jobs, torch.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from app.core.errors import Busy, Conflict, Invalid
from app.core.telemetry import timed
from app.core.uploads import Upload
from app.datasets.service import Datasets
from app.inference import asked, numbers, pictures
from app.inference.album import Album, is_known, tag_of
from app.inference.picture_schemas import (
    NEAREST_TYPES,
    GenerateRequest,
    InterpolateRequest,
    NearestRequest,
    NearestResponse,
    ScoreResponse,
    TrainingPicture,
    Wanted,
)
from app.inference.pictures import Format, Look
from app.inference.schemas import ModelReference
from app.inference.service import Draw, Drawn, Loaded, ModelHost
from ml.artifact import Manifest
from ml.data import store
from ml.data.images import resize
from ml.data.store import Labels, Pictures
from ml.latents import Latent, Seed, walk
from ml.process import lower_thread_priority
from ml.serve.animation import MEDIA_TYPES, animate
from ml.serve.density import Density
from ml.serve.images import Sampler, encode, from_pixels
from ml.serve.nearest import Nearest, nearest

QUICK = 16 * 1024  # pixels that are a PNG in less time than it takes to hand them to a thread
AT_ONCE = 2  # that are made at the same time, so that answers stay fast
MOST_WAITING = 16  # that are made or wait
RETRY_AFTER = 3  # seconds
STRIDE = 16  # frames drawn before others get their turn
MOST_PIXELS = 16_000_000  # of an animation, all frames together
SCORE_FIELDS = ("model", "label")

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """Bytes to be answered, and what of."""

    content: bytes
    media: str
    latents: Sequence[Latent]
    model: Loaded[Sampler] | Loaded[Density]


@dataclass(frozen=True)
class Shown:
    """One picture with the ETag of its address; no content where the caller has it."""

    content: bytes | None
    tag: str
    latent: Latent
    model: Loaded[Sampler]


class Gallery:
    """What takes long is made by threads of its own, which give way to answers, and only so much waits for them."""

    def __init__(self, host: ModelHost, datasets: Datasets) -> None:
        self.host, self.datasets, self.album = host, datasets, Album(host)
        self._threads = ThreadPoolExecutor(AT_ONCE, "gallery", initializer=lower_thread_priority)
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    # -- drawn -------------------------------------------------------------------------------------------------------

    async def generate(self, body: GenerateRequest, accept: str) -> Made:
        """Raises Invalid, NotAcceptable, and what `ModelHost` raises."""
        density = await self.host.density(body.model)
        if density is not None:
            content, media, seed = await numbers.generate(self.host, density, body, accept)
            return Made(content, media, (Seed(seed),), density)
        latents = asked.latents_of(body)
        media = asked.container_of(accept, body, len(latents))
        as_json = media == "application/json"
        drawn, loaded, look = await self._draw(body, latents, with_realness=as_json)

        def make() -> bytes:
            if as_json:
                return pictures.as_json(drawn, look, body.format)
            if media == "application/zip":
                return pictures.archive(drawn, look, body.format)
            return pictures.sheet(drawn, look, body.columns, _format(media))

        side = loaded.predictor.size * body.scale
        with timed("encode"):
            content = await _encoded(make, len(latents) * side * side, media == "image/png")
        return Made(content, media, latents, loaded)

    async def picture(self, wanted: Wanted, address: str, format: Format, if_none_match: str) -> Shown:
        """One picture alone, the same bytes as /generate gives. Raises Invalid, and what `ModelHost` raises."""
        latent = asked.parsed(address)
        loaded = await self.host.sampler(wanted.model)
        label = self._label(loaded, wanted.label)
        tag = tag_of(loaded, latent, format, label, wanted.truncation, wanted.scale)
        if is_known(tag, if_none_match):
            return Shown(None, tag, latent, loaded)
        (drawn,) = await self.host.draw(loaded, Draw((latent,), wanted.truncation, label))
        make = partial(pictures.one, drawn, _look(loaded, wanted), format)
        with timed("encode"):
            content = await _encoded(make, (loaded.predictor.size * wanted.scale) ** 2, format == "png")
        return Shown(content, tag, latent, loaded)

    async def interpolate(self, body: InterpolateRequest) -> Made:
        """An animation. Raises Invalid when it would be too large, Busy, and what `ModelHost` raises."""
        latents = walk(asked.stops_of(body), body.frames, body.loop)
        loaded = await self.host.sampler(body.model)
        side = loaded.predictor.size * body.scale
        most = MOST_PIXELS // side**2
        if body.frames > most:
            raise Invalid(
                f"{body.frames} frames of {side} pixels a side are too many; at most {most} at this scale",
                pointer="/frames",
            )
        label = self._label(loaded, body.label)
        if label is None:  # one class all the way: there is nothing between two
            label = loaded.predictor.label_of(latents[0])
        drawn: Drawn = []
        for start in range(0, len(latents), STRIDE):
            part = tuple(latents[start : start + STRIDE])
            drawn += await self.host.draw(loaded, Draw(part, body.truncation, label), promised=start > 0)
        milliseconds = 10 * round(100 / body.fps)
        frames, stops = [picture.pixels for picture in drawn], asked.stops_of(body)
        notes = _look(loaded, body).notes(drawn[:1]) | {"seed": ",".join(map(str, stops))}
        with timed("encode"):
            made = partial(animate, frames, body.format, body.scale, milliseconds, body.loop, notes)
            return Made(await self._make(made), MEDIA_TYPES[body.format], stops, loaded)

    # -- judged and compared -----------------------------------------------------------------------------------------

    async def score(self, upload: Upload) -> ScoreResponse:
        """Raises Invalid, TooLarge, UnsupportedMedia as reading finds them, Busy, and what `ModelHost` raises."""
        for field in upload.fields:
            if field not in SCORE_FIELDS:
                raise Invalid(f"there is no field {field!r}; there are file, model, label", pointer=f"/{field}")
        loaded = await self.host.sampler(upload.fields.get("model") or "pictures")
        sampler = loaded.predictor
        label = self._label(loaded, upload.fields.get("label") or None)
        with timed("decode"):
            pixels = await self._make(partial(self.datasets.reader.picture, upload.folder, upload.files[0]))

        def judge() -> tuple[float, int | None]:
            seen = from_pixels(resize(pixels[None], sampler.size, sampler.channels)[0])
            return sampler.realness_of_any(seen) if label is None else (sampler.realness(seen, label), label)

        with timed("model"):
            realness, judged = await to_thread.run_sync(judge)
        shown = None if judged is None else sampler.labels[judged]
        return ScoreResponse(realness=realness, label=shown, model=_reference(loaded))

    async def nearest(self, body: NearestRequest, accept: str) -> Made:
        """Raises Conflict when the data set is not here, Invalid, Busy, and what `ModelHost` raises."""
        latent = asked.one_of(body)
        media = asked.container(accept, NEAREST_TYPES)
        (drawn,), loaded, look = await self._draw(body, (latent,), with_realness=media == "application/json")
        with timed("search"):
            source, found, names = await self._make(
                partial(self._search, loaded.predictor.manifest, drawn.pixels, body.count, loaded.reference)
            )

        def make() -> bytes:
            if media != "application/json":
                return pictures.sheet([drawn], look, None, _format(media), beside=found.pictures)
            answer = NearestResponse(
                image=look.image(drawn, "png"),
                nearest=_listed(found, names, look.scale),
                held_out_distance=found.held_out_distance,
                dataset=source,
                model=look.model,
            )
            return answer.model_dump_json().encode()

        with timed("encode"):
            return Made(await to_thread.run_sync(make), media, (latent,), loaded)

    def _search(
        self, manifest: Manifest, picture: Pictures, count: int, reference: str
    ) -> tuple[str, Nearest, list[str | None]]:
        """The data set's id, what was found in it, and the class of each."""
        source, folder = self._dataset(manifest, reference)
        try:
            images, labels = store.read_images(folder)
            found = nearest(picture, images, count)
        except FileNotFoundError as error:  # deleted at this moment
            raise _gone(manifest, reference) from error
        return source, found, _names(found, labels, self.datasets.get(source).classes)

    def _dataset(self, manifest: Manifest, reference: str) -> tuple[str, Path]:
        """The id and folder of what a version was trained on; a built-in one that was not used yet is made now."""
        name = self.datasets.trained_on(manifest.dataset)
        if name is not None and self.datasets.prepared(name).sha256 == manifest.dataset.sha256:
            return name, self.datasets.path(name)
        raise _gone(manifest, reference)

    # -- shared ------------------------------------------------------------------------------------------------------

    async def _draw(
        self, wanted: Wanted, latents: Sequence[Latent], with_realness: bool = False
    ) -> tuple[Drawn, Loaded[Sampler], Look]:
        loaded = await self.host.sampler(wanted.model)
        label = self._label(loaded, wanted.label)
        drawn = await self.host.draw(loaded, Draw(tuple(latents), wanted.truncation, label, with_realness))
        return drawn, loaded, _look(loaded, wanted)

    def _label(self, loaded: Loaded[Sampler], label: str | int | None) -> int | None:
        return asked.label_index(loaded.predictor.labels, label, loaded.name)

    async def _make(self, make: Callable[[], T]) -> T:
        """Raises Busy when too many wait already, and what `make` does."""
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} animations, scores or searches are under way", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, make)
        finally:
            self._waiting -= 1


async def _encoded(make: Callable[[], bytes], pixels: int, png: bool) -> bytes:
    """What `make` makes; at once where a thread would take longer to be woken."""
    return make() if png and pixels <= QUICK else await to_thread.run_sync(make)


def _format(media: str) -> Format:
    return "webp" if media == "image/webp" else "png"


def _reference(loaded: Loaded[Sampler]) -> ModelReference:
    return ModelReference(name=loaded.name, version=loaded.version)


def _look(loaded: Loaded[Sampler], wanted: Wanted) -> Look:
    label = None if wanted.label is None else str(wanted.label)
    return Look(_reference(loaded), wanted.scale, wanted.truncation, label)


def _gone(manifest: Manifest, reference: str) -> Conflict:
    info = manifest.dataset
    return Conflict(
        f"the data set {info.title!r} that {reference} was trained on is not here (SHA-256 {info.sha256[:16]}…); "
        "upload the same pictures again with POST /datasets, and this works",
        code="dataset_gone",
    )


def _names(found: Nearest, labels: Labels | None, classes: Sequence[str]) -> list[str | None]:
    if labels is None or not classes:
        return [None] * len(found.indices)
    return [classes[int(labels[index])] for index in found.indices]


def _listed(found: Nearest, names: Sequence[str | None], scale: int) -> list[TrainingPicture]:
    rows = zip(found.indices, found.distances, names, found.pictures, strict=True)
    return [
        TrainingPicture(
            index=index,
            distance=distance,
            label=name,
            b64_json=base64.b64encode(encode(pixels, "png", {"Software": "Inkling"}, scale)).decode(),
        )
        for index, distance, name, pixels in rows
    ]

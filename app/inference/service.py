"""ModelHost: the versions that answer, kept in memory, swapped by one reference. Must not know: HTTP, jobs, torch."""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar, cast

from app.core.errors import Conflict, Invalid, ServiceError
from app.core.metrics import Metrics
from app.core.shedding import Queue
from app.core.telemetry import timing
from app.inference.batcher import MOST, Answered, Batcher
from app.inference.knowing import Knowing, Taught
from app.registry.reference import parse
from app.registry.service import STARTERS, Registry
from ml import artifact
from ml.artifact import ArtifactError
from ml.latents import Latent
from ml.mixture import Part
from ml.objects import Away
from ml.process import lower_thread_priority
from ml.serve.density import Density, Draws
from ml.serve.images import Pixels, Sampler, from_pixels, to_pixels
from ml.serve.int8 import refusal
from ml.serve.state_cache import StateCache
from ml.serve.text import Answer, Heard, NextWord, Query
from ml.serve.warm import open_warm

log = logging.getLogger(__name__)
PATIENCE = 10  # times as long as for a word one may wait for a picture, which nobody types against
KEPT = 16  # versions in memory beside those loaded before all; the least recently used goes first

P = TypeVar("P", NextWord, Sampler, Density)


@dataclass(frozen=True)
class Loaded(Generic[P]):
    """One version in memory."""

    name: str
    version: int
    predictor: P

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Draw:
    """Pictures asked of a sampler."""

    latents: tuple[Latent, ...]
    truncation: float = 1.0
    label: int | None = None  # None: each latent's own
    with_realness: bool = False


@dataclass(frozen=True)
class Picture:
    """One that was drawn; `realness` if it was asked for."""

    latent: Latent
    pixels: Pixels
    label: str | None
    realness: float | None


AnyLoaded = Loaded[NextWord] | Loaded[Sampler] | Loaded[Density]
Drawn = list[Picture]


class ModelHost:
    """Hands out predictors by reference ("name" or "name@3") and follows the registry's active versions.

    A new active version is loaded and warmed up on another thread, then one reference is swapped: requests see the old
    one or the new one, never a mixture. A version that does not load leaves the old one answering and is said in
    `problems`.
    """

    def __init__(
        self,
        registry: Registry,
        taught: Taught,
        queue_size: int,
        deadline: float,
        reload_seconds: float,
        metrics: Metrics | None = None,
        queue_seconds: float = float("inf"),
        preload: Sequence[str] = tuple(STARTERS),
        int8: bool = False,
    ) -> None:
        self.preload, self.int8 = preload, int8
        self.registry, self.deadline, self.reload_seconds = registry, deadline, reload_seconds
        self.queue_size, self.metrics = queue_size, metrics or Metrics()
        self.problems: dict[str, str] = {}
        self._said_away: set[str] = set()
        self._knowing = Knowing(taught)
        self._active: dict[str, int] = {}
        self._loaded: OrderedDict[tuple[str, int], AnyLoaded] = OrderedDict()
        self._lock = threading.Lock()  # around _loaded
        self._swap = threading.Lock()  # from reading which version is active to answering from it
        self._stop = threading.Event()
        self._states = StateCache()  # one for all versions, so that its bound is the process's
        # At an equal share of a busy core, loading would hold up answers by several times what they take.
        self._loader = ThreadPoolExecutor(1, "model-loader", initializer=lower_thread_priority)
        meters = [self.metrics.meter(name) for name in ("text", "images", "numbers")]
        longer = PATIENCE * queue_seconds
        self._text: Batcher[Loaded[NextWord], Heard, Answer] = Batcher(
            "text",
            _predict,
            queue_size,
            MOST,
            meters[0],
            queue_seconds,
            lambda each: each.query.words * each.query.beams,
        )
        self._images: Batcher[Loaded[Sampler], Draw, Drawn] = Batcher(
            "images", _draw, queue_size, 1, meters[1], longer, lambda draw: len(draw.latents)
        )
        self._numbers: Batcher[Loaded[Density], int, Draws] = Batcher(
            "numbers", _draw_numbers, queue_size, 1, meters[2], longer
        )
        self.queues: dict[str, Queue] = {"text": self._text, "images": self._images, "numbers": self._numbers}
        self._follower = threading.Thread(target=self._follow, name="model-reload", daemon=True)

    def start(self) -> None:
        """Load what is to be in memory and begin to follow the registry. A damaged model is said, not raised."""
        self._refresh()
        self._follower.start()

    def close(self) -> None:
        self._stop.set()
        if self._follower.is_alive():
            self._follower.join(timeout=10)
        self._loader.shutdown()
        self._text.close()
        self._images.close()
        self._numbers.close()

    # -- answers -----------------------------------------------------------------------------------------------------

    async def predict(self, model: str | Loaded[NextWord], query: Query) -> tuple[Answer, Loaded[NextWord]]:
        """`model` is a reference, or what answered before: an answer in parts goes on although it was deleted."""
        loaded = model if isinstance(model, Loaded) else await self.taught(await self.next_word(model, query.parts))
        heard, answer = _hear(loaded.predictor, query)
        if answer is None:
            answer = await self._text.submit(loaded, heard, self.deadline, promised=isinstance(model, Loaded))
        return answer, loaded

    def at_hand(self, reference: str, parts: Sequence[Part]) -> Loaded[NextWord] | None:
        """What `predict` asks, where that is in memory and made; None where it takes longer, or is an error."""
        try:
            name, version = parse(reference)
        except Invalid:
            return None
        number = version or self._active.get(name)
        loaded = self._loaded.get((name, number)) if number else None
        if loaded is None or not isinstance(loaded.predictor, NextWord) or "lstm" not in parts:
            return None
        known = self._knowing.ready(name, loaded.predictor)
        if known is loaded.predictor:
            return loaded
        return None if known is None else replace(loaded, predictor=known)

    def put(
        self, loaded: Loaded[NextWord], query: Query, gone: Callable[[], bool]
    ) -> "Answer | asyncio.Future[Answered[Answer]]":
        """`predict` for who cannot wait there: the answer, or what it comes in; see `Batcher.put`."""
        heard, answer = _hear(loaded.predictor, query)
        return self._text.put(loaded, heard, self.deadline, gone=gone) if answer is None else answer

    async def next_word(self, reference: str, parts: Sequence[Part]) -> Loaded[NextWord]:
        """What foretells words by these parts. Raises NotFound, Invalid (it draws pictures, lacks a part), Conflict."""
        if set(parts) == {"learned"}:
            raise Invalid("what was learned speaks only where its words match; name another part too", pointer="/parts")
        loaded = cast(Loaded[NextWord], await self._get(reference, "text"))
        if loaded.predictor.mixture is None and "lstm" not in parts:
            raise Invalid(f"{loaded.reference} is an LSTM alone; parts must name it", pointer="/parts")
        return loaded

    async def taught(self, loaded: Loaded[NextWord]) -> Loaded[NextWord]:
        """The version with what was learned under its model's name."""
        name, predictor = loaded.name, loaded.predictor
        known = self._knowing.ready(name, predictor)
        if known is None:
            known = await asyncio.to_thread(self._knowing.make, name, predictor)
        return loaded if known is predictor else replace(loaded, predictor=known)

    async def sampler(self, reference: str) -> Loaded[Sampler]:
        """What draws pictures. Raises NotFound, Invalid (it predicts words), Conflict (it draws numbers, damaged)."""
        return cast(Loaded[Sampler], await self._get(reference, "image"))

    def in_memory(self, name: str, version: int | None) -> Loaded[Sampler] | None:
        """What `sampler` gives at once, of the active version for None; None where it would have to look further."""
        number = self._active.get(name) if version is None else version
        loaded = self._loaded.get((name, number)) if number is not None else None
        return loaded if loaded is not None and isinstance(loaded.predictor, Sampler) else None

    async def draw(self, loaded: Loaded[Sampler], draw: Draw, promised: bool = False) -> Drawn:
        """`promised`: more pictures of an answer that was begun, which is not refused any more."""
        return await self._images.submit(loaded, draw, self.deadline, promised)

    async def density(self, reference: str) -> Loaded[Density] | None:
        """What draws single numbers; None for a model of another kind. Raises NotFound, Conflict (damaged)."""
        loaded = await self._get(reference, None)
        return loaded if isinstance(loaded.predictor, Density) else None

    async def numbers(self, loaded: Loaded[Density], seed: int) -> Draws:
        return await self._numbers.submit(loaded, seed, self.deadline)

    def answering(self) -> dict[str, int]:
        """The versions that answer when none is named, of the models that were asked for."""
        return dict(self._active)

    def ready(self) -> dict[str, str]:
        """What each of the models that are loaded before all says: 'ready', or why not. One that does not exist yet
        says nothing, but a starter has to."""
        return {
            name: self.problems.get(name, "ready" if name in self._active else "no version yet")
            for name in self.preload
            if name in STARTERS or name in self._active or name in self.problems
        }

    # -- loading -----------------------------------------------------------------------------------------------------

    async def _get(self, reference: str, modality: Literal["text", "image"] | None) -> AnyLoaded:
        """The version of a reference, of this kind; of any kind for None."""
        name, version = parse(reference)
        version = version or self._active.get(name)
        loaded = self._loaded.get((name, version)) if version else None
        if loaded is None:
            loaded = await asyncio.to_thread(self._load_now, name, version, modality)
        if modality is not None and loaded.predictor.manifest.modality != modality:
            raise _wrong_kind(name, loaded.predictor.manifest.modality, modality)
        return loaded

    def _load_now(self, name: str, version: int | None, modality: str | None) -> AnyLoaded:
        """A version that is not in memory yet: the one named, or else the active one, which is followed from now on."""
        with self._swap:
            model, _ = self.registry.get(name)
            if modality is not None and model.modality != modality:
                raise _wrong_kind(name, model.modality, modality)
            wanted = version or model.active
            if wanted is None:
                raise Conflict(f"no version of {name!r} is active; choose one with PUT /models/{name}/active")
            self.registry.version(name, wanted)
            try:
                loaded = self.load(name, wanted)
            except ArtifactError as error:
                self.metrics.failed_loads.labels(name).inc()
                self.registry.version(name, wanted)  # deleted while it was read: there is no such version
                raise Conflict(
                    f"{name}@{wanted} is damaged ({error}); activate another version with PUT /models/{name}/active",
                    code="damaged_version",
                ) from error
            if version is None:
                self._active[name] = wanted
            return loaded

    def load(self, name: str, version: int) -> AnyLoaded:
        """Bring a version into memory: verify its hashes, load it, warm it up. Raises ArtifactError."""
        key = (name, version)
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
                return self._loaded[key]
        folder = self.registry.path(name, version)
        predictor = self._loader.submit(
            lambda: open_warm(folder, artifact.verify(folder), self._states, self.int8)
        ).result()
        if self.int8 and isinstance(predictor, NextWord):
            why = refusal(predictor.manifest)
            log.info("%s@%d answers with %s", name, version, "int8" if why is None else f"float32: {why}")
        loaded = cast(AnyLoaded, Loaded(name, version, predictor))
        with self._lock:
            self._loaded[key] = loaded
            needed = {(n, v) for n, v in self._active.items() if n in self.preload} | {key}
            for old in list(self._loaded):
                if len(self._loaded) <= KEPT + len(self.preload):
                    break
                if old not in needed:
                    del self._loaded[old]
        return loaded

    def activate(self, name: str, version: int) -> None:
        """Load `version`, and only then let it answer. Raises Invalid when it does not load: the old one stays."""
        self.registry.version(name, version)
        with self._swap:
            self._try(name, version, "/version")
            self.registry.activate(name, version)
            self._answer_from(name, version)

    def rollback(self, name: str) -> None:
        """Load the version that answered before, and only then let it. Raises Conflict when there is none, Invalid."""
        with self._swap:
            version = self.registry.previous(name)
            self._try(name, version)
            self.registry.rollback(name, expected=version)
            self._answer_from(name, version)

    def _try(self, name: str, version: int, pointer: str | None = None) -> None:
        try:
            self.load(name, version)
        except ArtifactError as error:
            self.metrics.failed_loads.labels(name).inc()
            raise Invalid(
                f"{name}@{version} does not load: {error}. The version that answered goes on; delete the damaged one "
                f"with DELETE /models/{name}/versions/{version}",
                pointer=pointer,
            ) from error

    def _answer_from(self, name: str, version: int) -> None:
        if self._active.get(name, version) != version:
            self.metrics.swaps.labels(name).inc()
        self._active[name] = version
        self.problems.pop(name, None)

    # -- following ---------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        away = False
        while not self._stop.wait(self.reload_seconds):
            try:
                self._refresh()
            except Exception as error:  # a locked or unreachable database: what is in memory goes on answering
                if not away:
                    log.error("cannot look for new versions (%s); trying again", error)
                away = True
            else:
                if away:
                    log.info("looking for new versions again")
                away = False

    def refresh(self) -> None:
        """Do now what is done every `reload_seconds`: forget deleted versions, follow the active ones."""
        self._refresh()

    def follow_learned(self) -> None:
        """See now what was learned or forgotten."""
        self._knowing.follow()

    def _refresh(self) -> None:
        self._knowing.follow()
        away = self._fetch()
        with self._swap:
            active, versions = self.registry.present()
            self._forget_deleted(active, versions)
            for name, version in active.items():
                if not self._follows(name) or self._is_damaged(name, version) or name in away:
                    continue
                if self._active.get(name) != version:
                    try:
                        self.load(name, version)
                    except ArtifactError as error:
                        self.metrics.failed_loads.labels(name).inc()
                        self.problems[name] = f"{name}@{version} does not load: {error}"
                        log.error("%s", self.problems[name])
                        continue
                self._answer_from(name, version)

    def _follows(self, name: str) -> bool:
        return name in self.preload or name in self._active  # others are loaded when first asked for

    def _is_damaged(self, name: str, version: int) -> bool:
        return self.problems.get(name, "").startswith(f"{name}@{version} ")

    def _fetch(self) -> set[str]:
        """Where versions are kept in an object store, have here what is to answer, while nobody waits for it.

        Returns the models that cannot be fetched now: what they answer with goes on, and they are tried again.
        """
        away: set[str] = set()
        if self.registry.volume.objects is None:
            return away
        for name, version in self.registry.active().items():
            if not self._follows(name) or self._active.get(name) == version or self._is_damaged(name, version):
                continue
            try:
                self.registry.path(name, version)
            except (ArtifactError, ServiceError):  # loading it says so; or it was deleted just now
                continue
            except Away as error:
                away.add(name)
                if name not in self._said_away:
                    log.error("%s@%d cannot be fetched: %s", name, version, error)
                self.problems[name] = f"version {version} of {name} cannot be fetched: {error}"
        self._said_away = away
        return away

    def _forget_deleted(self, active: dict[str, int], versions: set[tuple[str, int]]) -> None:
        """Drop what is no longer in the registry. Requests that wait for an answer of it hold it themselves."""
        with self._lock:
            for key in self._loaded.keys() - versions:
                del self._loaded[key]
                self.registry.forget_copy(*key)
        for name in self._active.keys() - active.keys():
            del self._active[name]
            self.problems.pop(name, None)


def _wrong_kind(name: str, has: str, wanted: str) -> ServiceError:
    if has == "number":
        return Conflict(f"the model {name!r} draws single numbers; POST /generate shows how they are spread")
    does = {"text": "draws pictures; it predicts no words", "image": "predicts words; it draws no pictures"}[wanted]
    return Invalid(f"the model {name!r} {does}", pointer="/model")


def _hear(predictor: NextWord, query: Query) -> tuple[Heard, Answer | None]:
    """What was asked, and the answer where nothing is to be read: it waits for no model, and has no use for a thread.

    Those who need one are then asked together more often: behind a letter most texts need none.
    """
    began = time.perf_counter()
    heard = predictor.hear(query)
    answer = predictor.at_once(heard)
    if answer is not None:
        timing("model", time.perf_counter() - began)
    return heard, answer


def _predict(loaded: Loaded[NextWord], asked: list[Heard]) -> list[Answer]:
    return loaded.predictor.answer_heard(asked)


def _draw_numbers(loaded: Loaded[Density], seeds: list[int]) -> list[Draws]:
    return [loaded.predictor.draw(seed) for seed in seeds]


def _draw(loaded: Loaded[Sampler], draws: list[Draw]) -> list[Drawn]:
    return [[_picture(loaded.predictor, latent, draw) for latent in draw.latents] for draw in draws]


def _picture(sampler: Sampler, latent: Latent, draw: Draw) -> Picture:
    label = sampler.label_of(latent, draw.label)
    pixels = to_pixels(sampler.draw(latent, draw.truncation, label))
    realness = sampler.realness(from_pixels(pixels), label) if draw.with_realness else None
    return Picture(latent, pixels, None if label is None else sampler.labels[label], realness)

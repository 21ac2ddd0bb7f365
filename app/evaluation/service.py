"""Evaluations: how well a version does on a text of the caller's or a data set. What is short is worked out at once, by
a thread of its own that gives way to answers; the rest becomes a job. Must not know: HTTP, torch.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from anyio import to_thread

from app.core.errors import Busy, Conflict, Invalid, NotFound, NotReady, TooLarge
from app.core.tables import Job, Model
from app.core.telemetry import timed
from app.datasets.service import Datasets
from app.evaluation.schemas import MOST_LISTED, EvaluateRequest, EvaluateResponse, TokenLogProbability
from app.inference.schemas import ModelReference
from app.inference.service import Loaded, ModelHost
from app.registry.reference import parse
from app.training.evaluations import evaluation
from app.training.service import Jobs
from ml.data.store import DatasetError, DatasetInfo
from ml.mixture import Part
from ml.process import lower_thread_priority
from ml.serve import evaluate
from ml.serve.evaluate import NothingKnown, Said, Split
from ml.serve.text import NextWord

MOST_BYTES = 1 << 20  # of a text that is scored at once
MOST_BODY = 4 * MOST_BYTES  # of a request: JSON may write a letter with six
MOST_SCORED = 20_000  # tokens; as many as a card's figures are of, and some seconds of work
MOST_WAITING = 16
RETRY_AFTER = 5  # seconds

T = TypeVar("T")


class Evaluations:
    """One at a time is worked on, and only so much waits for its turn."""

    def __init__(self, host: ModelHost, datasets: Datasets, jobs: Jobs) -> None:
        self.host, self.datasets, self.registry, self.jobs = host, datasets, host.registry, jobs
        self._thread = ThreadPoolExecutor(1, "evaluation", initializer=lower_thread_priority)
        self._waiting = 0
        self._stopping = threading.Event()

    def close(self) -> None:
        self._stopping.set()
        self._thread.shutdown(cancel_futures=True)

    async def evaluate(self, body: EvaluateRequest) -> EvaluateResponse | Job:
        """The figures, or the job that will have them.

        Raises Invalid, TooLarge (the text), NotFound, NotReady, Conflict (no active version, damaged, its data is
        gone), Busy (too many wait, or the queue of jobs is full).
        """
        name, _ = parse(body.model)
        model, _ = await to_thread.run_sync(self.registry.get, name)
        if model.modality != "text":
            return await to_thread.run_sync(self._of_pictures, body, model)
        _check_source(body)
        loaded = await self.host.next_word(body.model, body.parts)
        if "learned" in body.parts:
            loaded = await self.host.taught(loaded)
        work = self._of_text if body.dataset is None else self._of_dataset
        return await self._work(partial(work, loaded, body))

    # -- texts -------------------------------------------------------------------------------------------------------

    def _of_text(self, loaded: Loaded[NextWord], body: EvaluateRequest) -> EvaluateResponse:
        assert body.text is not None
        return self._score(loaded, body, body.text.split("\n"), "all", "/text")

    def _of_dataset(self, loaded: Loaded[NextWord], body: EvaluateRequest) -> EvaluateResponse | Job:
        assert body.dataset is not None
        with _pointing_at_dataset():
            _check_modality(loaded.name, "text", body.dataset, self.datasets.get(body.dataset))
            if self.datasets.prepared(body.dataset).counts["bytes"] > MOST_BYTES:
                if body.log_probabilities:
                    raise Invalid("so large a data set has too many; leave this out", pointer="/log_probabilities")
                return self._queue(loaded.name, loaded.version, body.dataset, body.parts)
            lines, split = evaluate.lines_of(self.datasets.path(body.dataset), loaded.predictor.manifest)
            return self._score(loaded, body, lines, split, "/dataset")

    def _score(
        self, loaded: Loaded[NextWord], body: EvaluateRequest, lines: Iterable[str], split: Split, pointer: str
    ) -> EvaluateResponse:
        predictor = loaded.predictor
        with timed("model"):
            try:
                reading = evaluate.read(predictor, lines, keep=body.log_probabilities)
            except NothingKnown as error:
                raise Invalid(
                    f"{loaded.reference} knows no word of it, so there is nothing to score", pointer=pointer
                ) from error
            found = evaluate.evaluate(predictor, reading, body.parts, MOST_SCORED, self._check_stopping)
        return EvaluateResponse(
            **found.metrics,
            split=split,
            parts=[part for part in body.parts if part in predictor.parts],
            log_probabilities=[_listed(said) for said in found.said[:MOST_LISTED]] if body.log_probabilities else None,
            model=ModelReference(name=loaded.name, version=loaded.version),
        )

    def _check_stopping(self, _scored: int, _wanted: int) -> None:
        if self._stopping.is_set():
            raise NotReady("the service is stopping", retry_after=2)

    async def _work(self, work: Callable[[], T]) -> T:
        """Raises Busy when too many wait already, and what `work` does."""
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} texts are being scored or wait for it", retry_after=RETRY_AFTER)
        self._waiting += 1
        try:
            context = copy_context()  # the request's timings
            return await asyncio.get_running_loop().run_in_executor(self._thread, context.run, work)
        finally:
            self._waiting -= 1

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _of_pictures(self, body: EvaluateRequest, model: Model) -> Job:
        """Or of numbers. Raises Invalid, NotFound, Conflict, Busy."""
        for field in ("text", "parts", "log_probabilities"):
            if field in body.model_fields_set:
                raise Invalid(f"the model {model.name!r} predicts no words: leave {field} out", pointer=f"/{field}")
        _, version = parse(body.model)
        version = version or model.active
        if version is None:
            raise Conflict(f"no version of {model.name!r} is active; name one, like {model.name}@1")
        trained_on = DatasetInfo.model_validate(self.registry.version(model.name, version).card["dataset"])
        dataset = body.dataset or self.datasets.trained_on(trained_on)
        if dataset is None:
            raise Conflict(
                f"the data set {trained_on.title!r} that {model.name}@{version} was trained on is not here; upload it "
                "again with POST /datasets, or name another as dataset",
                code="dataset_gone",
            )
        with _pointing_at_dataset():
            _check_modality(model.name, model.modality, dataset, self.datasets.get(dataset))
        return self._queue(model.name, version, dataset, None)

    def _queue(self, name: str, version: int, dataset: str, parts: Sequence[Part] | None) -> Job:
        return self.jobs.queue(evaluation(self.registry.version(name, version), dataset, parts))


@contextmanager
def _pointing_at_dataset() -> Iterator[None]:
    """Turns what is wrong with a data set into Invalid; it may be deleted at any moment."""
    try:
        yield
    except NotFound as error:
        raise Invalid(error.detail, pointer="/dataset") from error
    except (DatasetError, FileNotFoundError) as error:
        raise Invalid(f"the data set cannot be read: {error}", pointer="/dataset") from error


def _check_source(body: EvaluateRequest) -> None:
    """Raises Invalid unless exactly one of text and dataset is given, and the text is one; TooLarge."""
    if body.text is None and body.dataset is None:
        raise Invalid("send a text, or the name of a data set as dataset", pointer="/text")
    if body.text is not None and body.dataset is not None:
        raise Invalid("text and dataset both say what to score: leave one out", pointer="/dataset")
    if body.text is not None and len(body.text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise TooLarge(f"the text is larger than {MOST_BYTES:,} bytes; upload it with POST /datasets and name it here")


def _check_modality(model: str, wanted: str, dataset: str, info: DatasetInfo) -> None:
    if info.modality != wanted:
        raise Invalid(
            f"the model {model!r} was trained on {wanted}s; {dataset!r} holds {info.modality}s", pointer="/dataset"
        )


def _listed(said: Said) -> TokenLogProbability:
    return TokenLogProbability(token=said.token, log_probability=said.log_probability, known=said.known)

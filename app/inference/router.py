"""POST /predict-next-word."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.core.direct import Done
from app.core.errors import ClientGone, Invalid, NotAcceptable
from app.core.negotiation import preferred
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.request import request_id
from app.core.telemetry import timing
from app.inference.batcher import Answered
from app.inference.schemas import Explanation, PredictRequest, PredictResponse, SourceLine
from app.inference.service import Loaded, ModelHost
from ml.latents import MAX_SEED
from ml.serve.text import Answer, NextWord, Query, Why

router = APIRouter(tags=["answers"], responses=PROBLEM_RESPONSES)

JSON, STREAM = "application/json", "text/event-stream"
ROUTE = "/predict-next-word"
MOST_WORDS = 8


@router.post(
    ROUTE,
    response_model=PredictResponse,
    response_model_exclude_none=True,
    summary="Suggest the next word, or complete a half-typed one",
    responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}, **problems(404, 406, 409, 504)},
)
async def predict_next_word(
    body: PredictRequest, request: Request, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """Empty text is the start of a sentence. Words the model never saw are listed, and are no error.

    Suggestions come with the capitals that belong there: at the start of a sentence, and those of a half-typed word. A
    Hangul syllable need not be complete. With `Accept: text/event-stream` the continuation comes word by word (`text`
    is what each adds, its space and marks too), then the whole answer as `event: done`.
    """
    host: ModelHost = request.app.state.host
    media = preferred(accept, (JSON, STREAM))
    if media is None:
        raise NotAcceptable(f"Accept must allow {JSON} or {STREAM}")
    if media == JSON:
        return Response(await respond(host, body), media_type=JSON)
    if body.beams > 1:
        raise Invalid("beams see a continuation as a whole: leave beams out, or Accept JSON", pointer="/beams")
    first, loaded = await host.predict(body.model, _query(body, 1))  # an error is a problem document, not a stream
    return StreamingResponse(_stream(body, host, first, loaded), media_type=STREAM)


async def respond(host: ModelHost, body: PredictRequest) -> bytes:
    """A PredictResponse as JSON. Raises ServiceError."""
    if body.words > MOST_WORDS:
        raise Invalid(f"words: at most {MOST_WORDS}, or send Accept: {STREAM} for more", pointer="/words")
    answer, loaded = await host.predict(body.model, _query(body, body.words))
    return await _content(answer, loaded)


def ask(host: ModelHost, body: PredictRequest, gone: Callable[[], bool], done: Done) -> bool:
    """`respond` without waiting: `done` is told what that returns or raises. False: it takes more than one answer of a
    version in memory. Raises Busy."""
    loaded = host.at_hand(body.model, body.parts)
    if loaded is None or body.words > MOST_WORDS or body.explain:
        return False

    def answered(future: "asyncio.Future[Answered[Answer]]") -> None:
        try:
            answer, began, ended = future.result()
            timing("queue", began - put_at)
            timing("model", ended - began)
            content = to_json(_said(answer, loaded))
        except Exception as error:
            done(None, error)
        else:
            done(content, None)

    put_at = time.perf_counter()
    found = host.put(loaded, _query(body, body.words), gone)
    if isinstance(found, Answer):
        done(to_json(_said(found, loaded)), None)
    else:
        found.add_done_callback(answered)
    return True


def _query(body: PredictRequest, words: int) -> Query:
    return Query(
        text=body.text,
        top_k=body.top_k,
        complete_partial=None if body.complete_partial == "auto" else body.complete_partial,
        words=words,
        temperature=body.temperature,
        seed=body.seed,
        sample_top_k=body.sample_top_k,
        top_p=body.top_p,
        beams=body.beams,
        punctuation=body.punctuation,
        blocklist=body.blocklist,
        reject=body.reject,
        context=body.context,
        parts=body.parts,
        explain=body.explain,
    )


def _said(answer: Answer, loaded: Loaded[NextWord]) -> dict[str, Any]:
    """A PredictResponse without reasons, straight: to build and check the models takes longer than a small model."""
    return {
        "predictions": [
            {
                "word": found.word,
                "probability": found.probability,
                "kind": found.kind,
                "replace_from": found.replace_from,
            }
            for found in answer.predictions
        ],
        "continuation": answer.continuation,
        "unknown_words": answer.unknown_words,
        "model": {"name": loaded.name, "version": loaded.version},
        "request_id": request_id.get(),
    }


async def _content(answer: Answer, loaded: Loaded[NextWord]) -> bytes:
    content = _said(answer, loaded)
    if not any(found.why for found in answer.predictions):
        return to_json(content)
    response = PredictResponse.model_validate(content)
    explanations = await run_in_threadpool(_explanations, answer, loaded.predictor)
    for prediction, explanation in zip(response.predictions, explanations, strict=True):
        prediction.why = explanation
    return response.model_dump_json(exclude_none=True).encode()


def _explanations(answer: Answer, predictor: NextWord) -> list[Explanation | None]:
    return [_explanation(found.why, predictor) if found.why else None for found in answer.predictions]


def _explanation(why: Why, predictor: NextWord) -> Explanation:
    return Explanation(
        parts=why.shares,
        words=" ".join(word or "…" for word in why.words) or None,
        sources=[SourceLine(line=line, text=text) for line, text in predictor.sources(why)],
        phrases=list(why.phrases) or None,
    )


async def _stream(
    body: PredictRequest, host: ModelHost, first: Answer, loaded: Loaded[NextWord]
) -> AsyncIterator[bytes]:
    """`event: word` for each word, then `event: done` with the answer.

    A word's `text` is what it adds: the word, a space before it, and the marks between, if they were asked for.
    """
    query, said = replace(_query(body, 1), complete_partial=False, reject=(), goes_on=True), first.continuation
    yield format_sse_event(event="word", data_str=json.dumps({"word": said, "text": said}))
    before = body.text[: first.predictions[0].replace_from] if first.predictions else body.text
    before += " " if before.strip() and not before[-1].isspace() else ""
    for turn in range(1, body.words):
        seed = None if body.seed is None else (body.seed + turn) % (MAX_SEED + 1)
        try:
            answer, _ = await host.predict(loaded, replace(query, text=before + said, seed=seed))
        except ClientGone:
            return
        added = answer.continuation
        said += added
        yield format_sse_event(event="word", data_str=json.dumps({"word": added.strip(), "text": added}))
    whole = await _content(Answer(first.predictions, said, first.unknown_words), loaded)
    yield format_sse_event(event="done", data_str=whole.decode())

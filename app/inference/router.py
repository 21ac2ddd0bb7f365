"""POST /predict-next-word and POST /generate."""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from app.core.errors import Invalid, NotAcceptable
from app.core.negotiation import preferred
from app.core.telemetry import request_id, timed
from app.inference import pictures
from app.inference.schemas import (
    GENERATE_RESPONSES,
    GenerateRequest,
    ModelReference,
    Prediction,
    PredictRequest,
    PredictResponse,
)
from app.inference.service import Draw, Loaded, ModelHost
from ml.latents import MAX_SEED
from ml.serve.text import Answer, NextWord, Query

router = APIRouter(tags=["answers"])

STREAM = "text/event-stream"
MOST_WORDS = 8
PICTURE_TYPES = ("image/png", "image/webp", "application/zip", "application/json")


def host_of(request: Request) -> ModelHost:
    host: ModelHost = request.app.state.host
    return host


HostDep = Annotated[ModelHost, Depends(host_of)]


@router.post(
    "/predict-next-word",
    response_model=PredictResponse,
    summary="Suggest the next word, or complete a half-typed one",
    responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}},
)
async def predict_next_word(
    body: PredictRequest, host: HostDep, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> PredictResponse | Response:
    """Empty text is the start of a sentence. Words the model never saw are listed, and are no error.

    With `Accept: text/event-stream` the continuation comes word by word, then the whole answer as `event: done`.
    """
    media = preferred(accept, ("application/json", STREAM))
    if media is None:
        raise NotAcceptable(f"Accept must allow application/json or {STREAM}")
    if media == STREAM:
        first, loaded = await host.predict(body.model, _query(body, 1))  # an error is a problem document, not a stream
        return StreamingResponse(_stream(body, host, first, loaded), media_type=STREAM)
    if body.words > MOST_WORDS:
        raise Invalid(f"words: at most {MOST_WORDS}, or send Accept: {STREAM} for more", pointer="/words")
    answer, loaded = await host.predict(body.model, _query(body, body.words))
    return _response(answer, loaded)


def _query(body: PredictRequest, words: int) -> Query:
    return Query(
        text=body.text,
        top_k=body.top_k,
        complete_partial=None if body.complete_partial == "auto" else body.complete_partial,
        words=words,
        temperature=body.temperature,
        seed=body.seed,
        blocklist=body.blocklist,
    )


def _response(answer: Answer, loaded: Loaded[NextWord]) -> PredictResponse:
    return PredictResponse(
        predictions=[Prediction(**vars(found)) for found in answer.predictions],
        continuation=answer.continuation,
        unknown_words=answer.unknown_words,
        model=ModelReference(name=loaded.name, version=loaded.version),
        request_id=request_id.get(),
    )


async def _stream(
    body: PredictRequest, host: ModelHost, first: Answer, loaded: Loaded[NextWord]
) -> AsyncIterator[bytes]:
    """`event: word` for each word, then `event: done` with the answer."""
    query, said = _query(body, 1), [first.continuation]
    yield format_sse_event(event="word", data_str=json.dumps({"word": first.continuation}))
    text = body.text[: first.predictions[0].replace_from] if first.predictions else body.text
    for turn in range(1, body.words):
        text = f"{text.rstrip()} {said[-1]} "
        seed = None if body.seed is None else (body.seed + turn) % (MAX_SEED + 1)
        following = replace(query, text=text, complete_partial=False, seed=seed)
        answer, _ = await host.predict(loaded, following)
        said.append(answer.continuation)
        yield format_sse_event(event="word", data_str=json.dumps({"word": answer.continuation}))
    whole = _response(Answer(first.predictions, " ".join(said), first.unknown_words), loaded)
    yield format_sse_event(event="done", data_str=whole.model_dump_json())


@router.post("/generate", response_class=Response, responses=GENERATE_RESPONSES, summary="Draw pictures")
async def generate(
    body: GenerateRequest, host: HostDep, accept: Annotated[str, Header(include_in_schema=False)] = ""
) -> Response:
    """The same seed is the same picture, whatever else is asked for beside it. `X-Seeds` says which were drawn."""
    seeds = _seeds(body)
    media = _container(accept, body, len(seeds))
    as_json = media == "application/json"
    drawn, loaded = await host.draw(body.model, Draw(seeds, body.truncation, with_realness=as_json))
    if body.label is not None and body.label not in loaded.predictor.labels:
        raise Invalid(f"the model {loaded.name!r} was trained without labels; leave label out", pointer="/label")
    model = ModelReference(name=loaded.name, version=loaded.version)

    def encode() -> bytes:
        if as_json:
            return pictures.as_json(drawn, seeds, model, body.scale, body.format)
        if media == "application/zip":
            return pictures.archive(drawn, seeds, model, body.scale, body.format)
        return pictures.sheet(drawn, seeds, model, body.columns, body.scale, "webp" if media == "image/webp" else "png")

    with timed("encode"):
        content = await run_in_threadpool(encode)
    headers = {
        "X-Seeds": ",".join(str(seed) for seed in seeds),
        "X-Model-Version": loaded.reference,
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Vary": "Accept",
    }
    if media == "application/zip":
        headers["Content-Disposition"] = f'attachment; filename="{loaded.name}-{loaded.version}.zip"'
    return Response(content, headers=headers, media_type=media)


def _seeds(body: GenerateRequest) -> tuple[int, ...]:
    """The seeds that are meant. Raises Invalid where count and seeds disagree, or seeds run out of range."""
    if body.seeds is not None:
        if "count" in body.model_fields_set and body.count != len(body.seeds):
            raise Invalid(
                f"count is {body.count}, and seeds holds {len(body.seeds)}: leave count out", pointer="/count"
            )
        return tuple(body.seeds)
    last = MAX_SEED + 1 - body.count
    if body.seed is not None and body.seed > last:
        raise Invalid(f"{body.count} pictures from this seed on exceed {MAX_SEED}; at most {last}", pointer="/seed")
    first = secrets.randbelow(last + 1) if body.seed is None else body.seed
    return tuple(range(first, first + body.count))


def _container(accept: str, body: GenerateRequest, count: int) -> str:
    """The media type to answer with. Single pictures, more than one, need a container that holds several."""
    single = body.layout == "grid" or count == 1
    offers = PICTURE_TYPES if single else PICTURE_TYPES[2:]
    media = preferred(accept, offers)
    if media is None:
        why = "" if single else "several individual pictures do not fit into one image; "
        raise NotAcceptable(f"{why}Accept must allow one of {', '.join(offers)}")
    return media

"""Requests to models of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import httpx

from inkling_client.answers import Evaluation, Forgotten, Job, Page, Phrase, Predicted
from inkling_client.calls.call import (
    PAGE,
    QUIET,
    SLOW,
    STREAM,
    Call,
    Part,
    given,
    once,
    path_of,
    read_as,
    read_nothing,
    read_page,
)


def predict(
    text: str,
    *,
    top_k: int | None = None,
    model: str | None = None,
    complete_partial: bool | Literal["auto"] | None = None,
    words: int | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    sample_top_k: int | None = None,
    top_p: float | None = None,
    beams: int | None = None,
    punctuation: bool | None = None,
    blocklist: Sequence[str] | None = None,
    reject: Sequence[str] | None = None,
    context: str | None = None,
    parts: Sequence[Part] | None = None,
    explain: bool | None = None,
) -> Call[Predicted]:
    """Suggest the next word, or complete a half-typed one; `words` more of them as a continuation."""
    return Call("POST", "/predict-next-word", read_as(Predicted), given(locals()))


def stream(
    text: str,
    *,
    words: int = 50,
    model: str | None = None,
    complete_partial: bool | Literal["auto"] | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    sample_top_k: int | None = None,
    top_p: float | None = None,
    punctuation: bool | None = None,
    blocklist: Sequence[str] | None = None,
    reject: Sequence[str] | None = None,
    context: str | None = None,
    parts: Sequence[Part] | None = None,
) -> Call[None]:
    """Continue a text, up to 200 words: each piece as it is made, with the space and the marks before it."""
    return Call("POST", "/predict-next-word", read_nothing, given(locals()), headers={"Accept": STREAM}, seconds=QUIET)


def evaluate(
    *,
    model: str | None = None,
    text: str | None = None,
    dataset: str | None = None,
    parts: Sequence[Part] | None = None,
    log_probabilities: bool | None = None,
) -> Call[Evaluation | Job]:
    """How well a version does on a text or a data set."""

    def read(response: httpx.Response) -> Evaluation | Job:
        kind = Job if response.status_code == 202 else Evaluation
        return kind.model_validate_json(response.content)

    # A repeat could queue a second job.
    return Call("POST", "/evaluate", read, given(locals()), repeatable=False, seconds=SLOW)


def learn(name: str, text: str, *, idempotency_key: str | None = None) -> Call[Phrase]:
    """Teach a model a phrase, which it knows at once."""
    return Call(
        "POST", path_of("models", name, "learn"), read_as(Phrase), {"text": text}, headers=once(idempotency_key)
    )


def learned(name: str) -> Call[Page[Phrase]]:
    """What a model was taught, oldest first."""
    return Call("GET", path_of("models", name, "learned"), read_page("learned", Phrase), params={"limit": PAGE})


def forget(
    name: str,
    text: str | None = None,
    *,
    id: str | None = None,
    containing: bool | None = None,
    all: bool | None = None,
) -> Call[Forgotten]:
    """Forget a phrase (or every one `containing` a text, or `all`); says which versions were trained with it."""
    body = given({"text": text, "id": id, "containing": containing, "all": all})
    return Call("POST", path_of("models", name, "forget"), read_as(Forgotten), body, repeatable=False)

"""What several routes take and give: pages of lists, an Idempotency-Key, an answer that was stored for it."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from app.core.idempotency import Answers, Stored

Limit = Annotated[int, Query(ge=1, le=500, description="Most entries in the answer")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="Any text of your own; a repeat with the same key and content is answered as the first was, "
        "for 48 hours, and does nothing again",
        examples=["9f1c7a52"],
    ),
]


def answers_of(request: Request) -> Answers:
    found: Answers = request.app.state.answers
    return found


AnswersDep = Annotated[Answers, Depends(answers_of)]


def given(stored: Stored) -> JSONResponse:
    """The answer, as it is given for the first time and again."""
    return JSONResponse(stored.body, stored.status, stored.headers)

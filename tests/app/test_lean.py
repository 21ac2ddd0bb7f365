"""Lean routes answer what is right as any other route would, and leave what is wrong to FastAPI."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from app.core.lean import LeanRoute


class Body(BaseModel):
    text: str
    count: int = Field(1, ge=1)


async def answer(body: Body, request: Request) -> Response:
    """Says what it was asked."""
    return Response(f"{body.text} {body.count} {request.headers['x-name']}")


def client_of(route_class: type | None) -> tuple[FastAPI, httpx.AsyncClient]:
    app, router = FastAPI(), APIRouter()
    router.add_api_route("/ask", answer, methods=["POST"], response_class=Response, route_class_override=route_class)
    app.include_router(router)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here", headers={"X-Name": "me"})
    return app, client


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"text": "a", "count": 3}', "application/json"),
        (b'{"text": "a"}', "application/json; charset=utf-8"),
        (b'{"text": "a"}', "application/problem+json"),
        (b'{"text": "\xec\x95\x88"}', "application/json"),
        (b'{"text": "a", "count": "2"}', "application/json"),
        (b'{"text": "a", "count": 0}', "application/json"),
        (b'{"text": 1}', "application/json"),
        (b'{"text": "a"', "application/json"),
        (b"[]", "application/json"),
        (b"", "application/json"),
        (b"\xff", "application/json"),
        (b'{"text": "a"}', "text/plain"),
    ],
)
async def test_it_answers_as_an_ordinary_route(content: bytes, kind: str) -> None:
    said = []
    for route_class in (LeanRoute, None):
        _, client = client_of(route_class)
        async with client:
            answered = await client.post("/ask", content=content, headers={"Content-Type": kind})
            said.append((answered.status_code, answered.content, answered.headers.items()))
    assert said[0] == said[1]
    assert said[0][0] in (200, 422, 400)


def test_its_document_is_that_of_an_ordinary_route() -> None:
    assert client_of(LeanRoute)[0].openapi() == client_of(None)[0].openapi()

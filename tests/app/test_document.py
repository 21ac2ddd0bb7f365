"""The OpenAPI document as it is sent."""

import asyncio
import threading
from typing import Any

import httpx
from fastapi import FastAPI

from app.core.document import Sent


async def test_others_are_answered_while_it_is_made_and_it_is_made_once() -> None:
    go, made = threading.Event(), []

    def document() -> dict[str, Any]:
        assert go.wait(60)
        made.append(1)
        return {"openapi": "3.1.0"}

    app = FastAPI(openapi_url=None)
    app.add_route("/openapi.json", Sent(document).answer)

    @app.get("/alive")
    async def alive() -> str:
        return "yes"

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        waiting = [asyncio.create_task(client.get("/openapi.json")) for _ in range(8)]
        await asyncio.sleep(0.1)
        assert (await client.get("/alive")).json() == "yes"
        assert not any(task.done() for task in waiting)
        go.set()
        answers = await asyncio.gather(*waiting)
    assert {(answer.status_code, answer.headers["content-type"], answer.text) for answer in answers} == {
        (200, "application/json", '{"openapi":"3.1.0"}')
    }
    assert made == [1]


async def test_it_is_sent_with_what_every_operation_answers(client: httpx.AsyncClient, app: FastAPI) -> None:
    sent = [(await client.get("/openapi.json")).json() for _ in range(2)]
    assert sent == [app.openapi()] * 2
    assert "429" in sent[0]["paths"]["/predict-next-word"]["post"]["responses"]
    assert (await client.head("/openapi.json")).status_code == 200

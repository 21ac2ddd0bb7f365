"""Our queue, refusals and protocol around a model that sleeps 5 ms a question: what is left of the service when the
processor does not matter. `benchmarks.overload --only sleeping` asks it, where others keep the machine busy.
"""

import os
import time

import uvicorn
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from app.core.config import Settings
from app.core.shedding import Shedding, protocol_of
from app.core.shortcut import Shortcut
from app.core.telemetry import RequestContext
from app.inference.batcher import Batcher

SECONDS = 0.005
AT_ONCE = 8
ROUTE = "/predict-next-word"


class Ask(BaseModel):
    text: str


def answer(_: str, texts: list[str]) -> list[str]:
    time.sleep(SECONDS * len(texts))
    return texts


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(f"nothing is at {scope['path']}")


def main() -> None:
    settings = Settings()
    batcher: Batcher[str, str, str] = Batcher(
        "sleeping", answer, settings.queue_size, AT_ONCE, seconds=settings.queue_seconds
    )

    async def respond(body: Ask) -> bytes:
        return to_json({"predictions": [await batcher.submit("", body.text, settings.deadline_seconds)]})

    app = RequestContext(Shortcut(nothing, ROUTE, Ask, respond), settings.max_body_bytes)
    shedding = Shedding({ROUTE: batcher}, lambda origin: False, [], turn_seconds=settings.queue_seconds / 2)
    uvicorn.run(
        app,
        port=int(os.environ["PORT"]),
        http=protocol_of(shedding),
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

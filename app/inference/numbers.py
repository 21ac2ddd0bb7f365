"""POST /generate of a one-dimensional model: its draws as a histogram over the true density, or as numbers in JSON.

Must not know: HTTP, torch.
"""

import secrets
from typing import Literal

from anyio import to_thread

from app.core.errors import Invalid
from app.core.telemetry import timed
from app.inference import asked
from app.inference.picture_schemas import GenerateRequest, NumbersResponse
from app.inference.schemas import ModelReference
from app.inference.service import Loaded, ModelHost
from ml.latents import MAX_SEED
from ml.serve.density import Density
from ml.serve.images import encode

TYPES = ("image/png", "image/webp", "application/json")
FIELDS = ("model", "count", "seed", "seeds")  # that mean something here


async def generate(
    host: ModelHost, loaded: Loaded[Density], body: GenerateRequest, accept: str
) -> tuple[bytes, str, int]:
    """The answer, its media type, and the seed. Raises Invalid, NotAcceptable, and what `ModelHost` raises."""
    seed = _seed(body, loaded.name)
    media = asked.container(accept, TYPES)
    drawn = await host.numbers(loaded, seed)
    model = ModelReference(name=loaded.name, version=loaded.version)

    def make() -> bytes:
        if media == "application/json":
            wanted = drawn[: body.count] if "count" in body.model_fields_set else drawn
            distance = loaded.predictor.truth.ks_distance(drawn)
            samples = [round(float(number), 6) for number in wanted]
            return (
                NumbersResponse(samples=samples, seed=seed, ks_distance=distance, model=model)
                .model_dump_json()
                .encode()
            )
        encoding: Literal["png", "webp"] = "webp" if media == "image/webp" else "png"
        notes = {"Software": "Inkling", "seed": str(seed), "model": loaded.name, "version": str(loaded.version)}
        return encode(loaded.predictor.chart(drawn, f"{loaded.reference}, seed {seed}"), encoding, notes)

    with timed("encode"):
        return await to_thread.run_sync(make), media, seed


def _seed(body: GenerateRequest, model: str) -> int:
    """The one seed that is meant. Raises Invalid for what only a model of pictures can do."""
    for name in body.model_fields_set.difference(FIELDS):
        if getattr(body, name) != GenerateRequest.model_fields[name].default:
            raise Invalid(f"the model {model!r} draws single numbers; leave {name} out", pointer=f"/{name}")
    if body.seeds is not None and len(body.seeds) > 1:
        raise Invalid("one seed gives all the numbers of a histogram; send one", pointer="/seeds")
    if body.seeds:
        return body.seeds[0]
    return secrets.randbelow(MAX_SEED + 1) if body.seed is None else body.seed

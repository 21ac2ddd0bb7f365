"""Models and their versions: GET /models…, PUT …/active, POST …/rollback and …/prune, DELETE, export and import."""

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python
from starlette.background import BackgroundTask

from app.core.document import links
from app.core.idempotency import Stored
from app.core.paging import page
from app.core.parameters import AnswersDep, Key, Limit, given
from app.core.problems import PROBLEM_RESPONSES, Responses, problems
from app.core.uploads import Upload, form, receive
from app.registry import cards
from app.registry.schemas import Card, ModelPage, ModelResponse, NewCard, Pruned
from app.registry.service import Registry
from app.registry.transfer import Transfer

router = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES)

Name = Annotated[str, Path(description="A model's name", examples=["next-word"])]
Number = Annotated[int, Path(ge=1, lt=2**31, description="A version's number", examples=[1])]

VERSION = "/models/{name}/versions/{version}"


def model_links(name: str) -> dict[str, Any]:
    """Where an answer leads that has a model's name at the runtime expression `name`."""
    given = {"name": name}
    return links(
        model=("get_model_models__name__get", given),
        rollback=("roll_back_models__name__rollback_post", given),
        learned=("list_learned_models__name__learned_get", given),
        delete=("delete_model_models__name__delete", given),
    )


def version_links(name: str, version: str) -> dict[str, Any]:
    """The same of a version."""
    given = {"name": name, "version": version}
    return links(
        version=("get_version_models__name__versions__version__get", given),
        export=("export_version_models__name__versions__version__export_get", given),
        delete=("delete_version_models__name__versions__version__delete", given),
    )


LOCATION = {"Location": {"description": "The version's card", "schema": {"type": "string"}, "required": True}}
MODEL: Responses = {
    200: {
        "model": ModelResponse,
        "links": version_links("$response.body#/name", "$response.body#/versions/0/version"),
    }
}


class Serving(Protocol):
    """Whoever holds models in memory, which this slice does not know: there a version is tried before it answers."""

    def activate(self, name: str, version: int) -> None: ...

    def rollback(self, name: str) -> None: ...

    def refresh(self) -> None:
        """See now what was activated or deleted."""


def registry_of(request: Request) -> Registry:
    found: Registry = request.app.state.registry
    return found


def transfer_of(request: Request) -> Transfer:
    found: Transfer = request.app.state.transfer
    return found


def serving_of(request: Request) -> Serving:
    found: Serving = request.app.state.host
    return found


RegistryDep = Annotated[Registry, Depends(registry_of)]
TransferDep = Annotated[Transfer, Depends(transfer_of)]
ServingDep = Annotated[Serving, Depends(serving_of)]


class ActiveRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"version": 1}]})

    version: int = Field(ge=1, lt=2**31, description="The version that is to answer")


class PruneRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"keep": 5}]})

    keep: int = Field(
        ge=0, lt=2**31, description="Versions to keep beside the active one and the one a rollback comes to"
    )


IMPORT_BODY = form(
    {"type": "string", "format": "binary", "description": "What exporting a version gave"},
    {
        "model": {"type": "string", "description": "Name to publish under; default: the one it was exported from"},
        "activate": {
            "type": "string",
            "enum": ["if_better", "always", "never"],
            "default": "if_better",
            "description": "Whether it is to answer now",
        },
    },
)


@router.get(
    "/models",
    summary="The models there are, and which version of each answers",
    responses={200: {"model": ModelPage, "links": model_links("$response.body#/models/0/name")}},
)
def list_models(registry: RegistryDep, limit: Limit = 50, after: str | None = None) -> dict[str, Any]:
    models, following = page(registry.models(), lambda model: model.name, limit, after)
    return {"models": [cards.summary(model) for model in models], "next": following}


@router.post(
    "/models/import",
    status_code=201,
    summary="Take in an exported version",
    openapi_extra=IMPORT_BODY,
    responses={
        201: {
            "model": NewCard,
            "headers": LOCATION,
            "links": version_links("$response.body#/name", "$response.body#/version"),
        },
        **problems(409, 507),
    },
)
async def import_version(
    request: Request,
    transfer: TransferDep,
    registry: RegistryDep,
    serving: ServingDep,
    answers: AnswersDep,
    key: Key = None,
) -> JSONResponse:
    """It is verified, loaded and tried in a process of its own before it is published; nothing in it is unpickled.

    The very same version again is not copied: the answer is the version that is there, and `duplicate` is true.
    """

    def publish(upload: Upload) -> Stored:
        done = transfer.take_upload(upload)
        serving.refresh()
        card = cards.card(*registry.card(done.name, done.version), registry.path(done.name, done.version))
        body = to_jsonable_python(card | {"duplicate": done.duplicate, "reason": done.reason})
        return Stored(201, body, {"Location": f"/models/{done.name}/versions/{done.version}"})

    async with receive(request, transfer.folder, transfer.max_bytes, 1, transfer.disk) as upload:
        stored = await answers.once(
            key, "POST /models/import", upload.digest, lambda: run_in_threadpool(publish, upload)
        )
    return given(stored)


@router.get(
    "/models/{name}",
    summary="A model with the card of every version, newest first",
    responses=MODEL | problems(404),
)
def get_model(name: Name, registry: RegistryDep) -> dict[str, Any]:
    return cards.whole(*registry.get(name), registry.before(name))


@router.delete(
    "/models/{name}",
    status_code=204,
    summary="Remove a model with all its versions",
    responses=problems(404, 409),
)
def delete_model(name: Name, registry: RegistryDep, serving: ServingDep) -> None:
    """Starters stay; so does a model from a version of which a job starts that has not ended."""
    registry.delete_model(name)
    serving.refresh()


@router.put("/models/{name}/active", summary="Choose the version that answers", responses=MODEL | problems(404, 409))
def put_active(name: Name, body: ActiveRequest, registry: RegistryDep, serving: ServingDep) -> dict[str, Any]:
    """The version is loaded first; one that does not load is refused with 422, and the old one goes on answering."""
    serving.activate(name, body.version)
    return cards.whole(*registry.get(name), registry.before(name))


@router.post(
    "/models/{name}/rollback",
    summary="Let the version answer that did before",
    responses=MODEL | problems(404, 409, 422),
)
def roll_back(name: Name, registry: RegistryDep, serving: ServingDep) -> dict[str, Any]:
    """Again, and the one before that answers. It is loaded first, as when a version is activated."""
    serving.rollback(name)
    return cards.whole(*registry.get(name), registry.before(name))


@router.post("/models/{name}/prune", summary="Remove old versions", responses={200: {"model": Pruned}, **problems(404)})
def prune(name: Name, body: PruneRequest, registry: RegistryDep, serving: ServingDep) -> dict[str, Any]:
    """Kept: the active one, the one a rollback comes to, those that jobs start from, and the newest `keep` others."""
    deleted = registry.prune(name, body.keep)
    serving.refresh()
    return {"deleted": deleted}


@router.get(
    VERSION,
    summary="A version's card: data, config, metrics, lineage, samples",
    responses={
        200: {
            "model": Card,
            "links": version_links("$response.body#/name", "$response.body#/version"),
        },
        **problems(404, 409),
    },
)
def get_version(name: Name, version: Number, registry: RegistryDep) -> dict[str, Any]:
    return cards.card(*registry.card(name, version), registry.path(name, version))


@router.delete(VERSION, status_code=204, summary="Remove a version", responses=problems(404, 409))
def delete_version(name: Name, version: Number, registry: RegistryDep, serving: ServingDep) -> None:
    """Not the active one: let another answer first. Its number is never given out again."""
    registry.delete(name, version)
    serving.refresh()


@router.get(
    f"{VERSION}/samples/{{file}}",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "As it was"},
        **problems(404, 409),
    },
    summary="A picture that the model made when it was finished",
)
def get_sample(
    name: Annotated[str, Path(description="A model's name", examples=["pictures"])],
    version: Number,
    file: Annotated[str, Path(description="As the card says", examples=["grid.png"])],
    registry: RegistryDep,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    content, sha256 = registry.sample(name, version, file)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "ETag": f'"{sha256[:32]}"',
        "X-Content-Type-Options": "nosniff",
    }
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    if headers["ETag"] in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="image/png")


@router.get(
    f"{VERSION}/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404, 409),
    },
    summary="A version as one file, for another Inkling",
)
def export_version(name: Name, version: Number, transfer: TransferDep) -> StreamingResponse:
    """Verified, then streamed. `POST /models/import` takes it in."""
    file, content = transfer.export(name, version)
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-cache"}
    # Closed when the caller goes away, too: until somebody collects garbage its files would stay open.
    closed = BackgroundTask(content.close)
    return StreamingResponse(content, headers=headers, media_type="application/zip", background=closed)

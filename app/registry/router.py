"""GET /models, GET /models/{name}, PUT /models/{name}/active."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from app.core import tables
from app.core.paging import Limit, page
from app.registry.service import Registry

router = APIRouter(tags=["models"])

Name = Annotated[str, Path(description="A model's name", examples=["next-word"])]


def registry_of(request: Request) -> Registry:
    found: Registry = request.app.state.registry
    return found


def activate_of(request: Request) -> Callable[[str, int], None]:
    """How a version is made to answer: by whoever holds models in memory, which this slice does not know."""
    found: Callable[[str, int], None] = request.app.state.activate
    return found


RegistryDep = Annotated[Registry, Depends(registry_of)]


class ActiveRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}]})

    version: int = Field(ge=1, lt=2**31, description="The version that is to answer")


@router.get("/models", summary="The models there are, and which version of each answers")
def list_models(registry: RegistryDep, limit: Limit = 50, after: str | None = None) -> dict[str, Any]:
    models, following = page(registry.models(), lambda model: model.name, limit, after)
    return {"models": [_model(model) for model in models], "next": following}


@router.get("/models/{name}", summary="A model with the card of every version, newest first")
def get_model(name: Name, registry: RegistryDep) -> dict[str, Any]:
    return _whole(*registry.get(name))


@router.put("/models/{name}/active", summary="Choose the version that answers")
def put_active(
    name: Name,
    body: ActiveRequest,
    registry: RegistryDep,
    activate: Annotated[Callable[[str, int], None], Depends(activate_of)],
) -> dict[str, Any]:
    """The version is loaded first; one that does not load is refused with 422, and the old one goes on answering."""
    activate(name, body.version)
    return _whole(*registry.get(name))


def _model(model: tables.Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "modality": model.modality,
        "active": model.active,
        "created_at": model.created_at,
    }


def _whole(model: tables.Model, versions: Sequence[tables.Version]) -> dict[str, Any]:
    return _model(model) | {
        "versions": [
            {
                "version": row.version,
                "active": row.version == model.active,
                "job_id": row.job_id,
                "created_at": row.created_at,
                **{k: v for k, v in row.card.items() if k != "created"},
            }
            for row in versions
        ]
    }

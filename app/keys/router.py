"""POST and GET /keys, DELETE /keys/{id}."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.core.document import links
from app.core.paging import page
from app.core.parameters import Limit
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.ring import KeyScope
from app.core.tables import Key
from app.keys.service import Keys

router = APIRouter(tags=["keys"], responses=PROBLEM_RESPONSES)


def keys_of(request: Request) -> Keys:
    found: Keys = request.app.state.keys
    return found


KeysDep = Annotated[Keys, Depends(keys_of)]


class KeyRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"name": "reports", "scope": "train"},
                {"name": "our site", "scope": "predict", "origins": ["https://example.org"]},
            ]
        },
    )

    name: str = Field(description="What to know it by")
    scope: KeyScope = Field("predict", description="What it may do; each scope holds the ones before it")
    origins: list[str] = Field(
        [], max_length=20, description="Makes it publishable: it works only on pages of these, and may only predict"
    )


class ShownKey(BaseModel):
    id: str
    name: str
    scope: KeyScope
    prefix: str = Field(description="The key's first characters")
    origins: list[str]
    created_at: datetime
    revoked_at: datetime | None


class NewKey(ShownKey):
    key: str = Field(description="The key itself. It is shown now and never again")


class KeyPage(BaseModel):
    keys: list[ShownKey]
    next: str | None = Field(description="The next page's `after`")


@router.post(
    "/keys",
    status_code=201,
    summary="Make a key",
    responses={
        201: {"links": links(revoke=("revoke_key_keys__id__delete", {"id": "$response.body#/id"}))},
        **problems(507),
    },
)
def create_key(body: KeyRequest, keys: KeysDep, response: Response) -> NewKey:
    """The first key closes the service: from then on every request needs one, so let it be `admin`."""
    row, key = keys.create(body.name, body.scope, body.origins)
    response.headers["Cache-Control"] = "no-store"
    return NewKey(**_shown(row).model_dump(), key=key)


@router.get("/keys", summary="The keys there are and were, oldest first")
def list_keys(keys: KeysDep, limit: Limit = 50, after: str | None = None) -> KeyPage:
    rows, following = page(keys.all(), lambda row: row.id, limit, after)
    return KeyPage(keys=[_shown(row) for row in rows], next=following)


@router.delete("/keys/{id}", status_code=204, summary="Revoke a key", responses=problems(404))
def revoke_key(
    id: Annotated[str, Path(description="A key's id", examples=["key_0123456789abcdef"])], keys: KeysDep
) -> None:
    """Requests with it are refused at once by this process, and within two seconds by others."""
    keys.revoke(id)


def _shown(row: Key) -> ShownKey:
    return ShownKey.model_validate(row, from_attributes=True)

"""Requests about models, their versions, and the service itself."""

from __future__ import annotations

from urllib.parse import quote

from PIL import Image

from inkling_client.answers import Card, Health, Imported, Model, ModelSummary, Page
from inkling_client.calls.call import (
    LONG,
    PAGE,
    SLOW,
    Activate,
    Call,
    File,
    given,
    once,
    path_of,
    read_as,
    read_list,
    read_nothing,
    read_page,
    read_picture,
)


def models() -> Call[Page[ModelSummary]]:
    """The models there are, and which version of each answers."""
    return Call("GET", "/models", read_page("models", ModelSummary), params={"limit": PAGE})


def model(name: str) -> Call[Model]:
    """A model with all its versions, newest first."""
    return Call("GET", path_of("models", name), read_as(Model))


def version(name: str, version: int) -> Call[Card]:
    """A version's card: data, config, metrics, lineage, samples."""
    return Call("GET", version_path(name, version), read_as(Card))


def version_sample(name: str, version: int, file: str) -> Call[Image.Image]:
    """A picture that the finished model drew; its card lists them."""
    return Call("GET", f"{version_path(name, version)}/samples/{quote(file, safe='')}", read_picture)


def activate(name: str, version: int) -> Call[Model]:
    """Choose the version that answers; one that does not load is refused."""
    return Call("PUT", path_of("models", name, "active"), read_as(Model), {"version": version}, seconds=SLOW)


def rollback(name: str) -> Call[Model]:
    """Let the version answer that did before; again, the one before that."""
    return Call("POST", path_of("models", name, "rollback"), read_as(Model), repeatable=False, seconds=SLOW)


def prune(name: str, keep: int) -> Call[list[int]]:
    """Remove old versions but the newest `keep`, the active one and those still needed; returns the removed."""
    read = read_list("deleted", int)
    return Call("POST", path_of("models", name, "prune"), read, {"keep": keep}, repeatable=False)


def delete_version(name: str, version: int) -> Call[None]:
    """Remove a version that is not active."""
    return Call("DELETE", version_path(name, version), read_nothing)


def delete_model(name: str) -> Call[None]:
    """Remove a model with all its versions; starters stay."""
    return Call("DELETE", path_of("models", name), read_nothing)


def export(name: str, version: int) -> Call[None]:
    """A version as one file."""
    return Call("GET", f"{version_path(name, version)}/export", read_nothing, seconds=SLOW)


def import_version(
    file: File, *, model: str | None = None, activate: Activate | None = None, idempotency_key: str | None = None
) -> Call[Imported]:
    """Take in an exported version: verified, loaded and tried before it is published."""
    form, headers = given({"model": model, "activate": activate}), once(idempotency_key)
    return Call("POST", "/models/import", read_as(Imported), form=form, files=[file], headers=headers, seconds=LONG)


def health() -> Call[Health]:
    """Whether the service answers, and what does not work; an answer too while it is not ready."""
    return Call("GET", "/health/ready", read_as(Health), also=(503,))


def live() -> Call[bool]:
    """Whether the process answers at all; raises ConnectionFailed when not."""
    return Call("GET", "/health/live", lambda response: response.is_success)


def version_path(name: str, version: int) -> str:
    return path_of("models", name, "versions", version)

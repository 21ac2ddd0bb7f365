"""The Python client says all that the contract has, by both clients in the same way."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.config import Settings
from app.main import create_app
from inkling_client import AsyncInklingClient, AsyncJobHandle, InklingClient, JobHandle, calls

# Each of these is said in another way: WebP by `format`, pictures one by one by JSON.
ROUTES_ELSEWHERE = {"/images/{name}/{version}/{seed}.webp"}
FIELDS_ELSEWHERE = {"file", "layout", "format"}
# For whoever runs the service, not for whoever uses it.
NOT_A_CLIENTS = re.compile(r"/keys\b.*|/metrics")
NOT_IN_A_STREAM = {"beams", "top_k", "explain"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data"))).openapi()


def made() -> Iterator[tuple[calls.Call[Any], set[str]]]:
    """A call by every function, with the names of what it can say."""
    for _, function in inspect.getmembers(calls, inspect.isfunction):
        parameters = inspect.signature(function).parameters.values()
        needed = {
            each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        }
        yield function(**dict.fromkeys(needed, "1")), {each.name for each in parameters}


def fields(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """What an operation's body and query can say."""
    found = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"} - {"limit", "after"}
    for kind in operation.get("requestBody", {}).get("content", {}).values():
        schema = kind["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][Path(schema["$ref"]).name]
        found |= set(schema.get("properties", {}))
    return found


def test_every_route_and_every_field_can_be_said(document: dict[str, Any]) -> None:
    known = list(made())
    for path, operations in document["paths"].items():
        if path in ROUTES_ELSEWHERE or NOT_A_CLIENTS.fullmatch(path):
            continue
        pattern = re.compile(re.sub(r"\\?\{\w+\\?\}", "[^/]+", re.escape(path)))
        for method, operation in operations.items():
            said = [names for call, names in known if call.method == method.upper() and pattern.fullmatch(call.path)]
            assert said, f"{method.upper()} {path}"
            missing = fields(document, operation) - set().union(*said) - FIELDS_ELSEWHERE
            assert not missing, f"{method.upper()} {path}"


def test_no_call_says_what_the_service_does_not_know(document: dict[str, Any]) -> None:
    for call, _ in made():
        paths = [
            operations[call.method.lower()]
            for path, operations in document["paths"].items()
            if call.method.lower() in operations
            and re.fullmatch(re.sub(r"\\?\{\w+\\?\}", "[^/]+", re.escape(path)), call.path)
        ]
        assert paths, call
        assert set(call.json or ()) <= set().union(*(fields(document, each) for each in paths)), call


def test_a_stream_takes_what_a_prediction_takes() -> None:
    whole, streamed = (set(inspect.signature(each).parameters) for each in (calls.predict, calls.stream))
    assert whole - streamed == NOT_IN_A_STREAM
    assert streamed <= whole


@pytest.mark.parametrize(("waiting", "awaited"), [(InklingClient, AsyncInklingClient), (JobHandle, AsyncJobHandle)])
def test_both_have_the_same_documented_methods(waiting: type, awaited: type) -> None:
    def methods(of: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(of, inspect.isfunction)
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert methods(waiting) == methods(awaited)
    assert all(inspect.getdoc(getattr(kind, name)) for kind in (waiting, awaited) for name in methods(waiting))
    if waiting is InklingClient:
        assert inspect.signature(waiting.predict).parameters["text"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD

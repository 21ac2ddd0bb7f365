"""The whole API against its own OpenAPI document, at random; `python -m benchmarks.fuzz` is the large run."""

from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from benchmarks.fuzz import api
from benchmarks.fuzz.bed import Bed, Quiet

pytestmark = pytest.mark.timeout(1200)


def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with Bed(tmp_path) as bed:
        tally = api.fuzz(bed.app, bed.key, examples=2, seed=20261129, deterministic=True)
        operations = {
            f"{method.upper()} {path}" for path, item in bed.application.openapi()["paths"].items() for method in item
        }
        assert bed.app.bugs == []
    said = [f"{operation}: {what}\n{messages[0]}" for (operation, what), messages in tally.failures.items()]
    assert not said, "\n\n".join(said)
    assert tally.errors == []
    assert set(tally.cases) == operations
    assert tally.total > 1500
    assert {"examples", "coverage", "fuzzing", "stateful"} <= set(tally.phases)
    answered = {label for (label, status) in tally.statuses if 200 <= status < 300}
    assert len(answered) > 25, sorted(operations - answered)  # not only refused


SAID = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_what_is_not_as_the_document_says_is_noticed() -> None:
    app = FastAPI()

    @app.get("/bug/{number}")
    def bug(number: int) -> int:
        return number // 0

    @app.get("/wrong", response_class=Response, responses={200: {"content": {"application/json": {"schema": SAID}}}})
    def wrong() -> Response:
        return Response(b'{"a": "text"}', media_type="application/json")

    @app.get("/kind", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def kind() -> Response:
        return Response(b"text", media_type="text/plain")

    @app.get("/unlisted", responses={"default": {"description": "Whatever it is"}})
    def unlisted() -> Response:
        return Response(status_code=418)

    tally = api.fuzz(Quiet(app, ""), "no key", examples=2, seed=1, deterministic=True)
    failed = {(operation, what.split(":")[0]) for operation, what in tally.failures}
    assert failed >= {
        ("GET /bug/{number}", "not_a_server_error"),
        ("GET /wrong", "response_schema_conformance"),
        ("GET /kind", "content_type_conformance"),
        ("GET /unlisted", "listed_status"),
    }


def test_an_empty_list_in_a_form_is_no_violation() -> None:
    assert api.is_lost_in_a_form("multipart/form-data", {"file": b"x", "label": []})
    assert not api.is_lost_in_a_form("application/json", {"label": []})
    assert not api.is_lost_in_a_form("multipart/form-data", {"file": b"x", "label": ["cat"]})

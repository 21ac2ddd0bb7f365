"""What every problem document must look like."""

from typing import Any

import httpx


def problem(response: httpx.Response, status: int, pointer: str | None = None) -> dict[str, Any]:
    """Check an RFC 9457 answer and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["instance"] == response.request.url.path
    for name in ("type", "title", "detail", "code"):
        assert body[name], name
    assert "Traceback" not in response.text
    if pointer is not None:
        assert pointer in [error["pointer"] for error in body["errors"]], body
    return body

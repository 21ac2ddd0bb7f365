"""Which scope each route needs: the one list. A route that is not in it needs `admin`, and fails a test."""

from collections.abc import Collection

from app.core.ring import KeyScope

EVERYONE = """
    GET /    HEAD /    GET /favicon.ico
    GET /docs    GET /docs/start.js    GET /docs/swagger-ui-bundle.js    GET /docs/swagger-ui.css
    GET /openapi.json    HEAD /openapi.json
    GET /health/live    GET /health/ready    GET /metrics
    MOUNT /web    MOUNT /widgets
"""
PREDICT = """
    POST /predict-next-word
    POST /evaluate
    POST /generate    POST /interpolate    POST /nearest    POST /score
    GET /images/{name}/{version}/{seed}.png    GET /images/{name}/{version}/{seed}.webp
    GET /models    GET /models/{name}    GET /models/{name}/versions/{version}
    GET /models/{name}/versions/{version}/samples/{file}
"""  # of /evaluate only a text; its router sees to the rest
TRAIN = """
    GET /families    POST /train
    GET /jobs    GET /jobs/{job_id}    GET /jobs/{job_id}/events    GET /jobs/{job_id}/history
    GET /jobs/{job_id}/samples    GET /jobs/{job_id}/samples/{step}.png
    POST /jobs/{job_id}/cancel    POST /jobs/{job_id}/pause    POST /jobs/{job_id}/resume
    GET /datasets    POST /datasets
    GET /datasets/{id}    DELETE /datasets/{id}    GET /datasets/{id}/preview
    POST /models/{name}/learn    POST /models/{name}/forget    GET /models/{name}/learned
    PUT /models/{name}/active    POST /models/{name}/rollback
    GET /models/{name}/versions/{version}/export    POST /models/import
"""
ADMIN = """
    DELETE /models/{name}    DELETE /models/{name}/versions/{version}    POST /models/{name}/prune
    GET /keys    POST /keys    DELETE /keys/{id}
"""


def _routes(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


TABLE: dict[tuple[str, str], KeyScope | None] = {
    **dict.fromkeys(_routes(EVERYONE), None),
    **dict.fromkeys(_routes(PREDICT), "predict"),
    **dict.fromkeys(_routes(TRAIN), "train"),
    **dict.fromkeys(_routes(ADMIN), "admin"),
}


def scope_of(methods: Collection[str] | None, path: str) -> KeyScope | None:
    """What a route needs; of several methods, the strictest. No methods: a mounted application."""
    needed = [TABLE.get((method, path), "admin") for method in methods or ("MOUNT",)]
    return next((scope for scope in ("admin", "train", "predict") if scope in needed), None)

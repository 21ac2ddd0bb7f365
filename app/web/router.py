"""The page at `/`, its files at `/web`, the widgets at `/widgets`, and `/docs`: everything from this package, nothing
from elsewhere. It must not know what the service does."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.core.whole import WholeFile, unranged

STATIC = Path(__file__).resolve().parent / "static"

# `blob:` and `data:` are pictures that the page made itself: uploads before they are sent, answers of /generate.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# Swagger UI writes style attributes, and shows its icons as data: addresses.
DOCS_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "frame-ancestors 'none'",
    )
)

router = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """A folder of the page's. Public, and asked for again by ETag: a new release is seen at once, at a 304 each."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(unranged(scope), receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            known = bool(self.lookup_path(path)[0])
        except ValueError:  # a NUL
            known = False
        if not known:  # before the method is looked at: an unknown path is 404 for every one
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        forever = path.endswith(".woff2")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if forever else "no-cache"
        # Module scripts are fetched with CORS: a widget on another origin's page must be allowed to come.
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response


def install(app: FastAPI) -> None:
    """Add the routes and the two folders to `app`."""
    app.router.routes.extend(router.routes)
    app.mount("/web", Files(directory=STATIC), name="web")
    app.mount("/widgets", Files(directory=STATIC / "widgets"), name="widgets")


@router.api_route("/", methods=["GET", "HEAD"])
def page() -> Response:
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    return WholeFile(STATIC / "index.html", headers=headers)


@router.get("/favicon.ico")
def favicon() -> Response:
    return WholeFile(STATIC / "icon.svg", headers={"Cache-Control": "public, max-age=86400"})


# -- /docs ----------------------------------------------------------------------------------------------------------

# No inline script: the page works under a content security policy of 'self'.
DOCS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inkling API</title>
<link rel="icon" href="/web/icon.svg">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true})
"""
TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


@router.get("/docs")
def docs() -> Response:
    return Response(DOCS, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/docs/start.js")
def start() -> Response:
    return Response(START, media_type="text/javascript")


def _asset(name: str) -> None:
    @router.get(f"/docs/{name}", name=f"docs-{name}")
    def asset() -> Response:
        content = files("fastapi_swagger").joinpath("resources", name).read_bytes()
        return Response(content, media_type=TYPES[name], headers={"Cache-Control": "public, max-age=86400"})


for name in TYPES:
    _asset(name)

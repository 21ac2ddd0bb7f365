"""GET /docs: the interactive API description, with Swagger UI from an installed package instead of from a CDN."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

# No inline script or style: the page works under a content security policy of 'self'.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inkling API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true})
"""
TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs")
def docs() -> Response:
    return Response(PAGE, media_type="text/html")


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

"""A route that is answered often: its right requests skip what FastAPI does for every kind of parameter."""

from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError


class LeanRoute(APIRoute):
    """For an endpoint `(body: Model, request: Request) -> Response`, as `route_class_override` of `add_api_route`.

    The body is read by the model itself, straight from the bytes. What is wrong with it, and what is not sent as JSON,
    is left to FastAPI, so that errors and the OpenAPI document are the same as of any other route.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        usual, endpoint = super().get_route_handler(), self.endpoint
        model: type[BaseModel] = get_type_hints(endpoint)["body"]

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type") != "application/json":
                return await usual(request)
            try:
                body = model.model_validate_json(await request.body())
            except ValidationError:
                return await usual(request)
            response: Response = await endpoint(body, request)
            return response

        return handle

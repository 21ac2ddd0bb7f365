"""What tests of the picture routes share."""

import io

import httpx
import numpy as np
from PIL import Image


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


async def post(client: httpx.AsyncClient, route: str, accept: str = "*/*", **body: object) -> httpx.Response:
    response = await client.post(route, json=body, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return response

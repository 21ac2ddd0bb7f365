"""benchmarks.pictures: its rival draws the same pictures, and its table judges."""

import io
import os
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import pictures
from benchmarks.picture_rivals import SAID, create_app, load_generator, tiled
from benchmarks.pictures import Row, compared
from ml.data.images import grid
from ml.latents import latent
from ml.serve.images import Sampler

STARTER = Path(__file__).parents[2] / "app" / "starters" / "pictures"


def test_the_rivals_module_has_the_versions_weights() -> None:
    generator, size = load_generator(STARTER)
    with torch.no_grad():
        theirs = generator(torch.from_numpy(latent(7, size))[None]).numpy()
    np.testing.assert_allclose(Sampler.open(STARTER).draw(7), theirs, atol=1e-5)


async def test_the_rival_answers_as_tutorials_do() -> None:
    transport = httpx.ASGITransport(create_app(STARTER))
    async with httpx.AsyncClient(transport=transport, base_url="http://rival") as client:
        sizes = {1: (28, 28), 16: (122, 122)}
        for count, size in sizes.items():
            answer = await client.post("/generate", json={"count": count, "seed": 1})
            assert Image.open(io.BytesIO(answer.content)).size == size
        assert (await client.post("/no-op", json={"text": "a"})).json() == SAID.model_dump()
        assert (await client.post("/no-op", json={"text": 1})).status_code == 422  # it does check its input


def test_both_sheets_are_laid_out_alike() -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(tiled(drawn), grid(drawn, 3))


def test_a_row_is_the_median_of_its_rounds() -> None:
    row = compared("a", 2.0, [[10.0, 30.0], [10.0, 19.0], [20.0, 50.0]])
    assert (row.value, row.ours, row.theirs, row.passed) == (2.5, 10.0, 30.0, True)
    assert not Row("a", 2.6, row.values, 1, 1).passed
    assert Row("a", None, [0.1], 1, 1).passed
    assert "FAIL" in str(Row("a", 2.6, row.values, 1, 1))


def test_the_clock_is_that_of_the_other_process() -> None:
    before, own = pictures.cpu_microseconds(os.getpid()), time.process_time()
    while time.process_time() < own + 0.02:
        pass
    assert 20_000 <= pictures.cpu_microseconds(os.getpid()) - before < 1_000_000


def test_requests_are_well_formed() -> None:
    assert pictures.get("/a", '"t"') == b'GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: "t"\r\n\r\n'
    assert pictures.post("/a", {"b": 1}).endswith(b'Content-Length: 8\r\n\r\n{"b": 1}')


def test_a_missed_bound_ends_it_with_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Nothing:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> "Nothing":
            return self

        def __exit__(self, *_: object) -> None: ...

    for name in ("Service", "Rival"):
        monkeypatch.setattr(pictures, name, Nothing)
    monkeypatch.setattr(pictures, "add_large", lambda service: None)
    monkeypatch.setattr(pictures, "same_pictures", lambda service, name: 0)
    threads = torch.get_num_threads()
    for value, code in ((2.0, 0), (0.5, 1)):
        row = Row("a", 1.0, [value], 1, 1)
        monkeypatch.setattr(pictures, "PARTS", {"png": lambda *_, row=row: [row]})
        into = tmp_path / "result.json"
        monkeypatch.setattr("sys.argv", ["pictures", "--quick", "--only", "png", "--json", str(into)])
        with pytest.raises(SystemExit) as ended:
            pictures.main()
        assert ended.value.code == code
        assert f'"ratio": {value}' in into.read_text()
    torch.set_num_threads(threads)

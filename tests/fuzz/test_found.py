"""What fuzzing found, one by one."""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz.bed import Bed
from benchmarks.fuzz.raw import JSON, Wire
from ml import bundle
from ml.bundle import BundleError
from tests.ml.test_bundle import seal

MULTIPART = (b"content-type", b"multipart/form-data; boundary=b")
MOST = 100 * 1024**2


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Bed(tmp_path_factory.mktemp("bed")) as bed, Wire(bed) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/models/none", 404), ("POST", "/datasets", 415), ("POST", "/models", 405)],
)
def test_a_query_may_be_any_bytes(wire: Wire, method: str, path: str, status: int) -> None:
    """`request.url` decodes it: the handler of an error raised another one, and nothing was answered."""
    answered, content = wire.ask(method, path, b"\x9f\xff=%FF")
    assert (answered, json.loads(content)["instance"]) == (status, path)


def test_a_body_that_is_not_utf_8_is_a_bad_value(wire: Wire) -> None:
    for path in ("/train", "/predict-next-word", "/generate", "/keys"):
        status, content = wire.ask("POST", path, headers=(JSON,), body=b'{"text": "\xff"}')
        assert (status, json.loads(content)["code"]) == (422, "invalid"), path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/next-word/prune", {"keep": False}),
        ("/models/next-word/prune", {"keep": "0"}),
        ("/models/next-word/forget", {"all": 1}),
        ("/predict-next-word", {"text": "in the", "explain": 0}),
        ("/generate", {"seed": True}),
        ("/evaluate", {"text": "in the", "log_probabilities": "yes"}),
        ("/train", {"family": "lstm", "dataset": "lecture", "budget": {"epochs": True}}),
    ],
)
def test_a_number_is_no_boolean_and_a_text_no_number(wire: Wire, path: str, body: dict[str, object]) -> None:
    """`{"keep": false}` was read as 0, and every old version was deleted."""
    status, content = wire.ask("POST", path, headers=(JSON,), body=json.dumps(body).encode())
    assert status == 422, content


def test_no_address_is_redirected(wire: Wire) -> None:
    """The redirect of /models/ went to the host and scheme that the request claimed."""
    assert wire.ask("GET", "/models/")[0] == 404
    assert wire.ask("GET", "/models")[0] == 200


@pytest.mark.parametrize("sent", [b"bytes=9-1", b"bytes=99999999-", b"lines=1-2", b"bytes=0-3"])
def test_a_range_is_passed_over(wire: Wire, sent: bytes) -> None:
    """A malformed one was answered in plain text, with 400 or 416."""
    for path in ("/", "/web/app.js", "/widgets/next-word.js", "/favicon.ico"):
        whole = wire.ask("GET", path)
        assert whole[0] == 200
        assert wire.ask("GET", path, headers=((b"range", sent),)) == whole


def test_an_exported_file_with_an_entry_before_its_beginning_is_damaged(tmp_path: Path, lecture_version: Path) -> None:
    """Seeking there raised an OSError, which passed for a broken volume: 500."""
    packed = b"".join(bundle.pack(lecture_version, "lecture@1"))
    (tmp_path / "cut").write_bytes(packed[2:])
    huge = bytearray(packed)
    at = huge.index(b"PK\x01\x02")
    huge[at + 42 : at + 46] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "huge").write_bytes(huge)
    for number, name in enumerate(("cut", "huge")):
        with pytest.raises(BundleError, match="damaged"):
            bundle.unpack_apart(tmp_path / name, tmp_path / str(number), MOST)


@pytest.mark.parametrize("field", ["seed", "parameters", "steps"])
def test_a_manifest_with_a_number_too_large_is_refused(field: str, tmp_path: Path, lecture_version: Path) -> None:
    folder = Path(shutil.copytree(lecture_version, tmp_path / "copy"))
    seal(folder, **{field: 10**30})
    with pytest.raises(BundleError, match="too large to be stored"):
        bundle.check_apart(folder)

"""Whatever reads users' files, on random and damaged ones; `python -m benchmarks.fuzz --parsers` is the large run."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from benchmarks.fuzz import parsers, raw
from benchmarks.fuzz.bed import Bed
from benchmarks.fuzz.parsers import Target

pytestmark = pytest.mark.timeout(1200)

FILES = ("texts", "pictures", "ZIPs", "any files", "one picture", "addresses", "exported models")
REQUESTS = ("addresses and queries", "forms", "typed texts", "JSON bodies")
EXAMPLES = 25


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in parsers.targets(tmp_path_factory.mktemp("versions"))}


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    with Bed(tmp_path_factory.mktemp("bed")) as bed, raw.Wire(bed) as wire:
        yield {target.name: target for target in raw.targets(wire)}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_or_refused(name: str, files: dict[str, Target]) -> None:
    assert set(files) == set(FILES)
    outcome = parsers.fuzz(files[name], EXAMPLES)
    assert outcome.failure is None, outcome.failure[:5000]
    assert len(outcome.counts) > 1, outcome.counts  # not all of one kind


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_answered_or_refused(name: str, requests: dict[str, Target]) -> None:
    assert set(requests) == set(REQUESTS)
    outcome = parsers.fuzz(requests[name], EXAMPLES)
    assert outcome.failure is None, outcome.failure[:5000]


def raise_for_ff(data: bytes) -> str:
    if b"\xff" in data:
        raise UnicodeError("this is a bug")
    return "read"


def grow(data: bytes) -> str:
    return str(len(bytearray(2 * parsers.MEMORY)))


def test_a_bug_is_noticed_and_made_small() -> None:
    outcome = parsers.fuzz(Target("buggy", st.binary(max_size=100), raise_for_ff), 200)
    assert outcome.failure is not None
    assert "this is a bug" in outcome.failure
    assert outcome.failure.endswith(r"input: b'\xff'")


def test_memory_and_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = parsers.fuzz(Target("greedy", st.binary(max_size=1), grow), 3)
    assert outcome.failure is not None
    assert "MemoryError" in outcome.failure
    monkeypatch.setattr(parsers, "DEADLINE", 0.01)
    outcome = parsers.fuzz(Target("slow", st.binary(max_size=1), lambda data: str(time.sleep(0.05))), 3)
    assert outcome.failure is not None
    assert "Deadline" in outcome.failure

"""A running service for each test, on a data folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "data")
    made.start()
    yield made
    made.close()

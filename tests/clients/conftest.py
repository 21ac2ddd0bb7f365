"""One running service for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.flow.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"

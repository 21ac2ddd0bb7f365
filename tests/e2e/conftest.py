"""One service and one browser for each file of browser tests.

Playwright's loop ends with the file: while it runs, no test of asyncio could run in the same process.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browsing import Watched, chromium
from tests.flow.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def pages(browser: Browser, service: Service) -> Iterator[Watched]:
    made = Watched(browser, f"http://127.0.0.1:{service.port}")
    yield made
    made.close()

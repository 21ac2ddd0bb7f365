"""A real browser on the real service: pages that must not say an error, axe, and screenshots to be looked at."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

SCREENS = Path(__file__).resolve().parents[2] / "build" / "screens"
WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}
HANG = 60_000  # milliseconds after which something is held to be stuck


def chromium() -> str:
    found = shutil.which("chromium")
    assert found, "no chromium in PATH: scripts/browser.sh installs it"
    return found


class Watched:
    """Pages whose console is listened to. An error there, or a report of the content policy, fails the test."""

    def __init__(self, browser: Browser, base: str) -> None:
        self.browser, self.base = browser, base
        self.contexts: list[BrowserContext] = []
        self.said: list[str] = []
        self.expected: list[str] = []

    def open(
        self,
        path: str = "/",
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        language: str = "en-GB",
        base: str | None = None,
        before: Callable[[Page], None] | None = None,
        **options: Any,
    ) -> Page:
        """A page of a context of its own. `before` sees it before it goes anywhere, to add routes."""
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            **options,
        )
        context.set_default_timeout(HANG)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.said.append(f"pageerror: {error}"))
        if before is not None:
            before(page)
        page.goto((base or self.base) + path)
        return page

    def expect(self, *patterns: str) -> None:
        """Regular expressions of console errors that this test causes: a killed service, a refused request."""
        self.expected += patterns

    def _hear(self, kind: str, text: str) -> None:
        # A container engine that starts or stops beside the tests changes the machine's networks; the page tries again.
        if kind in ("error", "warning") and "net::ERR_NETWORK_CHANGED" not in text:
            self.said.append(f"{kind}: {text}")

    def close(self) -> None:
        for context in self.contexts:
            for page in context.pages:  # a route that is still answering is not the next test's failure
                page.unroute_all(behavior="ignoreErrors")
            context.close()
        left = [text for text in self.said if not any(re.search(pattern, text) for pattern in self.expected)]
        assert not left, left


def violations(page: Page) -> list[str]:
    """What axe finds, one line each."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}" for each in found]


def screenshot(page: Page, name: str) -> None:
    """The whole page, kept as build output."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def fits(page: Page) -> bool:
    """Nothing is wider than the page."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"))

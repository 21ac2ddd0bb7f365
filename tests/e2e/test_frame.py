"""The page's frame: navigation, theme, language, what it says of the service."""

from typing import get_args

import pytest
from playwright.sync_api import Page

from app.health.schemas import Ready
from tests.e2e.browsing import WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service

VIEWS = ("try", "teach", "models", "lecture")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_is_accessible_and_fits(pages: Watched, width: str, dark: bool) -> None:
    page = pages.open(width=WIDTHS[width][0], height=WIDTHS[width][1], dark=dark)
    for view in VIEWS:
        page.goto(f"{pages.base}/#/{view}")
        page.locator(f".view.{view} h1").wait_for()
        page.wait_for_load_state("networkidle")
        screenshot(page, f"{view}-{width}-{'dark' if dark else 'light'}")
        assert fits(page), view
        assert violations(page) == [], view


def test_it_is_walked_by_keyboard_alone(pages: Watched) -> None:
    page = pages.open()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"
    page.locator("a[data-view=teach]").focus()
    page.keyboard.press("Enter")
    page.locator(".view.teach").wait_for()
    assert page.locator("a[aria-current=page]").inner_text() == "Teach"
    assert page.title().startswith("Teach")


def test_theme_and_language_are_remembered(pages: Watched) -> None:
    page = pages.open()
    paper = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(paper) != light
    page.get_by_role("combobox", name="Language").select_option("ko")
    assert page.locator("a[data-view=teach]").inner_text() == "가르치기"
    page.reload()
    assert page.locator("a[data-view=teach]").inner_text() == "가르치기"
    assert page.evaluate(paper) != light


def test_korean_readers_get_korean(pages: Watched) -> None:
    page = pages.open(language="ko-KR")
    assert page.locator("a[data-view=lecture]").inner_text() == "강의"
    assert page.evaluate("() => document.documentElement.lang") == "ko"


def test_it_says_when_the_service_is_gone_and_back(pages: Watched, service: Service) -> None:
    pages.expect("Failed to load resource", "net::ERR")
    page = pages.open()
    page.locator(".dot.ready").wait_for()
    service.stop()
    page.locator(".notice").wait_for()
    assert "does not answer" in page.locator(".notice").inner_text()
    service.start()
    page.locator(".dot.ready").wait_for()
    assert page.locator(".notice").count() == 0


@pytest.mark.parametrize("status", get_args(Ready.model_fields["status"].annotation))
@pytest.mark.parametrize("language", ["en-GB", "ko-KR"])
def test_whatever_the_service_says_of_itself_has_words(
    pages: Watched, service: Service, status: str, language: str
) -> None:
    pages.expect("503")
    said = service.client.get("/health/ready").json() | {"status": status}
    code = 200 if status in ("ready", "degraded") else 503

    def answer(page: Page) -> None:
        page.route("**/health/ready", lambda route: route.fulfill(status=code, json=said))

    page = pages.open(before=answer, language=language)
    page.locator(f".dot.{status.replace(' ', '-')}").wait_for()
    assert page.locator(".notice").count() == (code == 503)


def test_docs_show_the_routes_and_load_nothing_from_elsewhere(pages: Watched) -> None:
    asked: list[str] = []
    page = pages.open("/docs", before=lambda page: page.on("request", lambda request: asked.append(request.url)))
    page.get_by_text("/predict-next-word").first.wait_for()
    assert all(address.startswith((pages.base, "data:")) for address in asked)


def test_policy_and_caching(service: Service) -> None:
    page = service.client.get("/")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    script = service.client.get("/web/app.js")
    assert script.headers["Cache-Control"] == "no-cache"
    again = service.client.get("/web/app.js", headers={"If-None-Match": script.headers["ETag"]})
    assert again.status_code == 304
    for method in ("GET", "POST", "DELETE"):
        missing = service.client.request(method, "/web/nothing.js")
        assert missing.status_code == 404
        assert missing.headers["Content-Type"] == "application/problem+json"
    assert service.client.get("/web/").status_code == 404, "no listing"
    assert service.client.get("/web/../router.py").status_code == 404


def test_a_key_is_tried_before_it_is_kept(pages: Watched, service: Service) -> None:
    """The last of this file: with its first key the service is closed for good."""
    pages.expect("401", "403")
    admin = service.client.post("/keys", json={"name": "me", "scope": "admin"}).json()["key"]
    page = pages.open()
    page.get_by_role("button", name="Enter a key").last.click()
    assert (
        page.locator(".embed code").first.inner_text().endswith('<next-word-input key="ink_pub_…"></next-word-input>')
    )
    for wrong in ("ink_wrong", "열쇠"):
        page.get_by_label("Key", exact=True).fill(wrong)
        page.keyboard.press("Enter")
        page.locator("dialog[open]").get_by_text("does not know this key").wait_for()
        assert page.get_by_label("Key", exact=True).input_value() == wrong
    assert violations(page) == []
    page.get_by_label("Key", exact=True).fill(admin)
    page.keyboard.press("Enter")
    page.locator("next-word [part=option]").first.wait_for()
    assert page.locator(".notice").count() == 0
    page.reload()
    page.locator("next-word [part=option]").first.wait_for()

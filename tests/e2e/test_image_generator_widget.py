"""The picture widget as people embed it: on a page of another origin, on the real service."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.browsing import Watched, screenshot, violations
from tests.e2e.site import Site
from tests.flow.service import Service

HEARS = """<script>
window.said = [];
for (const name of ["image", "error"])
  document.addEventListener(`inkling-${name}`, ({ type, detail }) =>
    said.push({ type, ...detail, error: detail.error?.status }));
</script>"""
PIXELS = """async (image) => {
  const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}"""
BOX = "element => { const { width, height } = element.getBoundingClientRect(); return [width, height]; }"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data", cors_origins=site.origin)
    made.start()
    yield made
    made.close()


Shown = Callable[..., Page]


@pytest.fixture
def shown(pages: Watched, site: Site) -> Shown:
    """Open a bare page with one line that embeds the widget, and wait for pictures."""

    def show(element: str = "<image-generator></image-generator>", wait: bool = True, **options: Any) -> Page:
        site.pages["/"] = (
            f'<!doctype html><html lang="en"><title>A page</title><link rel="icon" href="data:,">{HEARS}'
            f'<main><h1>A page</h1><script type="module" src="{pages.base}/widgets/image-generator.js"></script>'
            f"{element}</main>"
        )
        page = pages.open("/", base=site.origin, **options)
        if wait:
            heard(page, "image")
        return page

    return show


def heard(page: Page, kind: str, times: int = 1) -> list[dict[str, Any]]:
    """Wait for `times` events of a kind; all there are."""
    page.wait_for_function(
        "([kind, times]) => said.filter(({ type }) => type === kind).length >= times", arg=[f"inkling-{kind}", times]
    )
    found: list[dict[str, Any]] = page.evaluate("kind => said.filter(({ type }) => type === kind)", f"inkling-{kind}")
    return found


def pictures(page: Page) -> Locator:
    return page.locator("image-generator img")


def drawn(service: Service, **body: Any) -> list[str]:
    response = service.client.post("/generate", json=body, headers={"Accept": "application/json"})
    return [each["b64_json"] for each in response.json()["images"]]


def test_one_line_draws_a_picture_and_a_button_another(shown: Shown, service: Service) -> None:
    page = shown()
    (event,) = heard(page, "image")
    seed = event["images"][0]["seed"]
    assert event["model"] == {"name": "pictures", "version": 1}
    assert pictures(page).get_attribute("alt") == f"Picture {seed}, drawn by the model pictures"
    assert [pictures(page).evaluate(PIXELS)] == drawn(service, seed=seed, scale=4), "the service's own bytes"
    assert service.client.get(event["images"][0]["url"]).content == base64.b64decode(
        drawn(service, seed=seed, scale=4)[0]
    )
    button = page.get_by_role("button", name="Draw another")
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    second = heard(page, "image", 2)[1]["images"][0]["seed"]
    assert second != seed
    expect(button).to_be_focused()
    button.click()
    assert heard(page, "image", 3)[2]["images"][0]["seed"] not in (seed, second)
    assert violations(page) == []


def test_its_attributes(shown: Shown, service: Service) -> None:
    attributes = 'model="faces@1" seed="7" count="3" truncation="0.5" scale="2" lang="ko"'
    page = shown(f"<image-generator {attributes}></image-generator>")
    looks = [each.evaluate(PIXELS) for each in pictures(page).all()]
    assert looks == drawn(service, model="faces", seed=7, count=3, truncation=0.5, scale=2)
    assert page.get_by_role("button").inner_text() == "다른 그림 그리기"
    assert pictures(page).nth(1).get_attribute("alt") == "faces 모델이 그린 그림 8"
    screenshot(page, "image-generator")
    page.evaluate(
        "() => Object.assign(document.querySelector('image-generator'), { truncation: 1, count: 2, lang: 'en' })"
    )
    (now,) = heard(page, "image", 2)[1:]
    assert [each["seed"] for each in now["images"]] == [7, 8], "one request for both, and the same pictures"
    assert pictures(page).count() == 2
    page.evaluate("() => (document.querySelector('image-generator').seed = 20)")
    assert heard(page, "image", 3)[2]["images"][0]["seed"] == 20
    assert page.get_by_role("button", name="Draw others").is_visible()


def test_nothing_moves_when_the_pictures_come(pages: Watched, shown: Shown) -> None:
    pages.expect("ERR_FILE_NOT_FOUND")  # of the old picture, which is let go
    waiting: list[Route] = []

    def hold(page: Page) -> None:
        page.route("**/generate", lambda route: waiting.append(route))

    page = shown('<image-generator count="3" seed="1"></image-generator>', wait=False, before=hold)
    page.get_by_role("button", name="Draw others").wait_for()
    while not waiting:
        page.wait_for_timeout(20)
    before = page.locator("image-generator").evaluate(BOX)
    assert page.locator("[part=pictures]").get_attribute("aria-busy") == "true"
    waiting[0].continue_()
    heard(page, "image")
    assert page.locator("image-generator").evaluate(BOX) == before
    assert before[0] > 3 * 128
    old = pictures(page).first.get_attribute("src")
    page.get_by_role("button").click()
    while len(waiting) < 2:
        page.wait_for_timeout(20)
    assert pictures(page).first.get_attribute("src") == old, "the old ones stay"
    waiting[1].continue_()
    heard(page, "image", 2)
    assert pictures(page).first.get_attribute("src") != old
    assert page.evaluate("url => fetch(url).then(() => 'kept', () => 'let go')", old) == "let go"


def test_it_is_quiet_while_the_service_is_busy(pages: Watched, shown: Shown) -> None:
    pages.expect("429", "503", "Failed to load resource")
    states = [429, 503, 429]  # the client's own three tries; then it is left to the widget

    def busy(page: Page) -> None:
        page.clock.install()
        page.route("**/generate", refuse)

    def refuse(route: Route) -> None:
        if not states:
            return route.fallback()
        headers = {
            "Retry-After": "0",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Retry-After",
        }
        problem = {"status": states[0], "detail": "busy", "code": "busy"}
        return route.fulfill(
            status=states.pop(0), headers=headers, content_type="application/json", body=json.dumps(problem)
        )

    page = shown(wait=False, before=busy)
    assert [event["error"] for event in heard_while(page, "error")] == [429]
    assert page.locator("[part=message]").inner_text() == ""
    page.clock.run_for(6_000)
    heard_while(page, "image")
    assert pictures(page).get_attribute("alt")


def heard_while(page: Page, kind: str) -> list[dict[str, Any]]:
    """The same as `heard`, with the page's clock driven on."""
    for _ in range(200):
        found: list[dict[str, Any]] = page.evaluate(
            "kind => said.filter(({ type }) => type === kind)", f"inkling-{kind}"
        )
        if found:
            return found
        page.clock.run_for(50)
    raise AssertionError(f"no inkling-{kind}")


def test_it_says_when_there_is_no_such_model(pages: Watched, shown: Shown) -> None:
    pages.expect("404")
    page = shown('<image-generator model="nothing-such"></image-generator>', wait=False)
    assert heard(page, "error")[0]["error"] == 404
    assert page.get_by_text("No picture could be drawn.").is_visible()
    page.evaluate("() => document.querySelector('image-generator').setAttribute('model', 'pictures')")
    heard(page, "image")
    assert page.get_by_text("No picture could be drawn.").count() == 0


def test_it_works_under_a_strict_policy_and_takes_its_style(shown: Shown, site: Site, pages: Watched) -> None:
    script = HEARS.removeprefix("<script>").removesuffix("</script>")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = f"script-src {pages.base} 'sha256-{digest}'; connect-src {pages.base}; img-src blob: data:"
    site.policy = f"default-src 'none'; {sources}"
    try:
        page = shown('<image-generator seed="3" hidden></image-generator>', wait=False)
    finally:
        site.policy = ""
    heard(page, "image")
    assert page.get_by_role("button").count() == 0, "hidden is hidden"
    page.evaluate(
        """() => { const sheet = new CSSStyleSheet();
        sheet.replaceSync(`image-generator { --inkling-size: 200px }
          image-generator::part(button) { color: rgb(1, 2, 3) }`);
        document.adoptedStyleSheets = [sheet]; document.querySelector("image-generator").hidden = false; }"""
    )
    assert pictures(page).evaluate(BOX) == [200, 200]
    assert page.get_by_role("button").evaluate("button => getComputedStyle(button).color") == "rgb(1, 2, 3)"


def test_a_publishable_key_is_enough(pages: Watched, shown: Shown, site: Site, service: Service) -> None:
    """The last test: from its first key on the service asks for one."""
    pages.expect("401")
    made = service.client.post("/keys", json={"name": "a site", "scope": "predict", "origins": [site.origin]})
    assert made.status_code == 201, made.text
    page = shown('<image-generator seed="5"></image-generator>', wait=False)
    assert heard(page, "error")[0]["error"] == 401
    page.evaluate("key => (document.querySelector('image-generator').key = key)", made.json()["key"])
    heard(page, "image")
    assert pictures(page).get_attribute("alt") == "Picture 5, drawn by the model pictures"

"""The page's pictures: a wall of them, one looked at closely, two that turn into each other, and one's own judged."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import FileChooser, Locator, Page, Route, expect

from tests.e2e.browsing import WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "docs" / "digits.png"
VERDICTS = {
    0.1: "The judge sees that it is not a real one.",
    0.4: "The judge leans to “not real”.",
    0.6: "The judge cannot tell.",
    1.0: "The judge takes it for a real one.",
}
SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) shifts.push(each.value);
}).observe({ type: "layout-shift" }); }"""


def wall(pages: Watched, **options: Any) -> Page:
    """The page at its pictures, all of them drawn."""
    page = pages.open("/#/try/pictures", **options)
    page.locator(".gallery img:visible").nth(23).wait_for()
    expect(page.locator("section.pictures")).to_be_focused()  # the last thing that the address does
    return page


def cells(page: Page) -> Locator:
    return page.locator(".gallery li")


def names(page: Page) -> list[str]:
    return [str(cell.get_attribute("aria-label")) for cell in cells(page).all()]


def shown(page: Page, name: str) -> None:
    """Wait until the wall begins with the picture called so."""
    expect(cells(page).first).to_have_attribute("aria-label", name)


def heading(page: Page) -> Locator:
    return page.locator(".from h3")


def drawn(service: Service, **body: Any) -> list[dict[str, Any]]:
    response = service.client.post("/generate", json=body, headers={"Accept": "application/json"})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["images"]
    return found


def body_of(route: Route) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(route.request.post_data or "")
    return body


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {wanted}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_fits(pages: Watched, width: str, dark: bool) -> None:
    page = wall(pages, width=WIDTHS[width][0], height=WIDTHS[width][1], dark=dark)
    name = f"pictures-{width}-{'dark' if dark else 'light'}"
    for index in (3, 9):
        cells(page).nth(index).press("Space")
    page.locator(".strip img").nth(5).wait_for()
    page.locator("input[type=file]").set_input_files(DIGITS)
    page.locator(".result .meter").wait_for()
    cells(page).nth(6).click()
    expect(page.locator(".look-panel h3")).to_have_text("Picture 7")
    page.get_by_text("Was it copied?").click()
    page.locator(".nearest-row img").nth(4).wait_for()
    screenshot(page, name)
    assert violations(page) == []
    if width == "phone":
        assert page.locator("dialog.look-dialog").is_visible()
        page.keyboard.press("Escape")
        assert page.locator("dialog.look-dialog").is_hidden()
        screenshot(page, f"{name}-wall")
        assert violations(page) == []
    assert fits(page)


def test_the_wall_is_what_the_service_draws(pages: Watched, service: Service) -> None:
    page = wall(pages)
    assert names(page) == [f"Picture {seed}" for seed in range(1, 25)]
    assert page.get_by_text("24 pictures, drawn by the model pictures, version 1").is_visible()
    sources = [str(image.get_attribute("src")) for image in page.locator(".gallery img").all()]
    assert [source.split(",")[1] for source in sources] == [
        each["b64_json"] for each in drawn(service, seed=1, count=24)
    ]
    page.get_by_label("Seed").fill("700")
    shown(page, "Picture 700")
    page.get_by_role("slider", name="Daring").fill("0.5")
    (tame,) = drawn(service, seed=700, truncation=0.5)
    expect(page.locator(".gallery img").first).to_have_attribute("src", f"data:image/png;base64,{tame['b64_json']}")
    page.get_by_label("Size").select_option("large")
    expect(cells(page)).to_have_count(12)
    page.get_by_label("Drawn by").select_option("faces")
    expect(page.locator(".told")).to_have_text("12 pictures, drawn by the model faces, version 1")
    shown(page, "Picture 700")
    cells(page).first.click()
    assert page.locator(".address").inner_text() == "/images/faces/1/700.png?truncation=0.5"
    assert 'model="faces"' in page.locator(".pictures .embed code").inner_text()


def test_others_are_drawn_without_a_shift_and_the_old_ones_stay_till_then(pages: Watched) -> None:
    page = wall(pages)
    page.evaluate(SHIFTS)
    waiting: list[Route] = []
    page.route("**/generate", lambda route: waiting.append(route))
    first = str(page.locator(".gallery img").first.get_attribute("src"))
    for seed in (40, 50):
        with page.expect_request("**/generate"):
            page.get_by_label("Seed").fill(str(seed))
    assert page.locator(".gallery img").first.get_attribute("src") == first
    assert [body_of(route)["seed"] for route in waiting] == [40, 50]
    waiting[1].continue_()
    shown(page, "Picture 50")
    assert waiting[0].request.failure, "the older request was given up"
    page.unroute("**/generate")
    page.get_by_role("button", name="Draw others").click()
    expect(page.get_by_label("Seed")).not_to_have_value("50")
    shown(page, f"Picture {page.get_by_label('Seed').input_value()}")
    assert page.evaluate("() => shifts") == []


def test_by_keyboard_alone(pages: Watched) -> None:
    page = wall(pages)
    page.get_by_label("Drawn by").focus()
    tab_to(page, cells(page).first)
    focused = "() => document.activeElement.getAttribute('aria-label')"
    for key, name in {"ArrowDown": 7, "ArrowRight": 8, "ArrowUp": 2, "ArrowLeft": 1, "End": 24, "Home": 1}.items():
        page.keyboard.press(key)
        assert page.evaluate(focused) == f"Picture {name}", key
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "Picture 1", "there is nothing before the first"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator(".look h3").first.inner_text() == "Picture 2"
    assert "Picture 2. Looks real" in page.locator(".look [role=status]").first.inner_text()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert [cell.get_attribute("aria-label") for cell in page.locator(".gallery li[aria-selected=true]").all()] == [
        "Picture 2",
        "Picture 8",
    ]
    page.locator(".strip img").nth(5).wait_for()
    tab_to(page, page.get_by_role("button", name="Draw their children"))
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("Children of 2 and 8")
    assert names(page)[:2] == ["Child 1 of 2 and 8", "Child 2 of 2 and 8"]
    expect(cells(page).first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("Seeds 1 to 24")


def test_one_is_looked_at_linked_and_taken_home(pages: Watched, service: Service, tmp_path: Path) -> None:
    page = wall(pages, permissions=["clipboard-read", "clipboard-write"])
    cells(page).nth(3).click()
    look = page.locator(".look")
    (picture,) = drawn(service, seed=4)
    assert look.locator(".meter-value").inner_text() == f"{100 * picture['realness']:.0f}%"
    said = next(words for most, words in VERDICTS.items() if picture["realness"] <= most)
    assert look.locator(".verdict").inner_text() == said
    look.get_by_role("button", name="Copy the link").click()
    look.get_by_text("Copied.").wait_for()
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert link == f"{pages.base}/images/pictures/1/4.png"
    assert service.client.get(link).content == base64.b64decode(picture["b64_json"])

    look.get_by_label("Pixels").select_option("224 × 224")
    for kind in ("PNG", "WebP"):
        look.get_by_label("Format").select_option(kind)
        with page.expect_download() as download:
            look.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename == f"pictures-1-4.{kind.lower()}"
        with Image.open(download.value.path()) as image:
            assert (image.format, image.size) == (kind.upper(), (224, 224))

    look.get_by_text("Was it copied?").click()
    look.locator(".nearest-row img").nth(4).wait_for()
    body = {"seed": 4, "count": 5}
    found = service.client.post("/nearest", json=body, headers={"Accept": "application/json"}).json()
    said = look.locator(".nearest [role=status]").inner_text()
    assert f"differs by {found['nearest'][0]['distance']:.2g}" in said
    assert f"below {found['held_out_distance'] / 2:.2g} it would be a copy" in said
    first = found["nearest"][0]
    assert f"Picture {first['index']} that it learned from, {first['label']}" in str(
        look.locator(".nearest-row img").first.get_attribute("alt")
    )


def test_more_like_this_and_back(pages: Watched, service: Service) -> None:
    page = wall(pages)
    with page.expect_response("**/generate"):
        page.get_by_role("slider", name="Daring").fill("0.8")
    cells(page).nth(8).click()
    expect(page.locator(".address")).to_have_text("/images/pictures/1/9.png?truncation=0.8")
    page.get_by_role("button", name="More like this").click()
    expect(heading(page)).to_have_text("Like picture 9")
    assert names(page)[0] == "Number 1 of those like 9"
    before = page.locator(".gallery img").first.get_attribute("src")
    page.get_by_role("slider", name="How different").press("ArrowLeft")
    expect(page.locator(".gallery img").first).not_to_have_attribute("src", str(before))
    expect(page.get_by_role("slider", name="How different")).to_be_focused()
    cells(page).nth(1).click()
    address = page.locator(".address").inner_text()
    (near,) = drawn(service, latents=["9~2@0.25"], truncation=0.8)
    assert address == near["url"]
    page.get_by_role("button", name="More like this").click()
    expect(heading(page)).to_have_text("Like this picture")
    assert names(page)[0] == "Number 1 of those like another"
    page.get_by_role("button", name="Back", exact=True).click()
    expect(heading(page)).to_have_text("Like picture 9")
    page.get_by_role("button", name="Back", exact=True).click()
    expect(heading(page)).to_have_text("Seeds 1 to 24")
    assert page.get_by_label("Seed").input_value() == "1"


def test_one_turns_into_another(pages: Watched) -> None:
    page = wall(pages)
    stage = page.locator(".stage img")
    for index in (3, 9, 20):  # the third takes the first one's place
        cells(page).nth(index).hover()
        cells(page).nth(index).locator(".corner-mark").click()
    expect(stage).to_have_attribute("src", re.compile("^blob:"))
    assert stage.get_attribute("alt") == "Picture 10 turns into Picture 21"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the animation").click()
    assert download.value.suggested_filename == "pictures-10-21.webp"
    with Image.open(download.value.path()) as film:
        assert film.size == (224, 224)
        assert getattr(film, "n_frames", 1) > 20
    page.get_by_role("button", name="Stop").click()
    expect(stage).to_have_attribute("src", re.compile("^data:"))
    page.locator(".strip button").nth(2).click()
    assert page.locator(".look h3").first.inner_text() == "43% of the way from 10 to 21"
    page.get_by_role("button", name="Picture 21: leave it out").click()
    assert page.get_by_role("button", name="Draw their children").is_disabled()
    assert page.locator(".gallery li[aria-selected=true]").count() == 1


def test_nothing_moves_for_those_who_want_it_still(pages: Watched) -> None:
    asked: list[str] = []

    def listen(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))

    page = wall(pages, reduced_motion="reduce", before=listen)
    for index in (0, 1):
        cells(page).nth(index).press("Space")
    page.locator(".strip img").nth(5).wait_for()
    stage = page.locator(".stage img")
    assert stage.get_attribute("src") == page.locator(".gallery img").first.get_attribute("src")
    assert not [url for url in asked if "interpolate" in url]
    page.get_by_role("button", name="Play").click()
    expect(stage).to_have_attribute("src", re.compile("^blob:"))


def test_ones_own_picture_is_judged(pages: Watched, service: Service) -> None:
    choosers: list[FileChooser] = []

    def listen(page: Page) -> None:  # from the start: a listener that comes with the key press may come too late
        page.on("filechooser", lambda chooser: choosers.append(chooser))

    page = wall(pages, before=listen)
    result = page.locator(".result")
    page.locator(".zone").get_by_role("button").press("Enter")
    while not choosers:
        page.wait_for_timeout(20)
    choosers[0].set_files(DIGITS)
    result.locator(".meter").wait_for()
    scored = service.client.post("/score", files={"file": DIGITS.read_bytes()}).json()["realness"]
    assert result.locator(".meter-value").inner_text() == f"{100 * scored:.0f}%"
    assert "Judged by pictures, version 1." in result.inner_text()

    give = """([kind, encoded, type]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))], "mine", { type }));
      const fields = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
      const event = kind === "paste" ? new ClipboardEvent(kind, fields) : new DragEvent(kind, fields);
      document.querySelector("h1").dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    real = drawn(service, seed=4)[0]
    plain = Image.open(io.BytesIO(base64.b64decode(real["b64_json"])))
    out = io.BytesIO()
    plain.save(out, "PNG")
    picture = base64.b64encode(out.getvalue()).decode()
    for kind in ("drop", "paste"):
        assert page.evaluate(give, [kind, picture, "image/png"])
        expect(result.locator(".meter-value")).to_have_text(f"{100 * real['realness']:.0f}%")
        assert page.evaluate(give, [kind, "AAAA", "text/plain"]), "or the browser would leave the page"
        expect(result).to_contain_text("That is no picture")
    pages.expect("415")
    page.evaluate(give, ["drop", "AAAA", "image/png"])
    expect(result.locator(".problem")).to_be_visible()
    expect(page.locator(".own-picture img")).to_be_hidden()  # and not the sign of a broken one
    page.evaluate(give, ["drop", picture, "image/png"])
    page.get_by_label("Drawn by").select_option("faces")
    expect(result).to_contain_text("Judged by faces, version 1.")


def test_kinds_can_be_chosen_where_a_model_has_them(pages: Watched) -> None:
    asked: list[Any] = []

    def label(route: Route) -> None:
        card = route.fetch().json()
        card["versions"][0]["serving"]["labels"] = ["cat", "dog"]
        route.fulfill(json=card)

    def draw(route: Route) -> None:
        body = body_of(route)
        wanted = body.pop("label", None)
        asked.append(wanted)
        answer = route.fetch(post_data=body).json()
        for image in answer["images"]:
            image["label"] = wanted or "dog"
        route.fulfill(json=answer)

    def before(page: Page) -> None:
        page.route("**/models/pictures", label)
        page.route("**/generate", draw)

    page = wall(pages, before=before)
    shown(page, "Picture 1, dog")
    page.get_by_label("Kind").select_option("cat")
    shown(page, "Picture 1, cat")
    assert asked == [None, "cat"]
    page.get_by_label("Drawn by").select_option("faces")
    expect(page.get_by_label("Kind")).to_be_hidden()


def test_it_is_told_when_nothing_can_be_drawn(pages: Watched) -> None:
    pages.expect("429", "404", "Failed to load")
    page = wall(pages)
    busy = {"status": 429, "title": "Too Many Requests", "detail": "the queue is full", "code": "busy"}
    page.route("**/generate", lambda route: route.fulfill(status=429, json=busy, headers={"Retry-After": "0"}))
    page.get_by_role("button", name="Draw others").click()
    page.locator(".toast", has_text="cannot draw just now").wait_for()
    assert names(page)[0] == "Picture 1", "the old ones stay"
    page.unroute("**/generate")
    gone = {"status": 404, "title": "Not Found", "detail": "there is no model 'pictures'", "code": "not_found"}
    page.route("**/generate", lambda route: route.fulfill(status=404, json=gone))
    page.get_by_role("button", name="Draw others").click()
    page.locator(".trouble").get_by_text("there is no model").wait_for()
    page.unroute("**/generate")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".trouble .problem")).to_have_count(0)

    none: dict[str, Any] = {"models": [], "next": None}
    page.route("**/models?*", lambda route: route.fulfill(json=none))
    page.reload()
    page.get_by_text("No model draws yet").wait_for()


def test_in_korean_and_what_was_set_stays(pages: Watched) -> None:
    page = wall(pages, language="ko-KR", width=390, height=844)
    assert page.locator(".pictures h2").first.inner_text() == "아무도 그린 적 없는 그림"
    page.get_by_label("시드").fill("31")
    shown(page, "그림 31")
    cells(page).nth(1).press("Space")
    page.get_by_role("combobox", name="언어").select_option("en")
    shown(page, "Picture 31")
    assert page.get_by_label("Seed").input_value() == "31"
    assert cells(page).nth(1).get_attribute("aria-selected") == "true"
    assert fits(page)

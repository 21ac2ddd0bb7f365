"""Try, the words: writing with suggestions on the page itself, why, writing on, teaching, and the line to embed."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.browsing import WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service


def ghost(page: Page) -> str:
    found = page.locator(".words .layer [part=ghost]")
    found.wait_for()
    return found.inner_text()


def write(page: Page, text: str) -> str:
    """Write into the emptied box; the grey words after it, once the service has answered for all of it."""
    page.locator("#text").fill("")
    page.locator("#text").focus()
    page.evaluate(
        """text => { window.answered = new Promise(resolve => document.addEventListener("inkling-suggest",
          ({ detail }) => detail.text === text && resolve(detail))); }""",
        text,
    )
    page.keyboard.type(text)
    page.evaluate("() => window.answered")
    return ghost(page)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_everything_open_is_accessible_and_fits(pages: Watched, width: str, dark: bool) -> None:
    korean = dark == (width == "phone")
    language = "ko-KR" if korean else "en-GB"
    page = pages.open(width=WIDTHS[width][0], height=WIDTHS[width][1], dark=dark, language=language)
    page.locator(".words [part=option]").first.wait_for()
    before = page.locator(".coming").bounding_box()
    write(page, "The Zorblax is my shep")
    assert page.locator(".coming").bounding_box() == before, "nothing moves while somebody writes"
    page.locator(".why-button").click()
    page.locator(".reason").first.wait_for()
    page.locator(".on button").first.click()
    page.locator(".written .primary").wait_for()
    for summary in page.locator(".words summary").all():
        summary.click()
    screenshot(page, f"words-{width}-{'dark' if dark else 'light'}-{language[:2]}")
    assert fits(page)
    assert violations(page) == []


def test_words_stand_there_before_anybody_types(pages: Watched) -> None:
    page = pages.open()
    options = page.get_by_role("listbox", name="Suggestions").get_by_role("option")
    expect(options).to_have_count(5)
    assert ghost(page).startswith(" ")
    assert "%" in options.first.inner_text()
    expect(page.locator(".version")).to_have_text("version 1")
    widths = [float(bar.evaluate("bar => bar.offsetWidth")) for bar in page.locator(".words [part=bar]").all()]
    assert widths == sorted(widths, reverse=True), "bars are as long as the words are likely"
    assert widths[0] > 0


def test_a_click_selects_the_example_so_that_typing_replaces_it(pages: Watched) -> None:
    page = pages.open()
    page.locator(".words [part=option]").first.wait_for()
    page.locator("#text").click()
    page.keyboard.type("In the begi")
    assert page.locator("#text").input_value() == "In the begi"
    expect(page.locator(".words .layer [part=ghost]")).to_have_text(re.compile("^nning"))
    page.locator("#text").press("Home")
    page.locator("#text").click()
    page.keyboard.type("x")
    assert "In the begi" in page.locator("#text").input_value().replace("x", ""), "only the example, and only once"


def test_by_keyboard_alone_and_nothing_typed_is_lost(pages: Watched) -> None:
    page = pages.open()
    page.locator(".words [part=option]").first.wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "text":
            break
    page.keyboard.press("Control+End")
    page.keyboard.type(" sea. The lord is my shep")
    assert ghost(page).startswith("herd")
    page.keyboard.press("Alt+ArrowRight")
    text = page.locator("#text").input_value()
    assert text.endswith("sea. The lord is my shepherd")
    page.goto(f"{pages.base}/#/models")
    page.locator(".view.models h1").wait_for()
    page.goto(f"{pages.base}/#/try")
    assert page.locator("#text").input_value() == text
    page.reload()
    assert page.locator("#text").input_value() == text


def test_unknown_words_and_why(pages: Watched) -> None:
    page = pages.open()
    page.locator(".words [part=option]").first.wait_for()
    write(page, "The Zorblax is my shep")
    expect(page.locator(".note")).to_contain_text("“Zorblax”")
    page.get_by_role("button", name="Why these words?").press("Enter")
    page.get_by_role("heading", name="shepherd", exact=True).wait_for()
    assert "the network" in page.locator(".reason").first.inner_text()
    page.locator(".reason summary").first.press("Enter")
    quoted = page.locator(".reason").first.locator("li q").first
    quoted.wait_for()
    assert "shepherd" in quoted.inner_text().lower()
    write(page, "The lord is my shep")
    expect(page.locator(".note")).to_have_text("")


def test_it_writes_on_and_undo_takes_it_back(pages: Watched) -> None:
    page = pages.open()
    page.locator(".words [part=option]").first.wait_for()
    write(page, "And the lord is my shep")
    page.locator(".words").get_by_text("More", exact=True).click()
    page.get_by_label("Words", exact=True).press("Home")
    for _ in range(3):
        page.get_by_label("Words", exact=True).press("ArrowRight")
    page.get_by_label("Surprise").press("Home")
    expect(page.locator(".sliders output")).to_have_text("4 words, surprise none")
    with page.expect_request("**/predict-next-word") as asked:
        page.get_by_role("button", name="Let it write on").press("Enter")
    assert asked.value.post_data_json["words"] == 4
    assert "temperature" not in asked.value.post_data_json
    take = page.get_by_role("button", name="Put it into the text")
    take.wait_for()
    written = page.locator(".written .said").inner_text()
    assert written.startswith("shepherd")
    assert len(written.split()) == 4
    take.press("Enter")
    expect(page.locator("#text")).to_have_value(f"And the lord is my {written}")
    assert page.evaluate("() => document.activeElement.id") == "text"
    page.keyboard.press("Control+z")
    expect(page.locator("#text")).to_have_value("And the lord is my shep")


def test_another_model_answers_and_the_line_names_it(pages: Watched, service: Service) -> None:
    exported = service.client.get("/models/next-word/versions/1/export").content
    files = {"file": ("mine.inkling.zip", exported)}
    made = service.client.post("/models/import", files=files, data={"model": "mine"})
    assert made.status_code == 201, made.text
    page = pages.open(permissions=["clipboard-read", "clipboard-write"])
    line = f'<script type="module" src="{pages.base}/widgets/next-word.js"></script><next-word-input></next-word-input>'
    page.get_by_role("button", name="Copy the line", exact=True).click()
    page.locator(".words .embed").get_by_text("Copied.").wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()") == line
    with page.expect_request(lambda request: '"mine"' in (request.post_data or "")):
        page.get_by_label("Answered by").select_option("mine")
    expect(page.locator(".words .embed code")).to_have_text(line.replace("-input>", '-input model="mine">', 1))
    expect(page.locator(".words .version")).to_have_text("version 1")


def test_a_phrase_is_taught_and_forgotten(pages: Watched, service: Service) -> None:
    page = pages.open()
    page.locator(".words [part=option]").first.wait_for()
    page.get_by_text("Teach it a phrase").click()
    page.get_by_label("Phrase").fill("our product Zorblax")
    page.get_by_label("Phrase").press("Enter")
    page.get_by_text("knows “our product Zorblax” now").wait_for()
    assert write(page, "our product").startswith(" Zorblax")
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("Forgotten.").wait_for()
    assert not write(page, "our product").startswith(" Zorblax")
    assert service.client.get("/models/next-word/learned").json()["learned"] == []


def test_it_says_when_it_is_busy_and_comes_back_by_itself(pages: Watched) -> None:
    pages.expect("429")

    def refuse(route: Route) -> None:
        problem = {"status": 429, "title": "Too many requests", "detail": "busy", "code": "busy"}
        route.fulfill(status=429, json=problem, headers={"Retry-After": "1"})

    page = pages.open(before=lambda page: page.route("**/predict-next-word", refuse, times=1))
    expect(page.locator(".note")).to_contain_text("busy")
    page.locator(".words [part=option]").first.wait_for()
    expect(page.locator(".note")).to_have_text("")


def test_the_pictures_have_an_address_of_their_own(pages: Watched) -> None:
    page = pages.open("/#/try/pictures")
    focused = "() => document.activeElement.classList.contains('pictures')"
    page.wait_for_function(focused)
    page.goto(f"{pages.base}/#/try")
    page.locator(".words [part=option]").first.wait_for()
    page.evaluate("() => (location.hash = '#/try/pictures')")
    page.wait_for_function(focused)
    assert page.evaluate("() => scrollY") > 300


def test_without_a_model_it_shows_the_way(pages: Watched) -> None:
    none = {"models": [], "next": None}
    page = pages.open(before=lambda page: page.route("**/models", lambda route: route.fulfill(json=none)))
    page.get_by_text("No model knows words yet").wait_for()
    screenshot(page, "words-none")
    assert violations(page) == []
    assert page.get_by_role("link", name="Teach one").get_attribute("href") == "#/teach"

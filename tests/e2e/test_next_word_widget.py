"""The word widget as people embed it: on a page of another origin, on the real service."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.browsing import Watched, screenshot, violations
from tests.e2e.site import Site
from tests.flow.service import Service

PSALM = "the lord is my shep"
HEARS = """<script>
window.said = [];
for (const name of ["suggest", "accept", "error", "teach"])
  document.addEventListener(`inkling-${name}`, ({ type, detail }) =>
    said.push({ type, ...detail, error: detail.error?.status }));
</script>"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Closed to everybody without a key; its client has the first one."""
    made = Service(tmp_path_factory.mktemp("service") / "data").start()
    made.client.headers["Authorization"] = f"Bearer {new_key(made, scope='admin')}"
    yield made
    made.close()


@pytest.fixture(scope="module")
def key(service: Service, site: Site) -> str:
    """A publishable key for the site: every widget of this file works with it, and by its leave of CORS."""
    return new_key(service, origins=[site.origin])


def new_key(service: Service, **asked: Any) -> str:
    made = service.client.post("/keys", json={"name": "a key", **asked})
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


Shown = Callable[..., Page]


@pytest.fixture
def shown(pages: Watched, site: Site, key: str) -> Shown:
    """Open a bare page that has the widget's script and `body`, with the text box #message focused."""

    def show(body: str = "", hears: str = HEARS, **options: Any) -> Page:
        body = body or (
            '<p><label>Message <textarea id="message" rows="4" cols="60"></textarea></label></p>'
            '<next-word for="#message" delay="10"></next-word>'
        )
        body = re.sub(r"<next-word(-input)?", rf'\g<0> key="{key}"', body)
        site.pages["/"] = (
            f'<!doctype html><html lang="en"><title>A page</title><link rel="icon" href="data:,">{hears}'
            f'<script type="module" src="{pages.base}/widgets/next-word.js"></script><main><h1>A page</h1>{body}</main>'
        )
        page = pages.open("/", base=site.origin, **options)
        page.wait_for_function("() => !!customElements.get('next-word')")
        if page.locator("#message").count():
            page.locator("#message").focus()
            answered(page, "")
        return page

    return show


def ghost(page: Page) -> str:
    """The grey words, when there are some."""
    found = page.locator(".layer [part=ghost]")
    found.wait_for()
    return found.inner_text()


def no_ghost(page: Page) -> None:
    expect(page.locator(".layer [part=ghost]")).to_be_hidden()


def value(page: Page) -> str:
    return page.locator("#message").input_value()


def write(page: Page, text: str) -> str:
    """Write `text` into the emptied box; the grey words that the service's answer for it brings."""
    page.locator("#message").fill("")
    page.keyboard.type(text)
    answered(page, text)
    return ghost(page)


def answered(page: Page, text: str) -> None:
    page.wait_for_function("text => said.some(each => each.type === 'inkling-suggest' && each.text === text)", arg=text)
    page.evaluate("() => new Promise(requestAnimationFrame)")


def events(page: Page, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("kind => said.filter(({ type }) => type === kind)", f"inkling-{kind}")
    return found


def answer(route: Route, *words: str, kind: str = "next", at: int | None = None, continuation: str = "") -> None:
    text = route.request.post_data_json["text"]
    found = [
        {"word": word, "probability": 0.5, "kind": kind, "replace_from": len(text) if at is None else at}
        for word in words
    ]
    said = {"predictions": found, "continuation": continuation or (words[0] if words else ""), "unknown_words": []}
    said |= {"model": {"name": "next-word", "version": 1}, "request_id": "r"}
    route.fulfill(json=said, headers={"Access-Control-Allow-Origin": "*"})


# -- the grey words ---------------------------------------------------------------------------------------------------


def test_keys_take_the_grey_words_or_refuse_them(shown: Shown) -> None:
    page = shown()
    for key in ("ArrowRight", "End", "Tab"):
        grey = write(page, PSALM)
        assert grey.startswith("herd "), "a half-typed word is completed, and goes on"
        page.keyboard.press(key)
        assert value(page) == PSALM + grey
        assert page.evaluate("() => document.activeElement.id") == "message"
    assert events(page, "accept")[-1]["words"] == grey
    grey = write(page, PSALM)
    page.keyboard.press("Alt+ArrowRight")
    assert value(page) == "the lord is my shepherd", "one word"
    page.keyboard.press("Alt+ArrowRight")
    assert value(page) == PSALM + " ".join(grey.split(" ")[:2]), "and the next, at once"


def test_escape_hides_them_and_frees_tab(shown: Shown) -> None:
    page = shown()
    write(page, PSALM)
    page.keyboard.press("Escape")
    no_ghost(page)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") != "message"
    assert value(page) == PSALM
    page.locator("#message").focus()
    page.keyboard.press("End")
    page.keyboard.type("h")
    assert ghost(page).startswith("erd"), "typing brings them back"
    page.keyboard.press("Shift+Tab")
    assert value(page) == PSALM + "h", "back is always free"


def test_undo_takes_a_taken_word_back(shown: Shown) -> None:
    page = shown()
    grey = write(page, PSALM)
    page.keyboard.press("Tab")
    assert value(page) == PSALM + grey
    page.keyboard.press("Control+z")
    assert value(page) == PSALM
    page.keyboard.press("Control+Shift+z")
    assert value(page) == PSALM + grey


def test_they_lie_where_the_words_would_stand(shown: Shown) -> None:
    body = (
        '<textarea id="message" aria-label="Message" style="font: italic 20px/30px serif; padding: 13px 40px;'
        ' width: 420px; height: 90px; letter-spacing: 1px; border: 7px solid"></textarea>'
        '<next-word for="#message" delay="10"></next-word>'
    )
    page = shown(body)
    grey = write(page, "one\ntwo\nthree\nfour\nand the lord said unto Mos")
    before = page.evaluate(PLACE)
    page.keyboard.press("Tab")
    page.locator("#message").evaluate("box => box.style.color = 'transparent'")
    answered(page, value(page))
    after = page.evaluate("() => document.querySelector('#message').scrollTop")
    assert before["scroll"] == before["layer"] == after > 0, "scrolled like the box"
    assert before["font"] == ["italic", "20px", "1px", "13px 40px"]
    assert abs(before["left"] - before["box"] - 7) < 1, "inside the border"
    assert value(page).endswith("Mos" + grey)


PLACE = """() => {
  const box = document.querySelector("#message"), layer = document.querySelector("next-word").layer;
  const style = getComputedStyle(layer);
  return { scroll: box.scrollTop, layer: layer.scrollTop, left: layer.getBoundingClientRect().left,
    box: box.getBoundingClientRect().left,
    font: [style.fontStyle, style.fontSize, style.letterSpacing, style.padding] };
}"""


def test_they_stand_at_the_end_of_a_line_only(shown: Shown) -> None:
    page = shown()
    write(page, PSALM)
    page.keyboard.press("ArrowLeft")
    no_ghost(page)
    page.keyboard.press("ArrowRight")
    assert ghost(page).startswith("herd"), "the caret came back"
    page.locator("#message").fill(f"{PSALM}\nand he")
    page.keyboard.press("Control+Home")
    page.keyboard.press("End")
    assert ghost(page).startswith("herd"), "the end of a line, with text below"
    page.keyboard.press("Alt+ArrowRight")
    assert value(page) == "the lord is my shepherd\nand he"
    page.keyboard.press("Control+a")
    no_ghost(page)


def test_right_to_left(shown: Shown) -> None:
    page = shown('<input id="message" dir="rtl" size="40" aria-label="Message"><next-word for="#message"></next-word>')
    page.route("**/predict-next-word", lambda route: answer(route, "עולם", continuation="עולם טוב"))
    page.keyboard.type("שלום")
    assert ghost(page).strip() == "עולם טוב"
    box = page.locator("#message").bounding_box()
    grey = page.locator(".layer [part=ghost]").bounding_box()
    assert box
    assert grey
    assert box["x"] + box["width"] / 2 < grey["x"] + grey["width"] < box["x"] + box["width"] - 20, "left of the text"
    page.keyboard.press("Alt+ArrowLeft")
    assert value(page) == "שלום עולם"
    page.keyboard.press("ArrowLeft")
    assert value(page) == "שלום עולם טוב"


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_by_keyboard(shown: Shown) -> None:
    page = shown()
    write(page, "and he said unto")
    options = page.get_by_role("listbox", name="Suggestions").get_by_role("option")
    expect(options).to_have_count(5)
    assert page.locator("[role=option][aria-selected=true]").count() == 0, "nothing is chosen beforehand"
    words = [each.split("\n")[0] for each in options.all_inner_texts()]
    box = page.locator("#message")
    assert box.get_attribute("aria-controls") == page.get_by_role("listbox").get_attribute("id")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    assert ghost(page) == f" {words[1]}", "the grey words show what is chosen"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert box.get_attribute("aria-activedescendant") is None, "past its end it is left"
    page.keyboard.press("Enter")
    assert value(page) == "and he said unto\n", "Enter is the box's own while nothing is chosen"
    write(page, "and he said unto")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert value(page) == f"and he said unto {words[2]}"
    assert events(page, "accept")[-1]["from"] == "list"


def test_the_list_by_touch(shown: Shown) -> None:
    page = shown(has_touch=True)
    write(page, PSALM)
    page.locator("[part=option]").first.tap()
    assert value(page) == "the lord is my shepherd"
    assert page.evaluate("() => document.activeElement.id") == "message", "the keyboard stays"


def test_an_input_is_a_combobox_and_gets_its_own_attributes_back(shown: Shown) -> None:
    page = shown(
        '<p id="rule">Short</p><input id="message" aria-label="Message" aria-describedby="rule">'
        '<next-word for="#message"></next-word>'
    )
    box = page.get_by_role("combobox", name="Message")
    page.keyboard.type(PSALM)
    expect(box).to_have_attribute("aria-expanded", "true")
    assert (box.get_attribute("aria-describedby") or "").startswith("rule ")
    assert violations(page) == []
    page.evaluate("() => document.querySelector('next-word').remove()")
    left = page.locator("#message").evaluate("box => box.getAttributeNames().sort().join(' ')")
    assert left == "aria-describedby aria-label id"
    page.keyboard.press("Tab")
    assert value(page) == PSALM, "nothing is listened to any more"


# -- asking -----------------------------------------------------------------------------------------------------------


def test_stale_answers_are_dropped_and_their_requests_aborted(shown: Shown) -> None:
    page = shown()
    held: list[Route] = []
    failed: list[Request] = []
    page.on("requestfailed", lambda request: failed.append(request))

    def slow(route: Route) -> None:
        if route.request.post_data_json["text"] == "the lord":
            held.append(route)
        else:
            answer(route, "new")

    page.route("**/predict-next-word", slow)
    page.locator("#message").fill("the lord")
    with page.expect_event("requestfailed"):
        wait_for(page, lambda: bool(held))
        page.locator("#message").fill("the lord is")
    answered(page, "the lord is")
    assert ghost(page) == " new"
    answer(held[0], "old")  # the answer that comes too late
    assert failed[0].post_data_json["text"] == "the lord"
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert ghost(page) == " new"
    assert [each["text"] for each in events(page, "suggest")][-1] == "the lord is"
    assert not events(page, "error"), "an abort is no error"


def wait_for(page: Page, check: Callable[[], bool]) -> None:
    for _ in range(600):
        if check():
            return
        page.wait_for_timeout(20)  # lets the browser's events come in
    raise AssertionError("it did not happen")


def asked(page: Page) -> list[str]:
    """The texts that are asked about from now on."""
    texts: list[str] = []
    page.on(
        "request",
        lambda request: (
            texts.append(json.loads(request.post_data or "{}").get("text", "?"))
            if request.url.endswith("/predict-next-word")
            else None
        ),
    )
    return texts


def test_typing_fast_asks_once_and_known_texts_never_again(shown: Shown) -> None:
    page = shown()
    texts = asked(page)
    page.locator("next-word").evaluate("widget => widget.delay = 400")
    page.keyboard.type("and he said")
    answered(page, "and he said")
    assert texts == ["and he said"]
    page.keyboard.type("x")
    page.keyboard.press("Backspace")
    assert ghost(page)
    grey = ghost(page)
    page.keyboard.type(grey[:2])
    assert ghost(page) == grey[2:], "typed along: what is left of the words stays, before any answer"
    assert texts == ["and he said"]


def test_it_is_quiet_for_as_long_as_it_is_told(shown: Shown, pages: Watched) -> None:
    pages.expect("429")
    page = shown()
    texts = asked(page)
    headers = {"Retry-After": "1", "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
    refused = {"status": 429, "title": "Too many requests", "detail": "busy", "code": "busy"}
    page.route("**/predict-next-word", lambda route: route.fulfill(status=429, json=refused, headers=headers), times=1)
    page.keyboard.type("a")
    page.wait_for_function("() => said.some(({ error }) => error === 429)")
    start = page.evaluate("() => performance.now()")
    page.keyboard.type("nd he said unto", delay=20)
    assert texts == ["a"]
    answered(page, "and he said unto")
    assert page.evaluate("() => performance.now()") - start > 700
    assert texts == ["a", "and he said unto"], "only the newest text is asked about when the time is over"


def test_half_typed_words_are_replaced_where_the_service_says(shown: Shown) -> None:
    page = shown()
    assert write(page, f"😀🤖 {PSALM}").startswith("herd"), "places are counted in code points"
    page.keyboard.press("Alt+ArrowRight")
    assert value(page) == "😀🤖 the lord is my shepherd"
    page.locator("#message").fill("")
    page.route("**/predict-next-word", lambda route: answer(route, "한국", "학교", kind="completion", at=5))
    cdp = page.context.new_cdp_session(page)
    cdp.send("Input.insertText", {"text": "😀 나는 하"})
    expect(page.locator("[part=option]")).to_have_count(2)
    no_ghost(page)  # 한 is no continuation of 하 on the screen
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert value(page) == "😀 나는 한국"


def test_long_texts_are_cut_between_words(shown: Shown) -> None:
    page = shown()
    texts = asked(page)
    page.locator("#message").fill("Zorblax 😀 " * 600 + PSALM)
    assert ghost(page).startswith("herd")
    assert len(texts[-1]) <= 2000
    assert texts[-1].startswith(("Zorblax ", "😀 "))
    page.keyboard.press("Alt+ArrowRight")
    assert value(page).endswith("Zorblax 😀 the lord is my shepherd")


# -- compositions -----------------------------------------------------------------------------------------------------


def test_a_composition_is_not_disturbed(shown: Shown) -> None:
    page = shown()
    page.route("**/predict-next-word", lambda route: answer(route, "학교에", "집에"))
    page.keyboard.type("나는 ")
    assert ghost(page) == "학교에"
    texts = asked(page)
    cdp = page.context.new_cdp_session(page)
    for part in ("ㅎ", "하", "한"):
        cdp.send("Input.imeSetComposition", {"text": part, "selectionStart": 1, "selectionEnd": 1})
        no_ghost(page)
        for key in ("Tab", "ArrowRight", "Enter", "ArrowDown", "Escape"):
            assert page.evaluate(KEY, [key, 229, True]), f"{key} belongs to the input method"
    assert value(page) == "나는 한"
    assert texts == []
    cdp.send("Input.insertText", {"text": "한국 "})  # commits; no `input` follows in some browsers, so none is needed
    answered(page, "나는 한국 ")
    assert texts == ["나는 한국 "]
    assert page.evaluate(KEY, ["Enter", 229, False]), "Safari: the Enter of a composition that has just ended"
    assert page.evaluate(KEY, ["Tab", 9, False]) is False, "now it is the widget's"
    assert value(page) == "나는 한국 학교에"


KEY = """([key, keyCode, isComposing]) => document.querySelector("#message").dispatchEvent(
  new KeyboardEvent("keydown", { key, keyCode, isComposing, bubbles: true, cancelable: true }))"""


def test_the_end_of_a_composition_asks_without_an_input_event(shown: Shown) -> None:
    page = shown()
    page.route("**/predict-next-word", lambda route: answer(route, "です"))
    page.locator("#message").evaluate(
        """box => {
          box.dispatchEvent(new CompositionEvent("compositionstart"));
          box.value = "日本";
          box.dispatchEvent(new InputEvent("input", { isComposing: true }));
          box.dispatchEvent(new CompositionEvent("compositionend", { data: "日本" }));
        }"""
    )
    answered(page, "日本")
    assert events(page, "suggest")[-1]["predictions"][0]["word"] == "です"


# -- embedding --------------------------------------------------------------------------------------------------------


def test_one_line_is_a_form_field(shown: Shown) -> None:
    page = shown(
        '<form><label for="mine">Mine</label><next-word-input id="mine" name="said" required></next-word-input></form>'
    )
    assert page.evaluate("() => document.forms[0].checkValidity()") is False
    page.get_by_text("Mine").click()
    page.keyboard.type(PSALM)
    assert ghost(page).startswith("herd")
    page.keyboard.press("Alt+ArrowRight")
    assert page.evaluate("() => new FormData(document.forms[0]).get('said')") == "the lord is my shepherd"
    assert page.get_by_role("textbox", name="Mine").input_value() == "the lord is my shepherd"
    assert violations(page) == []
    screenshot(page, "widget-next-word-input")
    page.evaluate("() => document.forms[0].reset()")
    assert page.evaluate("() => document.querySelector('#mine').value") == ""


def test_it_works_under_a_page_s_strict_policy_and_takes_its_style(shown: Shown, site: Site, pages: Watched) -> None:
    """No style of ours needs 'unsafe-inline'; the page styles parts through a constructed sheet, as it may."""
    site.policy = f"default-src 'none'; script-src {pages.base}; connect-src {pages.base}; img-src data:"
    try:
        page = shown('<next-word-input id="mine"></next-word-input>', hears="")
    finally:
        site.policy = ""
    page.evaluate(
        """() => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(`next-word-input { --inkling-ghost: rgb(1, 2, 3) }
            next-word-input::part(option) { color: rgb(4, 5, 6) }`);
          document.adoptedStyleSheets = [sheet];
          document.querySelector("#mine").focus();
        }"""
    )
    page.keyboard.type(PSALM)
    assert ghost(page).startswith("herd")
    colour = "element => getComputedStyle(element).color"
    assert page.locator(".layer [part=ghost]").evaluate(colour) == "rgb(1, 2, 3)"
    assert page.locator("[part=option]").first.evaluate(colour) == "rgb(4, 5, 6)"


def test_a_box_that_is_made_later_and_attributes_that_change(shown: Shown) -> None:
    page = shown('<next-word for="#message" top-k="2"></next-word>')
    page.evaluate(
        "() => document.querySelector('main').append(Object.assign(document.createElement('input'), { id: 'message' }))"
    )
    page.locator("#message").focus()
    page.keyboard.type("and he said")
    expect(page.locator("[part=option]")).to_have_count(2)
    widget = page.locator("next-word")
    widget.evaluate("widget => widget.topK = 7")
    expect(page.locator("[part=option]")).to_have_count(7)
    widget.evaluate("widget => widget.minProbability = 0.99")
    expect(page.locator("[part=option]")).to_have_count(0)
    no_ghost(page)
    widget.evaluate("widget => (widget.minProbability = null, widget.list = 'none', widget.lang = 'ko')")
    assert ghost(page)
    expect(page.locator("[part=list]")).to_be_hidden()
    assert page.locator("[part=list]").get_attribute("aria-label") == "추천 단어"


def test_a_page_may_refuse_and_hears_of_errors(shown: Shown, pages: Watched) -> None:
    pages.expect("404")
    page = shown()
    page.evaluate("() => document.addEventListener('inkling-accept', (event) => event.preventDefault())")
    write(page, PSALM)
    page.keyboard.press("Tab")
    assert value(page) == PSALM
    assert page.evaluate("() => document.activeElement.id") == "message"
    page.locator("next-word").evaluate("widget => widget.model = 'nobody'")
    page.wait_for_function("() => said.some(({ error }) => error === 404)")
    no_ghost(page)
    page.locator("next-word").evaluate("widget => widget.model = 'next-word'")
    assert ghost(page)


def test_teaching_is_off_asks_first_and_can_be_taken_back(shown: Shown, service: Service) -> None:
    page = shown()
    assert page.get_by_role("button").count() == 0
    may_teach = new_key(service, scope="train")
    page.locator("next-word").evaluate("(widget, key) => Object.assign(widget, { teach: true, key })", may_teach)
    page.keyboard.type("our product Zorblax is fine")
    page.get_by_role("button", name="Teach this text").click()
    page.get_by_text("will keep this text").wait_for()
    assert page.locator("q").inner_text() == "our product Zorblax is fine"
    assert violations(page) == []
    screenshot(page, "widget-teach")
    assert service.client.get("/models/next-word/learned").json()["learned"] == [], "not before it is agreed to"
    page.get_by_role("button", name="Keep it").click()
    page.get_by_text("Learned.").wait_for()
    assert events(page, "teach")[0]["text"] == "our product Zorblax is fine"
    assert write(page, "our product").startswith(" Zorblax"), "it knows it at once"
    page.get_by_role("button", name="Forget it again").click()
    page.get_by_text("Forgotten.").wait_for()
    assert service.client.get("/models/next-word/learned").json()["learned"] == []


def test_a_key_that_may_only_predict_hides_the_corner(shown: Shown, pages: Watched) -> None:
    pages.expect("403")
    page = shown()
    page.locator("next-word").evaluate("widget => widget.teach = true")
    page.keyboard.type("a word")
    page.get_by_role("button", name="Teach this text").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".teach")).to_be_hidden()
    assert not events(page, "error")


# -- the service changes ----------------------------------------------------------------------------------------------


def test_another_version_answers_while_somebody_types(shown: Shown, service: Service) -> None:
    exported = service.client.get("/models/next-word/versions/1/export").content
    made = service.client.post("/models/import", files={"file": ("next-word.inkling.zip", exported)})
    assert made.status_code == 201, made.text
    version = made.json()["version"]
    page = shown()
    write(page, "and he said")
    assert events(page, "suggest")[-1]["model"]["version"] == 1
    page.keyboard.type(" un")
    assert service.client.put("/models/next-word/active", json={"version": version}).status_code == 200
    page.keyboard.type("to them that")
    answered(page, "and he said unto them that")
    assert ghost(page)
    assert events(page, "suggest")[-1]["model"]["version"] == version
    assert value(page) == "and he said unto them that"
    page.keyboard.press("Tab")
    assert value(page).startswith("and he said unto them that ")


def test_the_service_goes_and_comes_back(shown: Shown, pages: Watched, service: Service) -> None:
    pages.expect("Failed to load resource", "net::ERR", "CORS policy")
    page = shown()
    service.stop()
    page.keyboard.type(PSALM)
    page.wait_for_function("() => said.some(({ error }) => error === 0)")
    no_ghost(page)
    assert value(page) == PSALM
    service.start()
    assert ghost(page).startswith("herd"), "by itself"
    assert len(events(page, "error")) < 10, "it does not hammer"

"""The page's "Teach": giving files, starting and following trainings, by mouse and by keyboard alone."""

import re

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.e2e.browsing import HANG, WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service

TIDES = "the tide comes in at noon\nthe tide goes out at night\nthe sea is calm at noon\nthe sea is wild at night\n" * 8
LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "seed": 1}
expect.set_options(timeout=HANG)


@pytest.fixture(scope="module")
def done(service: Service) -> str:
    """A training that has ended."""
    job = service.train(**LECTURE, model="done")
    service.until(job, "succeeded")
    return job


def upload(service: Service, name: str, text: str) -> str:
    response = service.client.post("/datasets", files={"file": (name, text.encode())})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def tag(page: Page) -> Locator:
    return page.locator(".job-head .tag")


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until `wanted` has the focus, as somebody without a mouse does."""
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} cannot be reached by Tab")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_fits(pages: Watched, done: str, width: str, dark: bool) -> None:
    language = "ko-KR" if dark else "en-GB"
    page = pages.open("/#/teach", width=WIDTHS[width][0], height=WIDTHS[width][1], dark=dark, language=language)
    shown = f"{width}-{'dark' if dark else 'light'}"
    page.locator('.set input[value="lecture"]').check()
    page.locator(".lines li").first.wait_for()
    page.locator(".more > summary").click()
    page.locator(".knobs > summary").click()
    screenshot(page, f"teach-start-{shown}")
    assert fits(page)
    assert violations(page) == []
    page.goto(f"{pages.base}/#/teach/{done}")
    page.locator(".outcome .primary").wait_for()
    page.locator(".charts canvas").nth(2).wait_for()
    screenshot(page, f"teach-job-{shown}")
    assert fits(page)
    assert violations(page) == []


def test_a_text_of_ones_own_is_taught_by_mouse(pages: Watched, service: Service) -> None:
    page = pages.open("/#/teach")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files({"name": "Tides of Noon.txt", "mimeType": "text/plain", "buffer": TIDES.encode()})
    expect(page.locator(".upload-state")).to_contain_text("Read and chosen")
    assert page.locator(".lines li").first.inner_text() == "the tide comes in at noon"
    assert page.locator('.set input[value="lecture"]').is_hidden(), "what comes along stands out of the way"
    assert page.get_by_role("radio", name="Tides of Noon.txt").is_checked()
    assert page.get_by_label("Name of the model").input_value() == "tides-of-noon"
    page.get_by_role("spinbutton", name="Minutes").fill("0.1")
    page.get_by_role("button", name="Start learning").click()

    expect(tag(page)).to_have_text("Learning")
    expect(page.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", "0")
    page.locator(".charts canvas").nth(2).wait_for()
    page.locator(".samples-guesses strong").first.wait_for()
    expect(page.locator(".figure-value")).not_to_have_count(0)
    expect(tag(page)).to_have_text("Done")
    assert "Version 1 of tides-of-noon answers now" in page.locator(".standing").inner_text()
    [job] = service.client.get("/jobs?model=tides-of-noon").json()["jobs"]
    assert job["budget"] == {"minutes": 0.1}
    samples = service.client.get(job["samples_url"]).json()["samples"]
    assert page.locator(".samples-when").inner_text().startswith(f"{len(samples)} of {len(samples)},")
    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_label("Answered by")).to_have_value("tides-of-noon")


def test_it_is_started_and_stopped_by_keyboard_alone(pages: Watched, service: Service) -> None:
    page = pages.open("/#/teach")
    page.locator(".set").first.wait_for()
    tab_to(page, page.locator(".set input").first)  # the group's first; the others by arrow keys
    while not page.get_by_role("radio", name="The lecture's six sentences").is_checked():
        page.keyboard.press("Space")
        if not page.get_by_role("radio", name="The lecture's six sentences").is_checked():
            page.keyboard.press("ArrowDown")
    name = page.get_by_label("Name of the model")
    tab_to(page, name)
    page.keyboard.press("Control+A")
    page.keyboard.type("by-keys")
    tab_to(page, page.get_by_role("radio", name="Until it is done"))
    assert page.get_by_role("radio", name="Until it is done").is_checked(), "it takes some seconds"
    tab_to(page, page.get_by_role("button", name="Start learning"))
    page.keyboard.press("Enter")
    title = page.get_by_role("heading", name="by-keys")
    title.wait_for()
    tab_to(page, page.get_by_role("button", name="Stop"))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(tag(page)).to_have_text("Stopped")
    assert title.evaluate("element => element === document.activeElement"), "the button that had the focus is gone"
    [job] = service.client.get("/jobs?model=by-keys").json()["jobs"]
    assert (job["preset"], job["budget"], job["status"]) == ("lecture", {}, "cancelled")


def test_the_samples_are_walked_through_by_keyboard(pages: Watched, done: str) -> None:
    page = pages.open(f"/#/teach/{done}")
    expect(page.locator(".samples-when")).to_have_text("5 of 5, after 500 updates")
    slider = page.get_by_role("slider", name="What it writes")
    tab_to(page, slider)
    page.keyboard.press("Home")
    expect(page.locator(".samples-when")).to_have_text("1 of 5, after 100 updates")
    first = page.locator(".samples-guesses li").first.inner_text()
    page.keyboard.press("End")
    expect(page.locator(".samples-when")).to_have_text("5 of 5, after 500 updates")
    assert page.locator(".samples-guesses li").first.inner_text() != first
    assert page.locator(".samples-guesses .right").count() == 6
    assert "very text it learned from" in page.locator(".view").inner_text()
    tab_to(page, page.locator(".samples-play"))
    page.keyboard.press("Enter")
    expect(page.locator(".samples-when")).to_have_text("1 of 5, after 100 updates")
    expect(page.locator(".samples-when")).to_have_text("5 of 5, after 500 updates")


def test_a_long_one_is_followed_over_a_restart_paused_resumed_and_stopped(pages: Watched, service: Service) -> None:
    pages.expect("Failed to load resource", "net::ERR")
    resumed: list[str] = []

    def listen(request: Request) -> None:
        if request.url.endswith("/events"):
            resumed.append(request.headers.get("last-event-id", ""))

    job = service.train(**LECTURE, model="long", budget={"epochs": 200_000}, config={"evaluations": 1000})
    waiting = service.train(**LECTURE, model="waiting")
    page = pages.open(f"/#/teach/{job}", before=lambda page: page.on("request", listen))
    expect(tag(page)).to_have_text("Learning")
    page.locator(".samples-guesses").wait_for()
    expect(page.locator(".standing")).to_have_text(re.compile("About .+ left"))

    page.goto(f"{pages.base}/#/teach/{waiting}")
    expect(page.locator(".standing")).to_have_text("It is the next one to begin.")
    page.go_back()
    expect(tag(page)).to_have_text("Learning")
    page.locator(".samples-guesses").wait_for()
    service.client.post(f"/jobs/{waiting}/cancel")
    resumed.clear()

    service.stop()
    expect(page.locator(".job-lost")).to_contain_text("The connection is lost")
    before = page.get_by_role("slider").get_attribute("max")
    service.start()
    expect(page.locator(".messages")).to_contain_text("Going on from step")
    expect(page.locator(".job-lost")).to_have_text("")
    expect(page.get_by_role("slider")).not_to_have_attribute("max", str(before))
    assert resumed[-1].isdecimal(), "it takes the stream up after the last event"

    page.get_by_role("button", name="Pause").click()
    expect(tag(page)).to_have_text("Paused")
    page.get_by_role("button", name="Go on").click()
    expect(tag(page)).to_have_text("Learning")

    page.get_by_role("button", name="Stop").click()
    page.keyboard.press("Escape")
    assert service.job(job)["status"] == "running", "it is stopped only when that is said twice"
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop and drop it").click()
    expect(tag(page)).to_have_text("Stopped")
    assert service.job(job)["status"] == "cancelled"
    page.get_by_role("link", name="Teach").last.click()
    expect(page.locator(f'.job:has(a[href="#/teach/{job}"])')).to_contain_text("It was stopped.")


def test_what_fails_is_told_in_the_service_s_words(pages: Watched, service: Service) -> None:
    pages.expect("415", "422")
    page = pages.open("/#/teach")
    picker = page.locator('input[type="file"]')
    picker.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"\x00\x01\x02\xff\xfe bad"})
    page.locator(".upload-state .problem").wait_for()
    said = page.locator(".upload-state").inner_text()
    assert said.count("notes.txt is not a plain text but binary") == 1
    assert "/file" not in said
    assert page.get_by_role("button", name="Try again").count() == 0, "the same file is refused again"

    words = {"name": "words.txt", "mimeType": "text/plain", "buffer": b"one\ntwo\nthree\n"}
    picker.set_input_files(words)  # type: ignore[arg-type]
    expect(page.get_by_role("radio", name="words.txt")).to_be_checked()
    page.get_by_text("More settings").click()
    page.get_by_label("Recipe", exact=True).select_option("lecture")
    page.get_by_text("For those who know").click()
    page.get_by_label("Hidden", exact=True).fill("0")
    page.get_by_text("For those who know").click()
    page.get_by_role("button", name="Start learning").click()
    assert page.get_by_label("Hidden", exact=True).is_visible(), "a bound that is broken is shown"
    page.get_by_label("Hidden", exact=True).fill("4")
    page.get_by_label("One hot").select_option("false")  # the service refuses it beside `windows`
    page.get_by_role("button", name="Start learning").click()
    expect(page.locator(".start-said .problem")).to_contain_text("windows needs one_hot")
    page.get_by_label("One hot").select_option("")
    page.get_by_role("button", name="Start learning").click()

    expect(tag(page)).to_have_text("Failed")
    assert "no line has 3 words" in page.locator(".outcome-place").inner_text()
    assert "give it other data" in page.locator(".outcome-place").inner_text()
    [job] = service.client.get("/jobs?model=words").json()["jobs"]
    assert job["config"]["hidden"] == 4
    page.get_by_role("button", name="Teach again with changes").click()
    expect(page.get_by_role("radio", name="words.txt")).to_be_checked()
    assert page.get_by_label("Name of the model").input_value() == "words"
    assert "no line has 3 words" in page.locator(".teach-jobs").inner_text()


def test_deleting_asks_first(pages: Watched, service: Service) -> None:
    dataset = upload(service, "old letters.txt", "dear reader\nyours ever\n")
    page = pages.open("/#/teach")
    page.get_by_role("button", name="Delete old letters.txt").click()
    page.get_by_role("button", name="Cancel").click()
    assert service.client.get(f"/datasets/{dataset}").status_code == 200
    page.get_by_role("button", name="Delete old letters.txt").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("is deleted")
    assert page.get_by_role("radio", name="old letters.txt").count() == 0
    assert service.client.get(f"/datasets/{dataset}").status_code == 404


def test_what_was_typed_outlives_a_look_elsewhere(pages: Watched) -> None:
    page = pages.open("/#/teach")
    page.get_by_role("radio", name="The lecture's six sentences").check()
    page.get_by_label("Name of the model").fill("mine")
    page.get_by_role("radio", name="15 minutes").check()
    page.get_by_text("More settings").click()
    page.get_by_text("For those who know").click()
    page.get_by_label("Hidden", exact=True).fill("7")
    page.locator("a[data-view=models]").click()
    page.locator(".view.models").wait_for()
    page.locator("a[data-view=teach]").click()
    expect(page.get_by_label("Name of the model")).to_have_value("mine")
    page.get_by_role("combobox", name="Language").select_option("ko")
    expect(page.get_by_label("모델 이름")).to_have_value("mine")
    assert page.get_by_role("radio", name="15분").is_checked()
    assert page.locator('.set input[value="lecture"]').is_checked()
    page.locator(".more > summary").click()
    page.locator(".knobs > summary").click()
    assert page.get_by_label("Hidden", exact=True).input_value() == "7"


def test_pictures_are_dropped_with_their_licence(pages: Watched, service: Service) -> None:
    page = pages.open("/#/teach")
    page.get_by_text("Licence and author").click()
    page.get_by_label("Licence", exact=True).fill("CC0-1.0")
    drop = """async () => {
      const files = new DataTransfer();
      for (let n = 0; n < 3; n++) {
        const canvas = new OffscreenCanvas(16, 16);
        const ink = canvas.getContext("2d");
        ink.fillStyle = ["red", "green", "blue"][n];
        ink.fillRect(0, 0, 16, 16);
        files.items.add(new File([await canvas.convertToBlob()], `${n}.png`, { type: "image/png" }));
      }
      window.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
    }"""
    page.locator(".set").first.wait_for()
    page.evaluate(drop)
    expect(page.locator(".upload-state")).to_contain_text("3 files")
    page.locator(".inside-preview img").wait_for()
    expect(page.locator(".inside")).to_contain_text("Pictures, 3 of them")
    expect(page.locator(".inside")).to_contain_text("CC0-1.0")
    [dataset] = service.client.get("/datasets?modality=image").json()["datasets"][3:]
    assert (dataset["licence"], dataset["counts"]["pictures"]) == ("CC0-1.0", 3)

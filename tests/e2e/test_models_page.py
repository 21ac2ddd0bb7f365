"""The page's models: versions compared, chosen, taken out and in, deleted; a version's card; by mouse and keyboard."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from tests.e2e.browsing import WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service

EPOCHS = {1: 100, 2: 500, 3: 30}  # the second is the best, the third worse than both
Copy = Callable[[str], str]


@pytest.fixture(scope="module")
def files(service: Service) -> dict[int, bytes]:
    """Three versions of `talk`, by real trainings; each as the file that exporting it gives."""
    what = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "model": "talk", "seed": 1}
    jobs = [service.train(**what, budget={"epochs": epochs}) for epochs in EPOCHS.values()]
    for job in jobs:
        service.until(job, "succeeded")
    return {version: service.client.get(f"/models/talk/versions/{version}/export").content for version in EPOCHS}


@pytest.fixture
def copy(service: Service, files: dict[int, bytes]) -> Copy:
    """A model of a name of its own with the same versions, the second active: to be changed by one test."""

    def make(name: str) -> str:
        for version, content in files.items():
            form = {"model": name, "activate": "never" if version == 3 else "always"}
            response = service.client.post("/models/import", files={"file": io.BytesIO(content)}, data=form)
            assert response.status_code == 201, response.text
        assert active(service, name) == 2
        return name

    return make


def active(service: Service, name: str) -> int:
    return int(service.client.get(f"/models/{name}").json()["active"])


def versions(service: Service, name: str) -> list[int]:
    return [each["version"] for each in service.client.get(f"/models/{name}").json()["versions"]]


def column(page: Page, version: int) -> int:
    """The place of a version among the cells of a row."""
    heads = page.locator(".compare thead th").all_inner_texts()
    return next(at for at, text in enumerate(heads) if text.startswith(f"Version {version}"))


def cell(page: Page, metric: str, version: int) -> Locator:
    return page.locator(f"tr[data-metric={metric}] td").nth(column(page, version))


def tab_to(page: Page, name: str, role: str = "button") -> None:
    """Press Tab until what is called so has the focus."""
    wanted = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
    wanted.wait_for()
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {name!r}")


def said(page: Page, text: str) -> None:
    page.locator(".toast", has_text=text).wait_for()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_fits(pages: Watched, files: dict[int, bytes], width: str, dark: bool) -> None:
    page = pages.open("/#/models", width=WIDTHS[width][0], height=WIDTHS[width][1], dark=dark)
    page.locator(".cover img, .cover blockquote").nth(3).wait_for()
    looks = {"list": "", "versions": "/talk", "version": "/talk@2", "picture": "/pictures@1"}
    for look, address in looks.items():
        page.goto(f"{pages.base}/#/models{address}")
        page.locator(".view.models h1").wait_for()
        page.wait_for_load_state("networkidle")
        if look == "version":
            page.get_by_label("Your text").fill("you love coffee")
            page.get_by_role("button", name="See how it does").click()
            page.locator(".surprises").wait_for()
        screenshot(page, f"models-{look}-{width}-{'dark' if dark else 'light'}")
        assert fits(page), look
        assert violations(page) == [], look


def test_versions_stand_side_by_side_with_the_best_marked(
    pages: Watched, service: Service, files: dict[int, bytes]
) -> None:
    page = pages.open("/#/models")
    page.get_by_role("link", name="talk").click()
    page.locator(".compare table").wait_for()
    cards = {each["version"]: each for each in service.client.get("/models/talk").json()["versions"]}
    for version, card in cards.items():
        assert float(cell(page, "perplexity", version).inner_text().split()[0]) == pytest.approx(
            card["metrics"]["perplexity"], rel=0.01
        )
    assert [version for version in cards if "best" in cell(page, "perplexity", version).inner_text()] == [2]
    assert "best" in cell(page, "top1", 1).inner_text(), "as good as the second"
    reasons = page.locator("tr", has_text="Was it better?").locator("td").all_inner_texts()
    assert [text.split()[0] for text in reasons] == ["No.", "Yes.", "Not"]
    assert page.locator(".compare th.serving").inner_text().startswith("Version 2")


def test_chosen_and_taken_back_by_mouse(pages: Watched, service: Service, copy: Copy) -> None:
    name = copy("by-mouse")
    page = pages.open(f"/#/models/{name}")
    page.get_by_role("button", name="Let it answer Version 3").click()
    said(page, "Version 3 answers now")
    assert active(service, name) == 3
    page.get_by_role("button", name="Back to the one before").click()
    said(page, "Version 2 answers now")
    assert active(service, name) == 2
    page.locator(".compare th.serving", has_text="Version 2").wait_for()
    while service.client.get(f"/models/{name}").json()["previous"] is not None:
        assert service.client.post(f"/models/{name}/rollback").status_code == 200
    page.reload()
    page.get_by_role("button", name="Add from a file").wait_for()
    assert page.get_by_role("button", name="Back to the one before").count() == 0, "there is none before"


def test_everything_by_keyboard_alone(pages: Watched, service: Service, copy: Copy) -> None:
    name = copy("by-keys")
    page = pages.open("/#/models")
    tab_to(page, name, "link")
    page.keyboard.press("Enter")
    tab_to(page, "Let it answer Version 1")
    page.keyboard.press("Enter")
    said(page, "Version 1 answers now")
    page.wait_for_function("() => document.activeElement.textContent === 'Version 1'")  # the focus is not lost
    tab_to(page, "Delete Version 2")
    page.keyboard.press("Space")
    page.get_by_role("dialog", name="Delete version 2?").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert versions(service, name) == [3, 2, 1]
    page.keyboard.press("Enter")
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    said(page, "Version 2 is deleted")
    assert versions(service, name) == [3, 1]
    page.wait_for_function("() => document.activeElement.matches('.compare')")
    page.keyboard.press("Shift+Tab")  # from the table back to the last of the model's buttons
    assert page.evaluate("() => document.activeElement.textContent") == "Delete the model"
    page.keyboard.press("Enter")
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    said(page, f"{name} is deleted")
    assert service.client.get(f"/models/{name}").status_code == 404
    page.locator(".shelf").wait_for()
    assert page.get_by_role("link", name=name).count() == 0


def test_the_active_version_stays_and_it_says_why(pages: Watched, service: Service, files: dict[int, bytes]) -> None:
    page = pages.open("/#/models/talk")
    page.get_by_role("button", name="Delete Version 2").click()
    dialog = page.get_by_role("dialog", name="Version 2 answers now")
    assert "Let another one answer first" in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()
    assert versions(service, "talk") == [3, 2, 1]


def test_a_refusal_is_shown_in_the_service_s_words(pages: Watched, service: Service, copy: Copy) -> None:
    pages.expect("409")
    name = copy("refused")
    page = pages.open(f"/#/models/{name}")
    page.get_by_role("button", name="Delete Version 3").wait_for()
    service.client.put(f"/models/{name}/active", json={"version": 3})  # by somebody else, in this moment
    page.get_by_role("button", name="Delete Version 3").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    assert "is the active version" in page.locator(".said .problem").inner_text()
    assert 3 in versions(service, name)


def test_downloaded_and_taken_in_again(pages: Watched, service: Service, copy: Copy, tmp_path: Path) -> None:
    pages.expect("415")
    name = copy("travels")
    page = pages.open(f"/#/models/{name}")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download Version 1").click()
    file = tmp_path / started.value.suggested_filename
    started.value.save_as(file)
    assert file.name == "travels@1.inkling.zip"

    page.get_by_role("button", name="Add from a file").click()
    dialog = page.get_by_role("dialog", name="Add from a file")
    broken = {"name": "broken.zip", "mimeType": "application/zip", "buffer": file.read_bytes()[:500]}
    dialog.get_by_label("File").set_input_files([broken])  # type: ignore[list-item]
    dialog.get_by_label("Name", exact=True).fill("arrived")
    dialog.get_by_role("button", name="Add", exact=True).click()
    dialog.locator(".problem").wait_for()
    assert dialog.get_by_label("Name", exact=True).input_value() == "arrived", "what was typed stays"

    dialog.get_by_label("File").set_input_files(file)
    dialog.get_by_role("button", name="Add", exact=True).click()
    said(page, "arrived, version 1, was added and answers now")
    page.get_by_role("heading", name="arrived Version 1").wait_for()
    assert service.next_word("you hate", "arrived") == service.next_word("you hate", f"{name}@1")


def test_old_versions_are_cleared_out(pages: Watched, service: Service, copy: Copy) -> None:
    name = copy("cleared")
    page = pages.open(f"/#/models/{name}")
    page.get_by_role("button", name="Clear out old versions").click()
    page.get_by_label("How many others to keep").fill("0")
    page.get_by_role("button", name="Clear out", exact=True).click()
    said(page, "One version is deleted")
    assert versions(service, name) == [2, 1], "the active one, and the one that a rollback comes to"
    page.locator(".compare thead th").nth(1).wait_for()
    assert page.locator(".compare thead th").count() == 2


def test_a_text_of_ones_own_is_scored_and_coloured(pages: Watched, service: Service) -> None:
    text = "In the beginning God created the heaven and the Zorblax."
    page = pages.open("/#/models/next-word@1")
    page.get_by_label("Your text").fill(text)
    page.get_by_label("Your text").press("Tab")
    page.keyboard.press("Enter")
    page.locator(".surprises").wait_for()
    found = service.client.post("/evaluate", json={"text": text, "log_probabilities": True}).json()
    figures = page.locator(".score dd:not(.hint)").all_inner_texts()
    assert float(figures[0]) == pytest.approx(found["perplexity"], rel=0.01)
    assert float(figures[1].rstrip("%")) == pytest.approx(100 * found["top3"], abs=0.1)
    words = page.locator(".surprises .token")
    assert words.all_inner_texts() == [each["token"] for each in found["log_probabilities"]]
    assert page.locator(".surprises .unknown").all_inner_texts() == ["Zorblax"]
    deep = [words.nth(at).get_attribute("class") for at in range(words.count())]
    likely = [each["log_probability"] for each in found["log_probabilities"]]
    assert "surprise-0" in str(deep[likely.index(max(likely))])

    page.locator(".surprises").focus()
    page.keyboard.press("End")
    assert page.locator(".readout").inner_text().startswith(".: ")
    page.keyboard.press("ArrowLeft")
    assert "not a word that it knows" in page.locator(".readout").inner_text()
    page.get_by_role("combobox", name="Language").select_option("ko")
    assert page.get_by_label("내 글", exact=True).input_value() == text, "what was typed stays"


def test_a_card_tells_where_a_version_comes_from(pages: Watched, service: Service, files: dict[int, bytes]) -> None:
    page = pages.open("/#/models/talk@2")
    page.locator(".chart canvas").wait_for()
    label = str(page.locator(".chart").get_attribute("aria-label"))
    card = service.client.get("/models/talk/versions/2").json()
    assert float(label.split()[-1]) == pytest.approx(card["metrics"]["perplexity"], rel=0.01), "where the curve ends"
    origin = page.locator("section", has_text="Where it comes from").inner_text()
    assert "CC0-1.0" in origin
    assert "RNN practice with PyTorch" in origin
    assert "too little to keep some apart" in page.locator("section", has_text="How good it is").inner_text()
    slider = page.get_by_role("slider", name="What it made along the way")
    slider.press("Home")
    assert "100 updates" in str(slider.get_attribute("aria-valuetext"))
    page.get_by_text("All settings of its training").click()
    assert "learning_rate" in page.locator(".settings").inner_text()

    page.goto(f"{pages.base}/#/models/pictures@1")
    page.locator(".sample img").wait_for()
    row = page.locator("tr", has_text="Distance from real pictures").locator("td").all_inner_texts()
    metrics: dict[str, Any] = service.client.get("/models/pictures/versions/1").json()["metrics"]
    assert [float(value) for value in row] == pytest.approx(
        [metrics["frechet_distance"], metrics["frechet_floor"]], rel=0.01
    )


def test_taught_and_forgotten(pages: Watched, service: Service, copy: Copy) -> None:
    name = copy("taught")
    page = pages.open(f"/#/models/{name}@2")
    box = page.get_by_label("A phrase, as it will be typed")
    box.fill("our product Zorblax")
    box.press("Enter")
    page.locator(".phrases li", has_text="our product Zorblax").wait_for()
    assert box.input_value() == ""
    learned = service.client.get(f"/models/{name}/learned").json()["learned"]
    assert [each["text"] for each in learned] == ["our product Zorblax"]
    page.get_by_role("button", name="Forget our product Zorblax").click()
    said(page, "Forgotten")
    page.get_by_text("Nothing yet.").wait_for()
    assert service.client.get(f"/models/{name}/learned").json()["learned"] == []


def test_no_model_and_no_such_model(pages: Watched) -> None:
    pages.expect("404")
    nothing = {"models": [], "next": None}

    def empty(page: Page) -> None:
        page.route("**/models?*", lambda route: route.fulfill(json=nothing))

    page = pages.open("/#/models", before=empty)
    page.get_by_text("No model yet").wait_for()
    page.goto(f"{pages.base}/#/models/nothing-such")
    told = page.locator(".problem").inner_text()
    assert "There is no model 'nothing-such'" in told
    assert "POST" not in told, "what a program would do is not for a reader"


def test_in_korean(pages: Watched, files: dict[int, bytes]) -> None:
    page = pages.open("/#/models/talk", language="ko-KR", width=390, height=844)
    page.get_by_text("2번 버전이 응답합니다.").wait_for()
    page.locator(".compare table").wait_for()
    reasons = page.locator("tr", has_text="더 나아졌나요?").locator("td").all_inner_texts()
    assert [text.split()[0] for text in reasons] == ["아니요.", "네.", "비교하지"]
    screenshot(page, "models-versions-phone-korean")
    assert fits(page)

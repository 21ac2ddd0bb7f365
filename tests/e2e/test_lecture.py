"""The lecture's two lessons, run to their ends on the real service."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browsing import WIDTHS, Watched, fits, screenshot, violations
from tests.flow.service import Service

LONG = 900_000  # milliseconds that a lesson may take: its training gives way to the tests beside it
pytestmark = pytest.mark.timeout(2000)  # a first test waits for the lesson, whose last picture comes late
ENDINGS = {"i like": "dog", "i love": "coffee", "i hate": "milk", "you like": "cat", "you love": "milk"}


@pytest.fixture(scope="module")
def watched(browser: Browser, service: Service) -> Iterator[Watched]:
    """Pages that outlive a test: a lesson is run once, and looked at from all sides."""
    made = Watched(browser, f"http://127.0.0.1:{service.port}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def lstm(watched: Watched) -> Page:
    """The first lesson, at its end, by its one button."""
    page = watched.open("/#/lecture/lstm")
    page.get_by_role("button", name="Train the LSTM").click()
    expect(page.get_by_text("Epoch 500 of 500")).to_be_visible(timeout=LONG)
    expect(page.locator(".run-says")).to_have_text("Done.", timeout=LONG)
    return page


@pytest.fixture(scope="module")
def gan(watched: Watched) -> Page:
    """The second lesson, likewise."""
    page = watched.open("/#/lecture/gan")
    page.evaluate("""() => {
        const ask = window.requestAnimationFrame;
        window.framesAsked = 0;
        window.requestAnimationFrame = (...given) => (window.framesAsked++, ask(...given));
    }""")
    page.get_by_role("button", name="Start the game").click()
    expect(page.locator(".lec-verdict")).to_contain_text("D", timeout=LONG)
    expect(page.locator(".story-said")).to_have_text("after 3,500 updates", timeout=LONG)
    expect(page.locator(".run-says")).to_have_text("Done.", timeout=LONG)
    return page


def look(page: Page, name: str) -> None:
    """What both themes and both widths show, kept; axe finds nothing, and nothing is wider than the page."""
    for width, size in WIDTHS.items():
        for theme in ("light", "dark"):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            screenshot(page, f"{name}-{width}-{theme}")
            assert fits(page), (name, width)
            assert violations(page) == [], (name, width, theme)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def test_all_six_predictions_turn_right(lstm: Page) -> None:
    rows = lstm.locator(".lec-answers li")
    assert rows.count() == 6
    for i, (asked, answer) in enumerate(ENDINGS.items()):
        assert rows.nth(i).locator(".answer-asked").inner_text() == asked
        assert rows.nth(i).locator(".answer-said").inner_text() == answer
    assert lstm.locator(".answer-mark.right").count() == 6
    assert lstm.locator(".answers-count").inner_text() == "6 of 6 right"
    costs = [float(cell) for cell in lstm.locator(".costs td:nth-child(2)").all_inner_texts()]
    assert len(costs) == 5
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.05
    assert lstm.locator(".costs td:nth-child(3)").first.inner_text() == "0.391738", "as the slide has it"
    look(lstm, "lesson-lstm")


def test_the_story_is_walked_back_by_keyboard(lstm: Page) -> None:
    slider = lstm.get_by_role("slider", name="Epochs")
    slider.focus()
    lstm.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "Epoch 10 of 500"
    assert lstm.locator(".answer-mark.right").count() < 6
    assert lstm.locator(".costs td:nth-child(2)").first.inner_text() == "–"
    lstm.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "Epoch 20 of 500"
    lstm.keyboard.press("End")
    assert lstm.locator(".answer-mark.right").count() == 6


def test_words_are_shown_as_one_hot_vectors(lstm: Page) -> None:
    assert lstm.locator(".one-hot thead .upright").all_inner_texts() == (
        ["i", "like", "dog", "love", "coffee", "hate", "milk", "you", "cat"]
    )
    lstm.get_by_role("button", name="Next sentence").press("Enter")
    assert lstm.locator(".one-hot tbody tr").nth(1).locator("td").all_inner_texts() == list("000100000"), "love"
    assert lstm.locator(".lec-network .word").all_text_contents() == ["i", "love", "coffee"]
    assert lstm.locator(".shape strong").all_inner_texts() == ["2", "5", "9"]


def test_two_words_are_answered_by_the_trained_model(lstm: Page) -> None:
    box = lstm.get_by_label("Two words", exact=True)
    first = lstm.locator(".ask-out .meter-label").first
    expect(first).to_have_text("dog")
    box.fill("you hate")
    expect(first).to_have_text("coffee")
    box.fill("you")
    expect(lstm.locator(".ask-out")).to_have_text("Type exactly two words.")
    box.fill("you adore")
    expect(lstm.locator(".ask-out .hint")).to_contain_text("adore")


def test_it_is_projected_and_escape_ends_that(lstm: Page) -> None:
    def size() -> float:
        return float(lstm.evaluate("() => parseFloat(getComputedStyle(document.querySelector('.lec-said')).fontSize)"))

    usual = size()
    lstm.get_by_role("button", name="Projector").press("Enter")
    expect(lstm.get_by_role("button", name="Leave the projector view")).to_have_attribute("aria-pressed", "true")
    assert size() >= 1.25 * usual
    assert not lstm.locator(".bar").is_visible()
    assert fits(lstm)
    assert violations(lstm) == []
    screenshot(lstm, "lesson-lstm-projector")
    lstm.keyboard.press("Escape")
    expect(lstm.get_by_role("button", name="Projector", exact=True)).to_be_visible()
    assert size() == usual


def test_another_language_and_view_lose_nothing(lstm: Page) -> None:
    lstm.get_by_role("combobox", name="Language").select_option("ko")
    expect(lstm.locator(".answers-count")).to_have_text("6개 중 6개 정답")
    expect(lstm.locator("h1")).to_have_text("세 번째 단어를 맞히는 LSTM")
    screenshot(lstm, "lesson-lstm-korean")
    assert fits(lstm)
    lstm.locator("a[data-view=models]").click()
    lstm.locator(".view.models").wait_for()
    lstm.locator("a[data-view=lecture]").click()
    expect(lstm.locator(".answer-mark.right")).to_have_count(6)
    lstm.reload()
    expect(lstm.locator(".answer-mark.right")).to_have_count(6, timeout=LONG)
    lstm.get_by_role("combobox").first.select_option("en")


def test_ones_own_sentences_are_trained_by_keyboard_alone(watched: Watched, lstm: Page) -> None:
    page = watched.open("/#/lecture/lstm")
    page.get_by_label("Sentences, one a line").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("나는 커피를 마신다\n너는 우유를")
    expect(page.get_by_text("does not have three words")).to_be_visible()
    page.keyboard.type(" 판다\n우리는 커피를 판다")
    expect(page.locator(".one-hot thead .upright")).to_have_count(7)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent") == "Train the LSTM":
            break
    page.keyboard.press("Enter")
    expect(page.locator(".answers-count")).to_have_text("3 of 3 right", timeout=LONG)
    expect(page.locator(".run-says")).to_have_text("Done.", timeout=LONG)
    expect(page.locator(".ask-out .meter-label").first).to_have_text("마신다")
    page.reload()
    assert page.get_by_label("Sentences, one a line").input_value().startswith("나는 커피를"), "what was typed stays"
    page.get_by_role("button", name="Back to the lecture").click()
    assert page.locator(".one-hot thead .upright").count() == 9


def test_it_draws_only_what_is_new(gan: Page) -> None:
    """A page that draws all the time takes the cores from the training that it follows: its trainer gives way."""
    assert 40 < gan.evaluate("window.framesAsked") < 41 * 12  # an evaluation is walked to in a ninth of a second


def test_the_discriminator_ends_near_one_half(gan: Page) -> None:
    real, fake = (float(value) for value in gan.locator(".scale-value").all_inner_texts())
    assert abs(real - 0.5) < 0.08
    assert abs(fake - 0.5) < 0.08
    assert "can no longer tell them apart" in gan.locator(".lec-verdict").inner_text()
    large = gan.locator(".lec-panel:not(.small)")
    made, given, judge = (
        points(large.locator(f".{name}").get_attribute("d") or "") for name in ("made", "given", "judge")
    )
    assert len(made) == len(given) == len(judge) == 101
    top, floor = min(y for _, y in given), max(y for _, y in given)
    gaps = [abs(y - wanted) / (floor - top) for (_, y), (_, wanted) in zip(made, given, strict=True)]
    assert sum(gaps) / len(gaps) < 0.08, "the generated density lies on the data's"
    assert large.locator(".arrow").count() > 20
    assert gan.locator(".lec-panel.small .made").count() == 4
    look(gan, "lesson-gan")


def test_its_beginning_is_told_apart(gan: Page) -> None:
    slider = gan.get_by_role("slider", name="Updates")
    slider.focus()
    gan.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "after 0 updates"
    first = gan.locator(".lec-panel:not(.small) .made").get_attribute("d")
    real, fake = (float(value) for value in gan.locator(".scale-value").all_inner_texts())
    assert max(abs(real - 0.5), abs(fake - 0.5)) > 0.1
    assert gan.locator(".lec-panel.small .made").count() == 2, "the beginning and now"
    gan.get_by_role("button", name="Play").press("Enter")
    expect(gan.locator(".story-said")).to_have_text("after 3,500 updates")
    assert gan.locator(".lec-panel:not(.small) .made").get_attribute("d") != first


def test_the_game_is_projected(gan: Page) -> None:
    gan.get_by_role("button", name="Projector").click()
    assert gan.locator(".lec-formula math").count() == 3
    assert fits(gan)
    assert violations(gan) == []
    screenshot(gan, "lesson-gan-projector")
    gan.keyboard.press("Escape")


def test_two_hills_are_started_and_stopped_in_korean(watched: Watched, gan: Page) -> None:
    page = watched.open("/#/lecture/gan", width=390, height=844, language="ko-KR", reduced_motion="reduce")
    page.get_by_label("봉우리 하나").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="학습 시작").press("Enter")
    expect(page.locator(".lec-panel:not(.small) .given")).to_be_visible(timeout=LONG)
    expect(page.locator(".story-play:not([aria-disabled])")).to_be_visible(timeout=LONG)
    assert violations(page) == []
    page.get_by_role("button", name="중지").press("Enter")
    expect(page.locator(".run-says")).to_have_text("학습을 멈췄습니다.", timeout=LONG)
    screenshot(page, "lesson-gan-korean-phone")
    assert fits(page)

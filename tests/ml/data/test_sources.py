"""The lines a model learned from, found again by their words."""

from pathlib import Path

import pytest

from ml.data import sources
from ml.data.sources import Sources

LINES = [
    "In the beginning God created",
    "the beginning of wisdom",
    "In the end, the Beginning.",
    "커피를 좋아해요 the end",
]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    with Sources(tmp_path / "s") as file:
        for number, line in enumerate(LINES, 1):
            file.add(10 * number, f"{line}\n")
    return tmp_path / "s"


@pytest.mark.parametrize(
    ("words", "first", "numbers"),
    [
        (["the", "beginning"], False, [10, 20, 30]),
        (["the", "beginning"], True, [20]),
        (["in", "the", None, "god"], True, [10]),
        ([None, "wisdom"], False, [20]),
        (["end", ",", "the"], False, [30]),
        (["커피를"], False, [40]),
        (["the", "wisdom"], False, []),
        (["nobody"], False, []),
    ],
)
def test_lines_are_found_by_words_that_follow_each_other(
    kept: Path, words: list[str | None], first: bool, numbers: list[int]
) -> None:
    found = sources.find(kept, words, first)
    assert [number for number, _ in found] == numbers
    assert all(LINES[number // 10 - 1] == line for number, line in found)


def test_no_more_than_wanted(kept: Path) -> None:
    assert len(sources.find(kept, ["the"], first=False, most=2)) == 2


def test_a_text_that_is_too_long_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 100)
    with Sources(tmp_path / "s") as file:
        for number in range(20):
            file.add(number, "in the beginning")
    assert list(tmp_path.iterdir()) == []


def test_what_is_sent_in_its_place_is_read_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sources(tmp_path / "s") as file:
        file.add(1, "no number\nthe end\n" + "the the " * 1000)
    monkeypatch.setattr(sources, "MOST_BYTES", 50)
    assert sources.find(tmp_path / "s", ["end"], first=False) == []

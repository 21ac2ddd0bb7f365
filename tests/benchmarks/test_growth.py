"""benchmarks.growth: a small text measured for real, and the verdicts."""

import pytest

from benchmarks import growth
from benchmarks.growth import Point


def test_a_text_is_taken_in_prepared_and_trained_on() -> None:
    found = growth.point(20_000, 0.2, None)
    assert 18_000 < found.words < 22_000
    assert 100 < found.vocabulary < found.words
    assert min(found.take, found.prepare, found.training) > 0
    assert found.peak > 10_000_000


@pytest.mark.parametrize(
    ("largest", "kept"),
    [
        (Point(100_000_000, 50_000, 150, 50, 5e8, 9_000), [True, True, True]),
        (Point(100_000_000, 50_000, 250, 60, 5e8, 9_000), [False, True, True]),
        (Point(100_000_000, 50_000, 150, 50, 5e8, 7_000), [True, False, True]),
        (Point(100_000_000, 50_000, 150, 50, 2e9, 9_000), [True, True, False]),
    ],
)
def test_a_large_text_may_not_cost_more(largest: Point, kept: list[bool]) -> None:
    points = [Point(100_000, 5_000, 3, 2, 1e8, 10_000), Point(1_000_000, 20_000, 1.5, 0.5, 1e8, 10_000), largest]
    assert [each for _, each in growth.judge(points)] == kept
    assert growth.table(points).count("\n") == 4

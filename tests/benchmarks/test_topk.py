"""benchmarks.topk: what it asks, and what it holds that against."""

import time
from pathlib import Path

import pytest

from benchmarks import topk
from benchmarks.topk import Point


def test_arithmetic_is_that_of_the_matrices() -> None:
    # One word, one unit, one number: four gates of two weights, a projection, a word of one number.
    assert topk.arithmetic(1, 1, 1, 1) == 2 * (4 * 2 + 1 + 1)
    assert topk.arithmetic(100, 8, 3, 4) - topk.arithmetic(100, 8, 2, 4) == 2 * 4 * 8 * (4 + 8)


def test_the_best_of_several_tries_counts() -> None:
    waits = iter([0.0, 0.02, 0.005, 0.02])

    def part() -> None:
        until = time.process_time() + next(waits, 0.02)
        while time.process_time() < until:
            pass

    (found,) = topk.best(0, part)
    assert found == float("inf")  # the first only tells how often
    quick, slow = topk.best(2, lambda: None, lambda: sum(range(20_000)))
    assert 0 < quick < slow < 1e6


@pytest.mark.parametrize("curve", topk.CURVES)
def test_a_point_is_measured(curve: str) -> None:
    found = topk.point(curve, 40, 1)
    assert found.answer > 0
    assert found.limit > 0
    assert found.choice > 0
    assert (found.curve, found.at) == (curve, 40)


def test_a_word_typed_on_is_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    run = topk.Network._run

    def counted(self: topk.Network, ids, hidden, heard):
        read.append(ids.shape)
        return run(self, ids, hidden, heard)

    monkeypatch.setattr(topk.Network, "_run", counted)
    topk.point("typed on", 50, 1)
    assert read[-1] == (1, 1)
    assert read.count((1, 1)) > 1
    assert set(read[3:]) == {(1, 1)}  # behind the start, and what was typed before


def test_far_from_the_limit_it_ends_with_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for times, code in ((1.9, 0), (2.1, 1)):
        monkeypatch.setattr(topk, "point", lambda curve, at, turns, times=times: Point(curve, at, 100 * times, 5, 100))
        monkeypatch.setattr("sys.argv", ["topk", "--json", str(tmp_path / "said.json")])
        assert topk.main() == code
    assert '"limit": 100' in (tmp_path / "said.json").read_text()

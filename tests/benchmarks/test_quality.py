"""The judges of benchmarks.quality: the rivals and the figures are what they claim to be."""

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import __main__ as quality
from benchmarks.quality import gans, kneser_ney, report, word_language_model
from benchmarks.quality.contest import RESULT, Entry, Place, Result
from benchmarks.quality.kneser_ney import KneserNey
from benchmarks.quality.rows import ROWS, Row, judge
from benchmarks.quality.stopwatch import Stopwatch
from benchmarks.quality.text_score import TextScore
from ml import files
from ml.data import text
from ml.data.text import Vocabulary
from ml.families import catalog
from ml.ngram import NGram
from ml.trainer import Trainer
from tests.ml import tiny

TEXT = [f"the {a} {b} the {c} ." for a in ("dog", "cat", "king") for b in ("saw", "bit") for c in ("cat", "dog", "sun")]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return text.build_vocabulary(TEXT)


@pytest.fixture(scope="module")
def ids(vocabulary: Vocabulary) -> np.ndarray:
    return text.encode_lines(TEXT * 3, vocabulary)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """CPU seconds are those of all threads together."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_kneser_ney_gives_distributions_whose_targets_are_the_ones_it_says(ids: np.ndarray) -> None:
    model = KneserNey(ids[:200], 20)
    rows = np.concatenate(list(model.rows(ids)))
    assert rows.shape == (len(ids) - 1, 20)
    assert np.allclose(rows.sum(1), 1)
    assert rows.min() > 0
    assert np.allclose(model.of_targets(ids), rows[np.arange(len(rows)), ids[1:]])


def test_kneser_ney_counts_as_chen_and_goodman_do() -> None:
    # Bigrams of a b a b a c: ab 2, ba 2, ac 1. Behind a: (2 - D2) / 3 for b, and the rest by what stands before.
    ids = np.array([0, 1, 0, 1, 0, 2])
    model = KneserNey(ids, 3, order=2)
    d = kneser_ney._discounts(np.array([2, 2, 1]))  # a toy text: the discounts are fixed
    continuation = np.array([1, 1, 1])  # different words in front: of a one, of b one, of c one
    unigram = (continuation - d[1] + 3 * d[1] / 3) / 3
    behind_a = np.array([0, 2 - d[2], 1 - d[1]]) / 3 + (d[1] + d[2]) / 3 * unigram
    assert np.allclose(next(iter(model.rows(np.array([0, 0]))))[0], behind_a)


def test_the_products_ngram_agrees_with_the_reference() -> None:
    random = np.random.default_rng(0)
    words = np.minimum(random.zipf(1.3, 60_000) - 1, 999)
    ids = np.where(random.random(60_000) < 0.5, words, np.roll(words * 7 % 1000, 1)).astype(np.int32)
    train, held = ids[:55_000], ids[55_000:56_000]
    reference, ours = KneserNey(train, 1000), NGram.count(train, 1000)
    rows = (ours.row(held[max(0, i - ours.longest) : i].tolist())[0] for i in range(1, len(held)))
    nll = -np.mean([math.log(row[word]) for row, word in zip(rows, held[1:], strict=True)])
    assert nll == pytest.approx(-np.log(reference.of_targets(held)).mean(), abs=0.02)


def test_the_cache_forgets_and_is_mixed_by_its_worth() -> None:
    ids = np.array([1, 2, 1, 3, 3, 3])
    rows = np.concatenate(list(kneser_ney.cache_rows(ids, np.array([True, True, True, False]), size=2)))
    assert np.allclose(rows[:, 1:3], [[1, 0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    even = [np.full((5, 4), 0.25)]
    mixed = np.concatenate(list(kneser_ney.mixed(even, [rows], 0.5)))
    assert np.allclose(mixed.sum(1), 1)
    assert kneser_ney.best_weight(np.array([0.1, 0.1]), np.array([0.5, 0.5])) > 0.9
    assert kneser_ney.best_weight(np.array([0.1, 0.1]), np.array([0.0, 0.0])) < 1e-6


def test_keystrokes_are_counted_as_they_are_typed() -> None:
    words = ("<unk>", "<eos>", "cat", "car", "cow", "cap", "dog", ",")
    vocabulary = Vocabulary(words, words, unk=0, eos=1)
    # cap is fourth of all, and of those with a c, third of those with "ca": "c", "a", taken. The unknown word costs
    # its six letters and the space. The comma is no word.
    row = np.array([0.0, 0.0, 0.4, 0.2, 0.15, 0.05, 0.1, 0.1])
    score = TextScore(vocabulary, np.array([1, 5, 0, 7, 2]), ["", "cap", "zebras", ",", "Cat"])
    score.add(np.tile(row, (4, 1)))
    figures = score.figures()
    assert figures["keystroke_savings"] == pytest.approx(1 - (3 + 7 + 1) / (4 + 7 + 4))
    assert (figures["words"], figures["tokens"]) == (3, 4)
    assert figures["top1"] == pytest.approx(1 / 3)
    assert figures["top5"] == pytest.approx(2 / 3)
    assert figures["perplexity"] == pytest.approx((0.05 * 1e-30 * 0.1 * 0.4) ** -0.25)


def test_a_score_refuses_what_does_not_fit(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="not cut alike"):
        TextScore(vocabulary, np.array([1, 2]), [""])
    score = TextScore(vocabulary, np.array([1, 2]), ["", "dog"])
    with pytest.raises(ValueError, match="sums to"):
        score.add(np.ones((1, len(vocabulary))))
    with pytest.raises(ValueError, match="1 of 2"):
        score.figures()


def test_the_example_learns_within_its_seconds(one_thread: None) -> None:
    ids = np.resize(np.arange(50) * 7 % 50, 20_000)  # each id tells the next
    trained = word_language_model.train(ids, ids[:500], 50, 5.0, 0)
    assert trained.seconds >= 5.0
    assert trained.curve[-1][1] < trained.curve[0][1] / 2  # a look within an epoch may be luckier than the epochs' ends
    rows = np.concatenate(list(trained.rows(ids[:500])))
    assert rows.shape == (499, 50)
    assert np.allclose(rows.sum(1), 1)
    assert math.exp(-np.log(rows[np.arange(499), ids[1:500]]).mean()) < 25


@pytest.mark.parametrize("kind", ["mlp", "r1"])
def test_the_rivals_draw_the_same_pictures_for_the_same_seed(kind: gans.Kind, one_thread: None) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (80, 28, 28, 1)).astype(np.uint8)
    rival = gans.train(kind, pictures, 0.5, 0, lambda rival: float(rival.steps))
    assert rival.curve
    drawn = rival.draw(5, 1)
    assert drawn.shape == (5, 28, 28, 1)
    assert np.array_equal(drawn, rival.draw(5, 1))
    assert not np.array_equal(drawn, rival.draw(5, 2))


def test_paused_seconds_are_not_counted() -> None:
    watch = Stopwatch()
    with watch.paused():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    assert watch() < 0.15


def test_a_run_counts_its_minutes_by_the_clock_that_it_is_given(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "tiny", tiny.SENTENCES)
    run, seconds = tiny.new_run(tmp_path / "run", "lstm", budget={"minutes": 0.1}), itertools.count()
    trainer = Trainer(run, run.read_spec(), catalog.load("lstm"), source, now=lambda: float(next(seconds)))
    assert trainer.fit().steps == 6


def row(**changes: object) -> Row:
    entries = (Entry("a-text", "ours", 2), Entry("a-text", "5-gram"))
    value = {"name": "a", "says": "ours / 5-gram", "entries": entries, "bound": 0.5} | changes
    return Row(value=lambda ours, rival: ours["perplexity"] / rival["perplexity"], **value)  # type: ignore[arg-type]


def figures(*ours: float) -> dict[int, list[dict[str, float]]]:
    return {seed: [{"perplexity": value}, {"perplexity": 100.0}] for seed, value in enumerate(ours)}


@pytest.mark.parametrize(
    ("changes", "ours", "verdict"),
    [
        ({}, (40, 49, 90), "PASS"),
        ({}, (40, 51, 52), "FAIL"),
        ({"at_least": True}, (40, 51, 52), "PASS"),
        ({"each": True}, (40, 41, 51), "FAIL"),
        ({"each": True, "at_least": True}, (49, 51, 52), "FAIL"),
        ({"bound": None}, (40, 41), "reported"),
        ({}, (), "not run"),
    ],
)
def test_a_row_is_judged_by_the_median_or_by_every_seed(
    changes: dict[str, object], ours: tuple[float, ...], verdict: str
) -> None:
    assert judge(row(**changes), figures(*ours)).verdict == verdict


def test_a_figure_that_was_not_measured_fails_nothing() -> None:
    assert judge(row(), {0: [{}, {"perplexity": 1.0}]}).verdict == "not run"


def kept(place: Place) -> Iterator[Result]:
    for contestant, value, data in (("ours", 40.0, "x"), ("5-gram", 100.0, "x"), ("word_language_model", 80.0, "y")):
        yield Result(
            Entry("a-text", contestant, 0 if contestant == "5-gram" else 2), 0, "test", {"perplexity": value}, data=data
        )


def test_results_are_kept_compared_on_the_same_data_alone_and_put_into_the_page(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for result in kept(place):
        path = place.path(result.entry, 0, "json")
        path.parent.mkdir(exist_ok=True)
        files.write_bytes(path, RESULT.dump_json(result))
    other = row(entries=(Entry("a-text", "ours", 2), Entry("a-text", "word_language_model", 2)))
    first, second = report.outcomes([row(), other], place, range(3))
    assert (first.verdict, dict(first.values)) == ("PASS", {0: 0.4})
    assert second.verdict == "not run"
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- text:begin -->\nold\n<!-- text:end -->\nafter\n")
    report.put_between(page, "text", report.table([first, second]))
    assert "| ours / 5-gram | ≤ 0.5 | 0.400 | - | 1 | PASS |" in page.read_text()
    assert page.read_text().endswith("<!-- text:end -->\nafter\n")
    assert "old" not in page.read_text()
    with pytest.raises(ValueError, match="pictures:begin"):
        report.put_between(page, "pictures", "")
    assert "| a-text | ours | 2 | 1 | 40.0 |" in report.figures_table(other.entries, ["perplexity"], place, [0])


def test_rows_are_chosen_by_the_beginning_of_their_names() -> None:
    assert [row.name for row in quality.chosen("few-pictures", False)] == ["few-pictures", "few-pictures-recall"]
    assert len(quality.chosen(None, False)) == len(ROWS)
    assert all(entry.task == "text" for row in quality.chosen(None, True) for entry in row.entries)
    with pytest.raises(ValueError, match="no row digit9"):
        quality.chosen("digit9", False)


def test_a_quick_run_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("\n".join(TEXT * 40), encoding="utf-8")
    only = ["--only", "mixture-text", "--text", str(mine), "--folder", str(tmp_path / "kept"), "--seeds", "1"]
    monkeypatch.setattr(quality, "QUICK_TEXT", "text")
    monkeypatch.setattr("sys.argv", ["quality", "--quick", *only])
    assert quality.main() == 0
    printed = capsys.readouterr().out
    assert "reported" in printed
    monkeypatch.setattr("sys.argv", ["quality", "--quick", "--resume", *only])
    assert quality.main() == 0
    assert capsys.readouterr().out == printed


def test_a_text_that_the_starter_does_not_know_is_said_to_be_trained_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    only = ["--only", "started-lstm-text", "--seeds", "1"]
    monkeypatch.setattr(quality, "QUICK_TEXT", "text")
    for name, lines, verdict in (
        ("known", TEXT, "reported"),
        ("unknown", ["나는 개를 좋아해", "너는 우유를 싫어해"] * 9, "not run"),
    ):
        mine = tmp_path / f"{name}.txt"
        mine.write_text("\n".join(lines * 120), encoding="utf-8")
        monkeypatch.setattr(
            "sys.argv", ["quality", "--quick", "--text", str(mine), "--folder", str(tmp_path / "kept"), *only]
        )
        assert quality.main() == 0
        told = capsys.readouterr()
        assert f" {verdict} |" in told.out
        assert ("trains this from nothing" in told.err) is (name == "unknown")

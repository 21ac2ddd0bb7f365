"""What is asked for: each row of the tables, the entries it needs, and its bound. Must not know: how they are run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.quality.contest import Entry, Figures

OURS, PLAIN, STARTED = "ours", "ours without augmentation", "ours from the starter"
NGRAM, EXAMPLE = "5-gram", "word_language_model"
SMALL, MIDDLE, LARGE, USERS = "shakespeare-25000", "shakespeare-200000", "kjv", "text"


@dataclass(frozen=True)
class Row:
    """One line of a table. `value` takes the figures of `entries` in their order, all of one seed.

    The median over the seeds is what is judged, or every seed where `each`. `bound` None: reported only.
    """

    name: str
    says: str
    entries: tuple[Entry, ...]
    value: Callable[..., float]
    bound: float | None
    at_least: bool = False  # the bound is the least, not the most
    each: bool = False
    digits: int = 3

    @property
    def is_text(self) -> bool:
        return self.entries[0].is_text


@dataclass(frozen=True)
class Outcome:
    """What became of a row: its values by seed, what is judged of them, and how."""

    row: Row
    values: Mapping[int, float]
    verdict: Literal["PASS", "FAIL", "reported", "not run"]

    @property
    def judged(self) -> float:
        values = list(self.values.values())
        if not self.row.each:
            return median(values)
        return min(values) if self.row.at_least else max(values)


def judge(row: Row, figures: Mapping[int, list[Figures]]) -> Outcome:
    """`figures`: by seed, those of the row's entries. A figure that an entry lacks is as good as none."""
    values = {}
    for seed, told in figures.items():
        try:
            values[seed] = row.value(*told)
        except KeyError:
            continue
    outcome = Outcome(row, values, "not run")
    if not values:
        return outcome
    if row.bound is None:
        return Outcome(row, values, "reported")
    reached = outcome.judged >= row.bound if row.at_least else outcome.judged <= row.bound
    return Outcome(row, values, "PASS" if reached else "FAIL")


def _figure(name: str) -> Callable[..., float]:
    return lambda ours: ours[name]


def _ratio(name: str, other: str | None = None) -> Callable[..., float]:
    return lambda ours, rival: ours[name] / rival[other or name]


def _named(name: str, contestant: str) -> str:
    return name if contestant == OURS else f"started-{name}"


def _text_rows(task: str, minutes: float, suffix: str, contestant: str = OURS) -> list[Row]:
    """The mixture against the 5-gram."""
    pair = (Entry(task, contestant, minutes), Entry(task, NGRAM))
    words = f"{suffix}, {minutes:g} CPU minutes: word perplexity of the mixture / Kneser-Ney 5-gram"
    savings = f"{suffix}: keystroke savings, mixture - 5-gram, percentage points"
    return [
        Row(_named(f"mixture-{task}", contestant), words, pair, _ratio("word_perplexity"), 0.55),
        Row(
            _named(f"keystrokes-{task}", contestant),
            savings,
            pair,
            lambda ours, rival: 100 * (ours["keystroke_savings"] - rival["keystroke_savings"]),
            3.5,
            at_least=True,
            digits=1,
        ),
    ]


def _example_row(task: str, minutes: float, suffix: str, contestant: str = OURS) -> Row:
    return Row(
        _named(f"lstm-{task}-{minutes:g}min", contestant),
        f"{suffix}, {minutes:g} CPU minutes: perplexity of the LSTM alone / pytorch/examples word_language_model",
        (Entry(task, contestant, minutes), Entry(task, EXAMPLE, minutes)),
        _ratio("lstm_perplexity", "perplexity"),
        0.72,
    )


def _cache_row(task: str, suffix: str, contestant: str = OURS) -> Row:
    return Row(
        _named(f"mixture-{task}", contestant),
        f"{suffix}, 2 CPU minutes: word perplexity, mixture / 5-gram with the same cache",
        (Entry(task, contestant, 2), Entry(task, NGRAM)),
        _ratio("word_perplexity", "same_cache_word_perplexity"),
        0.85,
    )


def _digits(minutes: float, contestant: str = OURS) -> Entry:
    return Entry("mnist@28", contestant, minutes)


def _faces(minutes: float, contestant: str = OURS) -> Entry:
    return Entry("faces@32", contestant, minutes)


def _few_rows(name: str, task: str, says: str) -> list[Row]:
    """So few that a discriminator may learn them by heart."""
    pair = (Entry(task, OURS, 5), Entry(task, PLAIN, 5))
    recall = f"{says}, 5 CPU minutes: recall with augmentation - without"
    return [
        Row(
            name,
            f"{says}, 5 CPU minutes: random-feature distance with augmentation / without",
            pair,
            _ratio("random_distance"),
            0.7,
        ),
        Row(
            f"{name}-recall",
            recall,
            pair,
            lambda with_it, without: with_it["recall"] - without["recall"],
            0.0,
            at_least=True,
        ),
    ]


TEXT_ROWS = [
    _cache_row(SMALL, "25,000 words of Shakespeare"),
    *_text_rows(MIDDLE, 2, "200,000 words of Shakespeare"),
    *(_example_row(MIDDLE, minutes, "200,000 words of Shakespeare") for minutes in (2, 5, 15)),
    _cache_row(SMALL, "25,000 words of Shakespeare, from the shipped starter", STARTED),
    *_text_rows(MIDDLE, 2, "200,000 words of Shakespeare, from the shipped starter", STARTED),
    *(
        _example_row(MIDDLE, minutes, "200,000 words of Shakespeare, from the shipped starter", STARTED)
        for minutes in (2, 5, 15)
    ),
    *_text_rows("kjv-200000", 2, "200,000 words of the King James Bible"),
    Row(
        "mixture-kjv",
        "800,000 words (the King James Bible), 15 CPU minutes: word perplexity of the mixture / 5-gram",
        (Entry(LARGE, OURS, 15), Entry(LARGE, NGRAM)),
        _ratio("word_perplexity"),
        0.6,
    ),
]
PICTURE_ROWS = [
    Row(
        "digits-60s",
        "digits, 60 CPU s: classifier-feature distance",
        (_digits(1),),
        _figure("classifier_distance"),
        0.08,
    ),
    Row(
        "digits-240s",
        "digits, 240 CPU s: classifier-feature distance",
        (_digits(4),),
        _figure("classifier_distance"),
        0.025,
    ),
    *(
        Row(
            f"digits-classes-{60 * minutes}s",
            f"digits, {60 * minutes} CPU s: classes drawn, every seed",
            (_digits(minutes),),
            _figure("classes"),
            10,
            at_least=True,
            each=True,
            digits=0,
        )
        for minutes in (1, 4)
    ),
    Row(
        "digits-mlp",
        "digits, 60 CPU s: distance / an MLP GAN as in Goodfellow 2014",
        (_digits(1), _digits(1, "mlp")),
        _ratio("classifier_distance"),
        0.45,
    ),
    Row(
        "digits-r1",
        "digits, 60 CPU s: distance / small conv nets, non-saturating, R1",
        (_digits(1), _digits(1, "r1")),
        _ratio("classifier_distance"),
        0.45,
    ),
    Row(
        "labels-right",
        "digits with labels, 240 CPU s: share drawn as asked, by the classifier (unsolved: 0.9)",
        (_digits(4, "ours with labels"),),
        _figure("right_label"),
        None,
    ),
    Row(
        "labels-recall",
        "digits with labels, 240 CPU s: recall (unsolved: 0.6)",
        (_digits(4, "ours with labels"),),
        _figure("recall"),
        None,
    ),
    Row(
        "faces-120s", "faces 32x32, 120 CPU s: random-feature distance", (_faces(2),), _figure("random_distance"), 0.06
    ),
    Row(
        "faces-300s", "faces 32x32, 300 CPU s: random-feature distance", (_faces(5),), _figure("random_distance"), 0.03
    ),
    *(
        Row(
            f"faces-copies-{60 * minutes}s",
            f"faces 32x32, {60 * minutes} CPU s: near copies, every seed",
            (_faces(minutes),),
            _figure("near_copies"),
            0.01,
            each=True,
        )
        for minutes in (2, 5)
    ),
    *_few_rows("few-digits", "mnist-200@28", "200 digits"),
    *_few_rows("few-pictures", "faces-200@32", "200 faces"),
    Row(
        "faces-64",
        "faces 64x64, 15 CPU minutes: random-feature distance (and a grid that pleases)",
        (Entry("faces@64", OURS, 15),),
        _figure("random_distance"),
        None,
    ),
    Row(
        "emoji-64",
        "emoji 64x64, 15 CPU minutes: random-feature distance (and a grid that pleases)",
        (Entry("emoji@64", OURS, 15),),
        _figure("random_distance"),
        None,
    ),
]
USER_ROWS = [
    row
    for says, contestant in (
        ("the user's text", OURS),
        ("the user's text, from the shipped starter", STARTED),
    )
    for row in (*_text_rows(USERS, 2, says, contestant), _example_row(USERS, 2, says, contestant))
]
ROWS = {row.name: row for row in (*TEXT_ROWS, *PICTURE_ROWS)}

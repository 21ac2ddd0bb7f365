"""One contestant on one task with one budget and one seed: trains it, measures it, keeps the result.

Everyone gets the same CPU seconds and the same ids or pictures, and is measured by the same code on the same held-out
part. Must not know: which figures are asked for, or their bounds.
"""

import math
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.quality import gans, kneser_ney, ours, word_language_model
from benchmarks.quality.kneser_ney import KneserNey, Rows
from benchmarks.quality.pictures import DRAWS, PictureSet, open_pictures, save_grid
from benchmarks.quality.texts import Text, open_text
from ml import files
from ml.data.store import Pictures
from ml.ngram import NGram
from ml.serve.images import Sampler, to_pixels
from ml.serve.text import NextWord, Query

GRID = 48  # pictures
BEGINNINGS = ("", "I will", "my lord ,", "what is the")
Figures = dict[str, float]


@dataclass(frozen=True)
class Entry:
    """`task` is a text's name, or pictures' name and size: "mnist@28". `minutes` of CPU; 0 where none are needed.

    `contestant`: "ours" or "ours NAME", where NAME is in VARIANTS; "5-gram", "word_language_model"; "mlp", "r1".
    """

    task: str
    contestant: str
    minutes: float = 0.0

    @property
    def is_text(self) -> bool:
        return "@" not in self.task

    @property
    def seeded(self) -> bool:
        return self.contestant != "5-gram"

    def file_name(self, seed: int) -> str:
        """Without an ending."""
        name = f"{self.task}_{self.contestant.replace(' ', '-')}_{self.minutes:g}min"
        return f"{name}_seed{seed}" if self.seeded else name


# What a variant of ours sets; everything else is chosen by the product.
VARIANTS: dict[str, dict[str, Any]] = {
    "without augmentation": {"augment": 0.0},
    "with labels": {"labels": True},
    "from the starter": {},  # what the product chooses by itself: the vocabulary that everyone has, among others
}
STARTER = (
    Path(__file__).resolve().parents[2] / "app" / "starters" / "next-word"
)  # learned from other English, then the King James Bible


@dataclass
class Result:
    """What is kept of an entry. Curves: (CPU minutes, figure) on the validation part."""

    entry: Entry
    seed: int
    part: str
    figures: Figures
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    data: str = ""  # of what it was measured on: results on other data are not compared


RESULT = TypeAdapter(Result)


@dataclass(frozen=True)
class Place:
    """Where everything is kept, and on which part of the data entries are measured."""

    folder: Path
    part: str = "test"
    text: Path | None = None  # a user's own, the task "text"
    results: Path | None = None  # where the figures are kept, if not in `folder` beside models and pictures

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def path(self, entry: Entry, seed: int, ending: str) -> Path:
        folder = self.results if self.results and ending == "json" else self.folder
        return folder / self.part / f"{entry.file_name(seed)}.{ending}"

    def read(self, entry: Entry, seed: int) -> Result | None:
        path = self.path(entry, seed if entry.seeded else 0, "json")
        return RESULT.validate_json(path.read_bytes()) if path.exists() else None


def run(entry: Entry, seed: int, place: Place) -> Result:
    """Train and measure, and keep the result beside its grid of pictures."""
    result = _run_text(entry, seed, place) if entry.is_text else _run_pictures(entry, seed, place)
    result.about["commit"] = _commit()
    path = place.path(entry, seed, "json")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, asdict(result))
    return result


@cache
def _commit() -> str | None:
    """Of the code that was measured; None outside a repository."""
    try:
        said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


@cache
def fingerprint(task: str, place: Place) -> str:
    """Of what the task's entries are measured on by now: another tokenizer or split makes older results worthless."""
    if "@" not in task:
        return _text(task, place).fingerprint(place.part)
    name, _, size = task.partition("@")
    return open_pictures(name, int(size), place.data).fingerprint(place.part)


# -- texts -----------------------------------------------------------------------------------------------------------


def _run_text(entry: Entry, seed: int, place: Place) -> Result:
    text = _text(entry.task, place)
    result = _run_on_text(entry, seed, text, place)
    result.data = text.fingerprint(place.part)
    return result


def _text(task: str, place: Place) -> Text:
    return open_text(task, place.data, place.text if task == "text" else None)


def _run_on_text(entry: Entry, seed: int, text: Text, place: Place) -> Result:
    if entry.contestant == "5-gram":
        return _run_ngram(entry, text, place.part)
    if entry.contestant == "word_language_model":
        train_ids, validation_ids = text.ids("train"), text.ids("validation")
        model = word_language_model.train(train_ids, validation_ids, len(text.vocabulary), 60 * entry.minutes, seed)
        figures = _score(text, place.part, model.rows(text.ids(place.part)))
        curve = [(seconds / 60, value) for seconds, value in model.curve]
        about = {"seconds": model.seconds, "epochs": model.epochs}
        return Result(entry, seed, place.part, figures, {"perplexity": curve}, about=about)
    return _run_ours_text(entry, seed, text, place)


def _run_ngram(entry: Entry, text: Text, part: str) -> Result:
    """The 5-gram alone; `cache_…`: with a unigram cache; `same_cache_…`: with the product's own cache.

    Weights, and which ids the unigram cache holds, by the validation part. `product_…`: the product's n-gram, to check.
    """
    n_words, ids, held = len(text.vocabulary), text.ids(part), text.ids("validation")
    model = KneserNey(text.ids("train"), n_words)
    figures = _score(text, part, model.rows(ids))
    words = np.asarray(text.vocabulary.is_suggestion)
    known = np.arange(n_words) != text.vocabulary.unk  # a cache that holds <unk> gains by predicting nothing
    plain, tried = model.of_targets(held), []
    for kind, counted in (("all known ids", known), ("words", words)):
        weight = kneser_ney.best_weight(plain, kneser_ney.of_targets(kneser_ney.cache_rows(held, counted), held))
        rows = kneser_ney.mixed(model.rows(held), kneser_ney.cache_rows(held, counted), weight)
        tried.append((_score(text, "validation", rows)["word_perplexity"], kind, weight))
    _, kind, weight = min(tried)
    counted = words if kind == "words" else known
    rows = kneser_ney.mixed(model.rows(ids), kneser_ney.cache_rows(ids, counted), weight)
    mixture = ours.without_network(NGram.count(np.asarray(text.ids("train"), np.int32), n_words), words, held)
    figures |= _prefixed("cache_", _score(text, part, rows))
    nothing = np.broadcast_to(np.float32(1 / n_words), (len(ids) - 1, n_words))
    same = ours.blended(mixture, [nothing], ids, ("ngram", "cache"))
    figures |= _prefixed("same_cache_", _score(text, part, same))
    figures |= _prefixed("product_", _score(text, part, ours.blended(mixture, [nothing], ids, ("ngram",))))
    level = [(0.0, math.exp(-float(np.log(plain).mean())))]
    return Result(entry, 0, part, figures, {"perplexity": level}, about={"cache": kind, "cache_weight": weight})


def _prefixed(prefix: str, figures: Figures) -> Figures:
    return {prefix + name: value for name, value in figures.items()}


def _run_ours_text(entry: Entry, seed: int, text: Text, place: Place) -> Result:
    config = VARIANTS[entry.contestant.removeprefix("ours ")] if entry.contestant != "ours" else {}
    run_folder = place.path(entry, seed, "run")
    base = STARTER if entry.contestant == "ours from the starter" else None
    trained = ours.train("lstm", text.source, 60 * entry.minutes, seed, run_folder, config, base)
    model, vocabulary = trained.trainer.state.modules["model"], trained.trainer.data.vocabulary
    if vocabulary.words != text.vocabulary.words:
        raise ValueError(f"{entry.task}: the run's vocabulary is not the one that the others had")
    ids, predictor = text.ids(place.part), NextWord.open(trained.artifact)
    figures = _prefixed("lstm_", _score(text, place.part, ours.lstm_rows(model, ids)))
    if predictor.mixture is not None:
        blended = ours.blended(predictor.mixture, ours.lstm_rows(model, ids), ids)
        figures |= _score(text, place.part, blended)
    # On the way the product measures its LSTM alone.
    curve = [(seconds / 60, told["perplexity"]) for seconds, told in trained.curve if "perplexity" in told]
    queries = [Query(text=start, words=8, temperature=0.7, seed=seed + 1) for start in BEGINNINGS]
    answers = predictor.answer(queries)
    sentences = [f"{start} … {answer.continuation}".strip() for start, answer in zip(BEGINNINGS, answers, strict=True)]
    return Result(entry, seed, place.part, figures, {"lstm_perplexity": curve}, sentences, trained.about)


def _score(text: Text, part: str, rows: Iterable[Rows]) -> Figures:
    score = text.score(part)
    for block in rows:
        score.add(block)
    return score.figures()


# -- pictures --------------------------------------------------------------------------------------------------------


def _run_pictures(entry: Entry, seed: int, place: Place) -> Result:
    name, _, size = entry.task.partition("@")
    pictures = open_pictures(name, int(size), place.data)
    count, seconds = len(pictures.held_out(place.part)), 60 * entry.minutes
    if entry.contestant.startswith("ours"):
        drawn, result = _run_ours_pictures(entry, seed, int(size), count, pictures, place)
    else:
        kind: gans.Kind = "mlp" if entry.contestant == "mlp" else "r1"
        looked = len(pictures.validation)
        rival = gans.train(
            kind,
            pictures.train,
            seconds,
            seed,
            lambda rival: pictures.random_distance("validation", rival.draw(looked, 10_000)),
        )
        drawn = [rival.draw(count, number) for number in range(DRAWS)]
        curve = [(used / 60, value) for used, value in rival.curve]
        about = {"seconds": rival.seconds, "steps": rival.steps, "recipe": asdict(gans.RECIPES[kind])}
        result = Result(entry, seed, place.part, {}, {"random_distance": curve}, about=about)
    result.figures = pictures.score(place.part, drawn)
    if entry.contestant == "ours with labels" and pictures.judge is not None:
        result.figures["right_label"] = pictures.right(drawn)
    result.data = pictures.fingerprint(place.part)
    save_grid(place.path(entry, seed, "png"), drawn[0][:GRID])
    return result


def _run_ours_pictures(
    entry: Entry, seed: int, size: int, count: int, pictures: PictureSet, place: Place
) -> tuple[list[Pictures], Result]:
    config = VARIANTS[entry.contestant.removeprefix("ours ")] if entry.contestant != "ours" else {}
    run_folder = place.path(entry, seed, "run")
    trained = ours.train("gan", pictures.source, 60 * entry.minutes, seed, run_folder, {"size": size, **config})
    sampler = Sampler.open(trained.artifact)  # what would answer, ONNX file and all
    # Of a model with labels, each in turn.
    asked = [i % len(sampler.labels) if sampler.labels else None for i in range(count)]
    drawn = [
        np.stack([to_pixels(sampler.draw(number * count + i, label=label)) for i, label in enumerate(asked)])
        for number in range(DRAWS)
    ]
    curve = [
        (at / 60, told["frechet_distance"])
        for at, told in trained.curve
        if math.isfinite(told.get("frechet_distance", math.nan))
    ]
    return drawn, Result(entry, seed, place.part, {}, {"random_distance": curve}, about=trained.about)

"""The texts that are compared on: built-in ones, parts of them, or a user's file; prepared once for everyone.

Must not know: models.
"""

import hashlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.quality.kneser_ney import Ids
from benchmarks.quality.text_score import TextScore
from ml import files
from ml.data import builtin, corpus, store, text, texts
from ml.data.intake import Limits, Source
from ml.data.store import DatasetInfo
from ml.data.text import Vocabulary
from ml.families import catalog

PARTS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Text:
    """A text as a data-set folder of the product, and its ids under the product's vocabulary."""

    name: str
    source: Path
    prepared: Path

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return corpus.load(self.prepared)[0]

    def ids(self, part: str) -> Ids:
        """int32 (N,), with a line's end before, between and behind the lines."""
        return corpus.load(self.prepared)[1][part]

    def fingerprint(self, part: str) -> str:
        """Of the vocabulary and of what is measured on."""
        return hashlib.sha256(repr(self.vocabulary.words).encode() + self.ids(part).tobytes()).hexdigest()[:16]

    def tokens(self, part: str) -> list[str]:
        """What `ids` stand for, as written."""
        lines = list(store.read_lines(self.source))
        parts, out = text.split_lines(len(lines)), [""]
        for at in np.flatnonzero(parts == PARTS[part]).tolist():
            out += [*text.tokenize(lines[at]), ""]
        return out

    def score(self, part: str) -> TextScore:
        return TextScore(self.vocabulary, self.ids(part), self.tokens(part))


def open_text(name: str, folder: Path, file: Path | None = None) -> Text:
    """The text `name`, kept in `folder`: a built-in one ("kjv"), its first lines ("kjv-200000" words), or `file`."""
    source = folder / name / "set"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        if file is not None:
            texts.take_texts([Source(file.name, file)], source, _info(name, file.name), Limits())
        else:
            _make(name, source, folder)
    config = catalog.FAMILIES["lstm"].settle("auto", {}, store.read_info(source)).model_dump()
    code = hashlib.sha256((inspect.getsource(text) + inspect.getsource(corpus)).encode()).hexdigest()[:8]
    prepared = folder / name / f"ids-{config['min_count']}-{config['max_words']}-{code}"  # another tokenizer, other ids
    if not prepared.exists():
        words = corpus.learn_vocabulary(source, config["min_count"] or 1, config["max_words"])
        with files.new_folder(prepared) as new:
            corpus.encode(source, words, new)
    return Text(name, source, prepared)


def _make(name: str, source: Path, folder: Path) -> None:
    base, _, words = name.partition("-")
    whole = folder / base / "set"
    builtin.ensure(base, whole)
    if not words:
        return
    kept, count = [], 0
    for line in store.read_lines(whole):
        kept.append(line)
        count += len(line.split())
        if count >= int(words):
            break
    store.write_text(source, _info(name, f"the first {count:,} words of {base}"), kept)


def _info(name: str, title: str) -> DatasetInfo:
    return DatasetInfo(name=name, title=title, modality="text", licence="the text's own", attribution=title)

"""Starting from another version's words and weights."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from ml.data import corpus, store
from ml.data.text import Vocabulary
from ml.families.base import TrainingError
from ml.families.lstm.config import SHORT_TEXT, LSTMConfig

MOST_WORDS = 400_000  # of a text: measured up to half of that; a large one has enough to learn from
LEAST_KNOWN = 0.8  # of a text's words: English prose has more, other languages, code and logs less

# Along which axis of a weight the words stand. With one-hot input its columns of the first layer are words too.
WORD_AXES = {"embedding.weight": 0, "bias": 0}
ONE_HOT_WORD_AXES = {"weight": 0, "bias": 0, "lstm.weight_ih_l0": 1}


def fits(config: LSTMConfig, source: Path, base: Path) -> str | None:
    """As `Family.fits`: a running text, neither small nor large, most of whose words the base knows."""
    words = store.read_info(source).counts.get("words", 0)
    if config.one_hot or config.by_line or not SHORT_TEXT <= words <= MOST_WORDS:
        return None
    known = corpus.known_share(source, read_vocabulary(base))
    return f"it knows {100 * known:.0f} % of this text's words" if known >= LEAST_KNOWN else None


def read_vocabulary(base: Path) -> Vocabulary:
    """A version's words. Raises TrainingError when they cannot be read."""
    try:
        return Vocabulary.load(base / "vocabulary.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"the base's vocabulary cannot be read: {error}") from error


def extend_vocabulary(known: Vocabulary, new: Vocabulary, most: int) -> Vocabulary:
    """The words of `known` under their ids, then those of `new` that are not among them, up to `most` in all.

    A word of both is shown as `new` writes it.
    """
    most += (known.unk is not None) + (known.eos is not None)
    added = [i for i, word in enumerate(new.words) if word not in known.ids][: max(0, most - len(known))]
    words = (*known.words, *(new.words[i] for i in added))
    shown = dict(zip(known.words, known.shown, strict=True)) | dict(zip(new.words, new.shown, strict=True))
    return Vocabulary(words, tuple(shown[word] for word in words), known.unk, known.eos, known.capitals)


def fingerprint(vocabulary: Vocabulary) -> str:
    """Equal for equal sets of words."""
    return hashlib.sha256("\n".join(sorted(vocabulary.words)).encode()).hexdigest()[:12]


def carry_weights(
    weights: dict[str, Tensor], known: Vocabulary, wanted: Vocabulary, one_hot: bool
) -> dict[str, Tensor]:
    """Weights for the words of `known` as weights for those of `wanted`. Raises TrainingError when they are not for it.

    A new word starts as the mean of the rarer half of the known ones, which come last: it is a rare one as well.
    """
    carried, new = dict(weights), len(known)
    places = torch.tensor([known.ids.get(word, new) for word in wanted.words])
    for name, axis in (ONE_HOT_WORD_AXES if one_hot else WORD_AXES).items():
        old = weights.get(name)
        if old is None:
            continue  # told by whoever loads them
        if old.shape[axis] != new:
            raise TrainingError(f"the base's {name} knows {old.shape[axis]:,} words and its vocabulary has {new:,}")
        rare = old.narrow(axis, new // 2, new - new // 2).mean(axis, keepdim=True)
        carried[name] = torch.cat([old, rare], axis).index_select(axis, places)
    return carried

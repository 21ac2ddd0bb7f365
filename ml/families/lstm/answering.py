"""What a finished text model answers with: the LSTM beside an n-gram of its text, weighed and measured."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from ml.data import text
from ml.families.base import Split
from ml.families.lstm.config import LSTMConfig
from ml.mixture import WINDOW, Mixture
from ml.ngram import NGram, Row
from ml.scoring import Scorer

if TYPE_CHECKING:
    from ml.families.lstm.model import TextData
    from ml.families.lstm.network import WordLSTM

MOST_FITTED, MOST_SCORED = 10_000, 20_000  # tokens
MOST_COUNTED = 30_000_000  # ids: what an n-gram of a longer text would need no longer fits into a small machine
SECONDS = 2.9e-4  # that a token takes to be scored, fitting's share included: for the time that a run says is left
AT_ONCE = 1 << 22  # probabilities held at a time

Context = tuple[list[int], Row, int]  # the ids so far, the network's distribution (V,) behind them, the id that came


def fit(model: "WordLSTM", config: LSTMConfig, data: "TextData") -> Mixture:
    """Count the training part, and weigh all parts by the validation part; evenly where nothing is held out."""
    counted = np.asarray(data.splits["train"][:MOST_COUNTED])
    ngram = NGram.count(counted, len(data.vocabulary), config.ngram_order)
    mixture = Mixture.even(ngram, data.vocabulary.is_suggestion)
    given, kinds = [], []
    for said, lstm, word in contexts(model, config, data, "validation", MOST_FITTED):
        for history in (said, _line(said, data.vocabulary.eos)):  # people type into a long text, and into an empty box
            of_each, kind = mixture.targets(lstm, history, word)
            given.append(of_each)
            kinds.append(kind)
    return mixture.fit(np.array(given), np.array(kinds)) if given else mixture


def figures(
    model: "WordLSTM", mixture: Mixture, config: LSTMConfig, data: "TextData", split: Split
) -> dict[str, float]:
    """Of what answers by the names of the API; of its parts alone behind `lstm_`, `ngram_` and `ngram_cache_`."""
    scorers = {name: Scorer(data.vocabulary) for name in ("", "lstm_", "ngram_", "ngram_cache_")}
    for said, lstm, word in contexts(model, config, data, split, MOST_SCORED):
        scorers[""].add(mixture.blend(lstm, said).row, word)
        scorers["lstm_"].add(lstm, word)
        scorers["ngram_"].add(mixture.ngram.row(said[-mixture.ngram.longest :])[0], word)
        scorers["ngram_cache_"].add(mixture.blend(lstm, said, ("ngram", "cache")).row, word)
    return {prefix + name: value for prefix, scorer in scorers.items() for name, value in scorer.figures().items()}


def _line(said: list[int], eos: int | None) -> list[int]:
    """What of a text belongs to its last line, with the <eos> before it."""
    return next((said[at:] for at in range(len(said) - 1, 0, -1) if said[at] == eos), said)


@torch.no_grad()
def contexts(model: "WordLSTM", config: LSTMConfig, data: "TextData", split: Split, most: int) -> Iterator[Context]:
    """Every token of a part with what was said before it; of a long one `most` tokens, in stretches spread over it."""
    ids = np.asarray(data.splits.get(split, np.zeros(0, np.int32)))
    device = model.bias.device
    if config.by_line:
        for first, end in text.line_starts(ids, data.vocabulary.eos)[:: max(1, len(ids) // most)]:
            line = ids[first : end + 1].tolist()
            features, _ = model.features(torch.tensor([line[:-1]], device=device))
            rows = F.softmax(model.logits(features[0]), 1).cpu().numpy()
            yield from ((line[: i + 1], row, line[i + 1]) for i, row in enumerate(rows))
        return
    streams = max(1, min(16, len(ids) // 64))
    length = max(1, min(64, AT_ONCE // (streams * len(data.vocabulary))))
    each, at, hidden = (len(ids) - 1) // streams, 0, None
    for x, y in text.stream_batches(ids, streams, length):
        if at * streams >= most:
            return
        features, hidden = model.features(torch.from_numpy(x).to(device), hidden)
        rows = F.softmax(model.logits(features), 2).cpu().numpy()  # (streams, T, V)
        for stream, step in np.ndindex(*y.shape):
            i = stream * each + at + step
            yield ids[max(0, i + 1 - WINDOW) : i + 1].tolist(), rows[stream, step], int(y[stream, step])
        at += x.shape[1]

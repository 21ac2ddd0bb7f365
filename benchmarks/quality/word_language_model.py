"""The text rival with a network: pytorch/examples' word_language_model with its default settings.

Written from its description: embedding 200, two LSTM layers of 200, dropout .2, an output layer of its own; 20 streams,
35 ids an update, plain gradient descent at rate 20, divided by 4 whenever validation is no better after an epoch,
gradients clipped to norm .25; the best epoch is what counts. Must not know: words, files.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.quality.kneser_ney import Floats, Ids
from benchmarks.quality.stopwatch import Stopwatch

SIZE, LAYERS, DROPOUT = 200, 2, 0.2
STREAMS, LENGTH, STREAMS_EVALUATED = 20, 35, 10
RATE, ANNEAL, CLIP = 20.0, 4.0, 0.25
LOOKS = 12  # points of the curve

Hidden = tuple[Tensor, Tensor]


class WordLanguageModel(nn.Module):
    """ids (B, T) -> logits (B, T, V), with the hidden state carried on."""

    def __init__(self, n_words: int, embedding: int = SIZE, hidden: int = SIZE, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, dropout=DROPOUT if layers > 1 else 0.0, batch_first=True)
        self.drop = nn.Dropout(DROPOUT)
        self.output = nn.Linear(hidden, n_words)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, ids: Tensor, hidden: Hidden | None) -> tuple[Tensor, Hidden]:
        out, hidden = self.lstm(self.drop(self.embedding(ids)), hidden)
        return self.output(self.drop(out)), hidden


@dataclass
class Trained:
    """The best epoch's model, and what validation said along the way."""

    model: WordLanguageModel
    seconds: float = 0.0
    epochs: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)  # (CPU seconds, validation perplexity)

    @torch.no_grad()
    def rows(self, ids: Ids) -> Iterator[Floats]:
        """The distributions for each id but the first, read as one stream: blocks (B, V)."""
        self.model.eval()
        stream, hidden = torch.from_numpy(ids.astype(np.int64)), None
        for at in range(0, len(ids) - 1, 256):
            logits, hidden = self.model(stream[None, at : min(at + 256, len(ids) - 1)], hidden)
            yield torch.softmax(logits[0].double(), 1).numpy()


def train(train_ids: Ids, validation_ids: Ids, n_words: int, seconds: float, seed: int) -> Trained:
    """Train for `seconds` of CPU, its own validation after every epoch included."""
    torch.manual_seed(seed)
    model = WordLanguageModel(n_words)
    best, trained = math.inf, Trained(model)
    rate, watch, next_look = RATE, Stopwatch(), seconds / LOOKS
    kept = copy.deepcopy(model.state_dict())
    while watch() < seconds:
        hidden: Hidden | None = None
        for x, y in batches(train_ids, STREAMS, LENGTH):
            model.train()
            hidden = update(model, x, y, hidden, rate)
            if watch() >= next_look:
                next_look += seconds / LOOKS
                used = watch()
                with watch.paused():
                    trained.curve.append((used, math.exp(_loss(model, validation_ids))))
            if watch() >= seconds:  # what an unfinished epoch has learned counts too
                break
        else:
            trained.epochs += 1
        loss = _loss(model, validation_ids)
        if loss < best:
            best, kept = loss, copy.deepcopy(model.state_dict())
        else:
            rate /= ANNEAL
    trained.seconds = watch()
    trained.curve.append((trained.seconds, math.exp(best)))
    model.load_state_dict(kept)
    return trained


def update(model: WordLanguageModel, x: Tensor, y: Tensor, hidden: Hidden | None, rate: float) -> Hidden:
    """Learn from x and y (B, T); the hidden state behind them, for the next."""
    logits, hidden = model(x, None if hidden is None else (hidden[0].detach(), hidden[1].detach()))
    model.zero_grad()
    F.cross_entropy(logits.flatten(0, 1), y.flatten()).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    with torch.no_grad():
        for weight in model.parameters():
            assert weight.grad is not None
            weight.add_(weight.grad, alpha=-rate)
    return hidden


def batches(ids: Ids, streams: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over `ids` as parallel streams: x and y (B, T), y one ahead."""
    columns = (len(ids) - 1) // streams
    x = torch.from_numpy(ids[: columns * streams].astype(np.int64)).view(streams, columns)
    y = torch.from_numpy(ids[1 : columns * streams + 1].astype(np.int64)).view(streams, columns)
    for at in range(0, columns, length):
        yield x[:, at : at + length], y[:, at : at + length]


@torch.no_grad()
def _loss(model: WordLanguageModel, ids: Ids) -> float:
    """Nats an id of `ids`."""
    model.eval()
    total, count, hidden = 0.0, 0, None
    for x, y in batches(ids, min(STREAMS_EVALUATED, len(ids) // 2), LENGTH):
        logits, hidden = model(x, hidden)
        total += float(F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum"))
        count += y.numel()
    return total / count

"""The word-level LSTM as a family: data, update, metrics and export."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import metrics, parallel
from ml.data import corpus, learned, store, text
from ml.data.text import Vocabulary
from ml.families.arithmetic import autocast, to_device
from ml.families.base import Family, Preview, Split, State, TrainingError, load_weights, read_weights
from ml.families.lstm import answering, sampling, warm_start
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.network import Hidden, WordLSTM, export_step
from ml.families.lstm.tally import Tally
from ml.families.lstm.warm_start import carry_weights, extend_vocabulary, fingerprint, read_vocabulary
from ml.families.optimizers import Adam, AdamW
from ml.families.schedule import hold_then_decay
from ml.mixture import NGRAM, SOURCES, Mixture
from ml.serve import int8

MOST_ONE_HOT_WORDS = 2_000
LEAST_BFLOAT16 = 256  # hidden size from which on products are what an update's time goes into
MOST_WINDOWS = 10_000
MOST_BY_LINE = 2_000_000
MOST_TOKENS = {"validation": 10_000, "test": 500_000, "train": 500_000}  # looked at by an evaluation


@dataclass(frozen=True)
class TextData:
    """`splits` are token streams (N,), or, for windows, context and target side by side (N, context + 1)."""

    vocabulary: Vocabulary
    splits: dict[str, npt.NDArray[np.int32]]
    sources: Path | None = None  # the lines of the training part, see ml.data.sources

    @property
    def counts(self) -> npt.NDArray[np.int64]:  # (V,)
        return corpus.count_ids(self.splits["train"], len(self.vocabulary))


class LSTMFamily(Family[LSTMConfig, TextData]):
    """Next-word prediction by an LSTM (Hochreiter and Schmidhuber 1997)."""

    shares = True

    def prepare(self, source: Path, config: LSTMConfig, into: Path, base: Path | None = None) -> TextData:
        known, more = None if base is None else read_vocabulary(base), learned.lines(into)
        if config.windows:
            data = _windows(chain(store.read_lines(source), more), config, known)
            data.vocabulary.save(into / "vocabulary.json")
            np.save(into / "train.npy", data.splits["train"])
            return data
        vocabulary = corpus.learn_vocabulary(source, config.min_count or 1, config.max_words, more)
        if len(vocabulary) < 4:
            raise TrainingError("the text has fewer than two different words; give it more text")
        if known is not None and not config.own_words:
            vocabulary = extend_vocabulary(known, vocabulary, config.max_words)
        if config.one_hot and len(vocabulary) > MOST_ONE_HOT_WORDS:
            raise TrainingError(
                f"one-hot words are for at most {MOST_ONE_HOT_WORDS:,} different ones, and this text has "
                f"{len(vocabulary):,}; leave one_hot out, or set max_words"
            )
        corpus.encode(source, vocabulary, into, more)
        corpus.keep_lines(source, into / SOURCES)
        data = self.load(into)
        if config.by_line and len(data.splits["train"]) > MOST_BY_LINE:
            raise TrainingError(f"by_line is for texts of at most {MOST_BY_LINE:,} words, and this one has more")
        return data

    def load(self, prepared: Path) -> TextData:
        sources = prepared / SOURCES
        return TextData(*corpus.load(prepared), sources if sources.exists() else None)

    def build(self, config: LSTMConfig, data: TextData, device: torch.device) -> State:
        model = WordLSTM(config, len(data.vocabulary)).to(device)
        flat = torch.from_numpy(data.counts.astype(np.float32)).clamp_min(1).pow(0.75)
        model.draw_from((flat / flat.sum()).to(device), config.negatives or 0)
        make = Adam if config.optimizer == "adam" else AdamW
        rate = config.learning_rate or 1e-3
        optimizer = make(model.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True)
        return State({"model": model}, {"model": optimizer}, device)

    def start_from(self, state: State, data: TextData, base: Path) -> None:
        model, known = _model(state), read_vocabulary(base)
        load_weights(model, carry_weights(read_weights(base), known, data.vocabulary, model.is_one_hot))

    def fits(self, config: LSTMConfig, source: Path, base: Path) -> str | None:
        return warm_start.fits(config, source, base)

    def steps_per_epoch(self, data: TextData, config: LSTMConfig) -> int:
        if config.windows:
            return 1
        if config.by_line:
            return -(-len(text.line_starts(data.splits["train"], data.vocabulary.eos)) // (config.batch_size or 1))
        return text.batches_per_epoch(len(data.splits["train"]), *_shape(data, config))

    def batches(self, data: TextData, config: LSTMConfig, seed: int, epoch: int, start: int) -> Iterator[Any]:
        if config.windows:
            rows = torch.from_numpy(data.splits["train"].astype(np.int64))
            yield rows[:, :-1], rows[:, -1]
            return
        if config.by_line:
            ids, order = data.splits["train"], np.random.default_rng((seed, epoch))
            for x, y in text.line_batches(ids, data.vocabulary.eos, config.batch_size or 1, order, start):
                yield torch.from_numpy(x), torch.from_numpy(y)
            return
        batch_size, length = _shape(data, config)
        for x, y in text.stream_batches(data.splits["train"], batch_size, length, start):
            yield torch.from_numpy(x), torch.from_numpy(y)

    def train_step(self, state: State, config: LSTMConfig, data: TextData, batch: Any) -> dict[str, Tensor]:
        model, optimizer = _model(state), state.optimizers["model"]
        if config.decay and config.learning_rate:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * hold_then_decay(state.progress, config.hold)
        model.train()
        x, y = (to_device(part, state.device) for part in batch)
        if config.word_noise:
            x = model.disturb(x, config.word_noise)
        words = int((y >= 0).sum()) if config.by_line else y.numel()
        x, y = parallel.mine(x), parallel.mine(y)
        share = parallel.weight(int((y >= 0).sum()) if config.by_line else y.numel(), words)
        if config.windows:
            loss = F.cross_entropy(model(x, torch.full((len(x),), x.shape[1], device=x.device)), y)
        elif config.by_line:
            features, _ = model.features(x)
            loss = model.loss(features[y >= 0], y[y >= 0])
        else:
            carried = None
            if state.batch > 0:
                # Some streams start from nothing: that is how every question is answered.
                h, c = (parallel.mine(state.extra[name], 1) for name in "hc")
                kept = parallel.each(lambda rows: torch.rand(1, rows, 1, device=state.device), len(x), 1)
                kept = (kept >= config.forget).float()
                carried = (h * kept, c * kept)
            with autocast(state.device, model.lstm.hidden_size >= LEAST_BFLOAT16):
                features, (h, c) = model.features(x, carried)
                loss = model.loss(features.flatten(0, 1), y.flatten())
            state.extra = {"h": parallel.whole(h.detach().float(), 1), "c": parallel.whole(c.detach().float(), 1)}
        loss = loss * share
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        parallel.add_up([*gradients, loss, *state.extra.values()])
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        return {"loss": loss}

    @torch.no_grad()
    def evaluate(self, state: State, config: LSTMConfig, data: TextData, split: Split) -> dict[str, float]:
        model = _model(state).eval()
        if isinstance(state.fitted, Mixture):
            return answering.figures(model, state.fitted, config, data, split)
        if config.windows:
            x, y = next(iter(self.batches(data, config, 0, 0, 0)))
            logits = model(x.to(state.device), torch.full((len(x),), x.shape[1], device=state.device))
            tally = Tally(data.vocabulary, state.device)
            tally.add(logits, y.to(state.device))
            figures = tally.figures()
            if "loss" in state.losses:  # the lecture prints the cost of an epoch before its update
                figures["loss"] = float(state.losses["loss"])
                figures["perplexity"] = metrics.perplexity(figures["loss"])
            return figures
        ids = data.splits[split][: MOST_TOKENS[split]]
        tally = Tally(data.vocabulary, state.device)
        if config.by_line:
            for x_ids, y_ids in text.line_batches(ids, data.vocabulary.eos, 16, np.random.default_rng(0)):
                x, y = torch.from_numpy(x_ids).to(state.device), torch.from_numpy(y_ids).to(state.device)
                features, _ = model.features(x)
                tally.add(model.logits(features[y >= 0]), y[y >= 0])
            return tally.figures()
        hidden: Hidden | None = None
        rows = max(1, min(16, len(ids) // 64))
        for x_ids, y_ids in text.stream_batches(ids, rows, 64):
            features, hidden = model.features(torch.from_numpy(x_ids).to(state.device), hidden)
            tally.add(model.logits(features.flatten(0, 1)), torch.from_numpy(y_ids).flatten().to(state.device))
        return tally.figures()

    def finishing_seconds(self, config: LSTMConfig, data: TextData, evaluation: float) -> float:
        if config.windows:
            return super().finishing_seconds(config, data, evaluation)
        scored = min(answering.MOST_SCORED, len(data.splits.get("test", data.splits["train"])))
        return evaluation + answering.SECONDS * scored + int8.SECONDS * min(int8.MOST, scored)

    def finish(self, state: State, config: LSTMConfig, data: TextData) -> None:
        """Count the n-gram and weigh it against the network. The lecture's model answers alone."""
        if not config.windows:
            state.fitted = answering.fit(_model(state).eval(), config, data)

    @torch.no_grad()
    def preview(self, state: State, config: LSTMConfig, data: TextData) -> Preview:
        model = _model(state).eval()
        return sampling.answers(model, data) if config.windows else sampling.sentences(model, data)

    def has_held_out(self, data: TextData) -> bool:
        return len(data.splits.get("validation", ())) > 1 and len(data.splits.get("test", ())) > 1

    def scored_on(self, config: LSTMConfig, data: TextData) -> str:
        """A smaller vocabulary leaves less to predict, and a line alone tells less than running text.

        The most frequent words of a text are told by their number.
        """
        words = f"{len(data.vocabulary)} words{', line by line' if config.by_line else ''}"
        words += "" if config.windows else ", with n-gram and cache"
        if data.vocabulary.unk is None or (np.diff(data.counts[2:]) <= 0).all():
            return words
        return f"{words}, {fingerprint(data.vocabulary)}"  # a base's

    def export(self, state: State, config: LSTMConfig, data: TextData, into: Path) -> dict[str, Any]:
        model = _model(state).cpu().eval()
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, into / "weights.safetensors"
        )
        data.vocabulary.save(into / "vocabulary.json")
        export_step(model, into / "next_word.onnx")
        # Where there is no <eos> to start from, the id behind the last word is the zero vector.
        start = data.vocabulary.eos if data.vocabulary.eos is not None else len(data.vocabulary)
        serving: dict[str, Any] = {"words": len(data.vocabulary), "context": config.context, "start": start}
        if isinstance(state.fitted, Mixture):
            state.fitted.ngram.save(into / NGRAM)
            serving["mixture"] = {"weights": state.fitted.weights.tolist()}
            if data.sources is not None:
                shutil.copyfile(data.sources, into / SOURCES)
        if not config.windows and not config.by_line and "test" in data.splits:
            figures = int8.measure(into, len(data.vocabulary), data.splits["test"])
            if figures is not None:
                serving["int8"] = figures
        return serving


def _model(state: State) -> WordLSTM:
    model = state.modules["model"]
    assert isinstance(model, WordLSTM)
    return model


def _shape(data: TextData, config: LSTMConfig) -> tuple[int, int]:
    """(batch size, length), the batch no larger than the text allows."""
    assert config.batch_size is not None
    assert config.length is not None
    return max(1, min(config.batch_size, (len(data.splits["train"]) - 1) // 2)), config.length


def _windows(lines: Iterable[str], config: LSTMConfig, known: Vocabulary | None) -> TextData:
    words: dict[str, int] = {} if known is None else dict(known.ids)
    rows: list[list[int]] = []
    width = config.context + 1
    for line in lines:
        ids = [words.setdefault(text.key(token), len(words)) for token in text.tokenize(line)]
        rows += [ids[at : at + width] for at in range(len(ids) - width + 1)]
        if len(rows) > 10 * MOST_WINDOWS:  # far too large: how much too large need not be known
            break
    if not rows:
        raise TrainingError(f"no line has {width} words, which a context of {config.context} needs")
    if len(words) > MOST_ONE_HOT_WORDS or len(rows) > MOST_WINDOWS:
        raise TrainingError(
            f"the lecture's recipe learns all of a text in one batch of one-hot words: at most {MOST_ONE_HOT_WORDS:,} "
            f"different words and {MOST_WINDOWS:,} windows, and this text has at least {len(words):,} and "
            f"{len(rows):,}; use the preset 'auto'"
        )
    vocabulary = Vocabulary(tuple(words), tuple(words))
    if known is not None:
        vocabulary = extend_vocabulary(known, vocabulary, len(words))
    return TextData(vocabulary, {"train": np.array(rows, dtype=np.int32)})
